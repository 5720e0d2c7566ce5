//! NaN and infinity, put into everything that a run computes with: it stops within one update,
//! says where, and stores nothing of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use rescore_tests::program::{command, read, stderr, tiny, trains};
use safetensors::SafeTensors;
use serde_json::Value;

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// The step at which numbers are spoilt. There are checkpoints before it.
const STEP: u64 = 66;

fn run(folder: &Path, algo: &str, fault: &str) -> Output {
    let arguments = tiny(&[
        "--algo",
        algo,
        "--set",
        "updates_per_step=0.5",
        "--out",
        "run",
    ]);
    command(folder, &arguments)
        .env("RESCORE_FAULT", format!("{fault}@{STEP}"))
        .output()
        .expect("the program starts")
}

/// Requires that no number in the checkpoints and the replay buffer of `run` is not finite.
fn stored_numbers_are_finite(run: &Path) {
    let finite = |path: &Path, bytes: &[u8]| {
        let (numbers, _) = bytes.as_chunks::<4>();
        let bad = numbers
            .iter()
            .position(|n| !f32::from_le_bytes(*n).is_finite());
        assert_eq!(bad, None, "{}", path.display());
    };
    let mut seen = 0;
    for entry in run.join("checkpoints").read_dir().expect("checkpoints") {
        let path = entry.expect("an entry").path().join("agent.safetensors");
        let Ok(bytes) = std::fs::read(&path) else {
            continue; // best.json
        };
        let tensors = SafeTensors::deserialize(&bytes).expect("our own");
        for (_, tensor) in tensors
            .iter()
            .filter(|(_, t)| t.dtype() == safetensors::Dtype::F32)
        {
            finite(&path, tensor.data());
        }
        seen += 1;
    }
    for entry in run.join("replay").read_dir().expect("segments") {
        let path = entry.expect("an entry").path();
        finite(&path, &std::fs::read(&path).expect("readable")[32..]);
        seen += 1;
    }
    assert!(seen >= 2, "nothing was stored");
}

/// Runs with `fault` and requires what holds for all of them: it stops `soon`, that is within an
/// update, or else before the next checkpoint, which would be that of step 90. Gives what
/// `crash.json` says.
fn stops(algo: &str, fault: &str, soon: bool, say: &[&str]) -> Value {
    let folder = temporary();
    let run_folder = folder.path().join("run");
    let output = run(folder.path(), algo, fault);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{algo} {fault}: {text}");
    for words in say {
        assert!(
            text.contains(words),
            "{algo} {fault}: no `{words}` in {text}"
        );
    }
    let crash: Value = serde_json::from_str(&read(&run_folder.join("crash.json"))).expect("JSON");
    let step = crash["step"].as_u64().expect("a number");
    // One update every second step.
    let latest = STEP + if soon { 4 } else { 24 };
    assert!(
        (STEP..=latest).contains(&step),
        "{algo} {fault}: stopped at step {step}"
    );
    stored_numbers_are_finite(&run_folder);
    crash
}

#[test]
fn what_environments_give_and_agents_do_is_named_with_the_environment() {
    for what in ["observation", "next_observation", "reward", "action"] {
        for (kind, value) in [("nan", "NaN"), ("inf", "inf")] {
            let place = format!("{what}[0] of environment 0 is {value} at step {STEP} ");
            let crash = stops(
                "sac",
                &format!("{kind}:{what}"),
                true,
                &[&place, "hint: crash.json"],
            );
            assert_eq!(crash["number"]["tensor"], what);
            assert_eq!(crash["number"]["environment"], 0);
            assert_eq!(crash["number"]["value"], value);
        }
    }
}

#[test]
fn a_run_goes_on_from_the_checkpoint_before_it() {
    let folder = temporary();
    for algo in ["dpmd", "sdac", "sac"] {
        let output = run(folder.path(), algo, "nan:action");
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        trains(folder.path(), &["train", "--resume", "run", "--strict"]);
        assert!(!folder.path().join("run/crash.json").exists());
        assert!(folder.path().join("run/DONE").exists());
        std::fs::remove_dir_all(folder.path().join("run")).expect("removable");
    }
}

#[test]
fn every_metric_is_named() {
    for algo in ["dpmd", "sdac", "sac"] {
        let folder = temporary();
        trains(folder.path(), &tiny(&["--algo", algo, "--out", "run"]));
        let metrics = read(&folder.path().join("run/metrics.jsonl"));
        let last: Value =
            serde_json::from_str(metrics.lines().last().expect("lines")).expect("JSON");
        let names: Vec<_> = last
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        let metrics = names.iter().filter(|name| {
            // What the loop counts is no number that could fail.
            let counted = [
                "step",
                "update",
                "wall_time_s",
                "env_steps_per_s",
                "simulator_warnings",
            ];
            !(counted.contains(&name.as_str()) || name.starts_with("episode"))
        });
        for (number, name) in metrics.enumerate() {
            let kind = ["nan", "inf"][number % 2];
            let crash = stops(
                algo,
                &format!("{kind}:{name}"),
                true,
                &[&format!("{name} is ")],
            );
            assert_eq!(crash["number"]["tensor"], **name);
        }
    }
}

#[test]
fn every_array_of_an_agent_is_watched() {
    for algo in ["dpmd", "sdac", "sac"] {
        let folder = temporary();
        trains(folder.path(), &tiny(&["--algo", algo, "--out", "run"]));
        let path = folder.path().join("run/checkpoints/100/agent.safetensors");
        let bytes = std::fs::read(path).expect("just written");
        let tensors = SafeTensors::deserialize(&bytes).expect("our own");
        let arrays: BTreeSet<_> = tensors
            .iter()
            .filter(|(_, tensor)| tensor.dtype() == safetensors::Dtype::F32)
            .map(|(name, tensor)| (name.to_owned(), tensor.shape().iter().product::<usize>()))
            .collect();
        assert!(arrays.len() > 30);
        // The networks of DPMD and SDAC are the same: of the latter a part will do.
        let stride = if algo == "sdac" { 5 } else { 1 };
        for (number, (name, length)) in arrays.iter().enumerate().step_by(stride) {
            let kind = ["nan", "inf"][number % 2];
            let fault = format!("{kind}:{name}");
            // Networks are looked at after every update. Where anything else is not finite, it is
            // what the next update makes of it.
            let networks = ["policy.", "critics.", "target_policy.", "target_critics."];
            if networks.iter().any(|network| name.starts_with(network)) {
                let place = format!("{name}[{}] is ", length - 1);
                let crash = stops(algo, &fault, true, &[&place]);
                assert_eq!(crash["number"]["index"], length - 1);
                assert_eq!(crash["bad_arrays"].as_array().map(Vec::len), Some(1));
            } else {
                // Moments of a gradient that is not finite never stand alone (that is tested beside
                // the guard); alone, these do no harm for a while: an infinite mean of squares
                // makes its parameter stand still, the temperature steps rarely, and statistics
                // are not used by default.
                let still = kind == "inf" && name.contains("_optimizer.nu.");
                // A temperature that is solved for is another in every step of the policy.
                if algo != "sac" && name.starts_with("temperature.") {
                    continue;
                }
                let rare = name.starts_with("temperature.optimizer.");
                let soon = !(still || rare || name.starts_with("q_statistics."));
                stops(algo, &fault, soon, &[]);
            }
        }
    }
}
