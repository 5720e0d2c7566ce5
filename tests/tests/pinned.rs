//! Short runs give the results that were recorded of them; see `tests/pinned/README.md`.

use std::path::{Path, PathBuf};

use rescore_tests::program::{command, read, skipped};

/// Tasks, and whether results there are comparable between processors.
const TASKS: [(&str, &str, bool); 2] = [
    ("Probe-ObservationActionReward-v0", "probe", true),
    ("Pendulum-v1", "pendulum", false),
];
/// Instruction sets that results were recorded for.
const SETS: [&str; 3] = ["avx512bf16", "avx2", "portable"];
/// What the recorded runs have in common.
const SETTINGS: [&str; 6] = [
    "hidden_dims=[32, 32]",
    "batch_size=64",
    "warmup_steps=100",
    "count_warmup=false",
    "checkpoint_every=1000000",
    "evaluation.every=200",
];

fn pinned(algo: &str, task: &str, set: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pinned");
    folder.join(format!("{algo}-{task}-{set}.csv"))
}

/// `eval.csv` of a run of 400 steps on one thread.
fn evaluations(algo: &str, env: &str, set: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut arguments = vec!["train", "--algo", algo, "--env", env, "--steps", "400"];
    let own: &[&str] = match env {
        "Pendulum-v1" => &[
            "updates_per_step=0.2",
            "episodes=2",
            "normalize_observation=true",
        ],
        _ => &["updates_per_step=0.5", "episodes=4"],
    };
    let agent: &[&str] = match algo {
        "sac" => &["preset=textbook"],
        _ => &["denoising_steps=5"],
    };
    for setting in own.iter().chain(agent).chain(&SETTINGS) {
        arguments.extend(["--set", setting]);
    }
    let output = command(folder.path(), &[&arguments[..], &["--out", "run"]].concat())
        .env("RESCORE_CPU", set)
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{algo} on {env}: {said}");
    read(&folder.path().join("run/eval.csv"))
}

/// Whether this processor is of the kind that results were recorded on.
fn is_known() -> bool {
    let vendor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    #[cfg(target_arch = "x86_64")]
    let vectors = is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    let vectors = false;
    vectors && vendor.contains("GenuineIntel")
}

/// The numbers of an `eval.csv`.
fn numbers(text: &str) -> Vec<f64> {
    let cells = text.lines().skip(1).flat_map(|line| line.split(','));
    let number = |cell: &str| cell.parse().expect("cells are numbers");
    cells.map(number).collect()
}

fn compare(algo: &str) {
    let known = is_known();
    for (env, task, comparable) in TASKS {
        for set in SETS {
            let (path, bits) = (pinned(algo, task, set), known);
            if std::env::var_os("RESCORE_PIN").is_some() {
                std::fs::write(&path, evaluations(algo, env, set)).expect("writable");
            }
            if bits {
                let found = evaluations(algo, env, set);
                assert_eq!(found, read(&path), "{algo} on {env} with {set}");
            } else if comparable {
                let (found, expected) = (evaluations(algo, env, set), read(&path));
                let (found, expected) = (numbers(&found), numbers(&expected));
                assert_eq!(found.len(), expected.len());
                for (a, b) in found.iter().zip(&expected) {
                    let close = (a - b).abs() <= 1e-3 * b.abs().max(1.0);
                    assert!(close, "{algo} on {env} with {set}: {a} instead of {b}");
                }
            }
        }
    }
    if !known {
        skipped(
            "results were recorded on another kind of processor: compared to 1e-3, not to the bit",
        );
    }
}

#[test]
fn dpmd_reference_gives_the_recorded_results() {
    compare("dpmd-reference");
}

#[test]
fn sdac_reference_gives_the_recorded_results() {
    compare("sdac-reference");
}

#[test]
fn sac_gives_the_recorded_results() {
    compare("sac");
}
