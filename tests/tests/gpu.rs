//! The program on GPU backends: what it does with a device, and what it says without.
#![cfg(any(feature = "cuda", feature = "wgpu"))]

use rescore_tests::program::{read, rescore, stderr, stdout, tiny, trains};
use rescore_tests::runs::assert_same;

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A tiny run on the first device of `backend` into the folder `out`.
fn arguments<'a>(backend: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let these = [
        "--backend",
        backend,
        "--device",
        "0",
        "--seed",
        "5",
        "--preset",
        "small",
        "--out",
        out,
    ];
    tiny(&[&these, more].concat())
}

/// A run that is made longer leaves the bytes of one that was long from the beginning; so training
/// is deterministic on this device, too.
fn resumes_exactly(backend: &str, more: &[&str]) {
    let folder = temporary();
    trains(folder.path(), &arguments(backend, "whole", more));
    let short = [more, &["--steps", "40"]].concat();
    trains(folder.path(), &arguments(backend, "parts", &short));
    trains(
        folder.path(),
        &["train", "--resume", "parts", "--steps", "100"],
    );
    assert_same(&folder.path().join("whole"), &folder.path().join("parts"));
}

/// The first metrics are those of the processor, up to rounding that updates have multiplied.
fn learns_as_on_the_processor(backend: &str) {
    let folder = temporary();
    trains(folder.path(), &arguments(backend, "device", &[]));
    trains(folder.path(), &arguments("flex", "processor", &[]));
    let line = |run: &str| -> serde_json::Value {
        let text = read(&folder.path().join(run).join("metrics.jsonl"));
        let last = text.lines().next().expect("a line");
        serde_json::from_str(last).expect("JSON")
    };
    let (device, processor) = (line("device"), line("processor"));
    for key in ["q1_loss", "q2_loss", "target_mean", "policy_loss"] {
        let [a, b] = [&device, &processor].map(|line| line[key].as_f64().expect("a number"));
        assert!(
            (a - b).abs() <= 1e-3 * b.abs().max(1.0),
            "{key}: {a}, not {b}"
        );
    }
}

/// A policy is evaluated where it was trained and elsewhere. The returns are alike, not equal: the
/// noise of deterministic actions hangs on the bits of the observation, which roundings change.
fn is_evaluated(backend: &str) {
    let folder = temporary();
    trains(folder.path(), &arguments(backend, "run", &[]));
    let mean_return = |backend: &str| -> f64 {
        let options = [
            "eval",
            "run",
            "--json",
            "--episodes",
            "20",
            "--backend",
            backend,
            "--device",
            "0",
        ];
        let output = rescore(folder.path(), &options);
        assert!(output.status.success(), "{}", stderr(&output));
        let report: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        report["mean_return"].as_f64().expect("a number")
    };
    let (device, processor) = (mean_return(backend), mean_return("flex"));
    assert_eq!(device.to_bits(), mean_return(backend).to_bits());
    assert!(
        (device - processor).abs() <= 0.25 * processor.abs(),
        "{device}, not {processor}"
    );
}

/// The benchmark of whole iterations says how much of one the device computes, and draws it.
fn an_iteration_is_drawn(backend: &str) {
    let folder = temporary();
    let sizes = ["warmup_steps=20", "batch_size=16", "hidden_dims=[16,16]"];
    let mut options = vec!["bench", "train", "--algo", "dpmd", "--env", "Pendulum-v1"];
    options.extend(["--backend", backend, "--device", "0", "--particles", "2"]);
    options.extend(["--preset", "small"]);
    options.extend(sizes.iter().flat_map(|size| ["--set", size]));
    options.extend(["--set", "overlap=true", "--json", "times.json"]);
    let output = rescore(folder.path(), &options);
    let text = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    for lane in ["host    |a", "worker  |", "device  |"] {
        assert!(text.contains(lane), "{text}");
    }
    let table = read(&folder.path().join("times.json"));
    let table: serde_json::Value = serde_json::from_str(&table).expect("JSON");
    let device = |key: &str| table[0]["device"][key].as_f64().expect("a number");
    let busy = device("act_ms") + device("update_ms");
    let parts = table[0]["parts"].as_array().expect("parts");
    let total: f64 = parts.iter().filter_map(|part| part[1].as_f64()).sum();
    let share = device("busy");
    assert!(
        (busy - share * total).abs() < 1e-6 * total,
        "{busy} of {total} are not {share}"
    );
}

#[cfg(feature = "wgpu")]
mod wgpu {
    use super::*;

    /// What the present build calls it.
    fn backend() -> &'static str {
        if cfg!(feature = "vulkan") {
            "vulkan"
        } else if cfg!(feature = "metal") {
            "metal"
        } else {
            "wgpu"
        }
    }

    #[test]
    #[ignore = "needs a graphics driver: cargo xtask test --backend wgpu"]
    fn dpmd_resumes_exactly() {
        resumes_exactly(backend(), &[]);
    }

    #[test]
    #[ignore = "needs a graphics driver: cargo xtask test --backend wgpu"]
    fn sdac_resumes_exactly_with_overlap() {
        resumes_exactly(backend(), &["--algo", "sdac", "--set", "overlap=true"]);
    }

    #[test]
    #[ignore = "needs a graphics driver: cargo xtask test --backend wgpu"]
    fn dpmd_learns_as_on_the_processor() {
        learns_as_on_the_processor(backend());
    }

    #[test]
    #[ignore = "needs a graphics driver: cargo xtask test --backend wgpu"]
    fn a_run_is_evaluated_here_and_there() {
        is_evaluated(backend());
    }

    #[test]
    #[ignore = "needs a graphics driver: cargo xtask test --backend wgpu"]
    fn an_iteration_is_drawn() {
        super::an_iteration_is_drawn(backend());
    }

    #[test]
    #[ignore = "needs a graphics driver: cargo xtask test --backend wgpu"]
    fn a_driver_that_computes_on_the_processor_is_not_taken_in_silence() {
        let folder = temporary();
        let devices = stdout(&rescore(
            folder.path(),
            &["devices", "--backend", backend()],
        ));
        assert!(devices.contains("device 0: "), "{devices}");
        let output = rescore(
            folder.path(),
            &tiny(&["--backend", backend(), "--out", "run"]),
        );
        if devices
            .lines()
            .all(|line| line.contains("computes on the processor"))
        {
            assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
            assert!(
                stderr(&output).contains("finds no GPU"),
                "{}",
                stderr(&output)
            );
        } else {
            assert!(output.status.success(), "{}", stderr(&output));
        }
    }

    /// Where there is no driver at all.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_missing_driver_is_named() {
        let folder = temporary();
        let mut command =
            rescore_tests::program::command(folder.path(), &arguments(backend(), "run", &[]));
        for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
            command.env(variable, folder.path().join("none.json"));
        }
        let output = command.output().expect("the program starts");
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("no Vulkan driver was found"), "{text}");
        assert!(!text.contains("panicked"), "{text}");
        assert!(!folder.path().join("run").exists());
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use super::*;

    #[test]
    #[ignore = "needs an NVIDIA GPU: cargo xtask test --backend cuda"]
    fn dpmd_resumes_exactly() {
        resumes_exactly("cuda", &[]);
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU: cargo xtask test --backend cuda"]
    fn dpmd_learns_as_on_the_processor() {
        learns_as_on_the_processor("cuda");
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU: cargo xtask test --backend cuda"]
    fn a_run_is_evaluated_here_and_there() {
        is_evaluated("cuda");
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU: cargo xtask test --backend cuda"]
    fn sdac_resumes_exactly_with_overlap() {
        resumes_exactly("cuda", &["--algo", "sdac", "--set", "overlap=true"]);
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU: cargo xtask test --backend cuda"]
    fn an_iteration_is_drawn() {
        super::an_iteration_is_drawn("cuda");
    }

    /// Where there is no driver: the program starts and says what is missing.
    #[test]
    fn a_missing_driver_is_named() {
        let folder = temporary();
        let devices = stdout(&rescore(folder.path(), &["devices", "--backend", "cuda"]));
        if devices.contains("device 0") {
            return; // this machine has one
        }
        let output = rescore(folder.path(), &arguments("cuda", "run", &[]));
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("backend `cuda` cannot run"), "{text}");
        assert!(text.contains("hint"), "{text}");
        assert!(!text.contains("panicked"), "{text}");
        assert!(!folder.path().join("run").exists());
    }
}
