//! A run goes on under other settings, where that is possible, and by the command that it names.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Command;

use rescore_tests::program::{command, fails, read, stderr, tiny, trains};
use rescore_tests::runs::contents;
use serde_json::Value;

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn sac<'a>(more: &[&'a str]) -> Vec<&'a str> {
    tiny(&[&["--algo", "sac"], more].concat())
}

fn manifest(run: &Path) -> Value {
    serde_json::from_str(&read(&run.join("manifest.json"))).expect("JSON")
}

fn agent(run: &Path, step: u64) -> Vec<u8> {
    let file = run.join(format!("checkpoints/{step}/agent.safetensors"));
    fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Evaluations, checkpoints and logs at other intervals: what is learned is the same to the bit.
#[test]
fn other_intervals_change_nothing_in_what_is_learned() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &sac(&["--steps", "240", "--out", "whole"]));
    trains(folder, &sac(&["--steps", "120", "--out", "run"]));
    let resume = [
        "train",
        "--resume",
        "run",
        "--steps",
        "240",
        "--set",
        "evaluation.episodes=3",
        "--set",
        "log_every=7",
        "--set",
        "training.checkpoint_every=50",
    ];
    trains(folder, &resume);
    let (run, whole) = (folder.join("run"), folder.join("whole"));
    assert_eq!(agent(&run, 240), agent(&whole, 240));
    // Two environments play the episodes that they would have played; the third is new.
    let rows = |run: &Path| -> Vec<Vec<String>> {
        let cells = |line: &str| line.split(',').map(str::to_owned).collect();
        read(&run.join("eval.csv")).lines().map(cells).collect()
    };
    let (found, expected) = (rows(&run), rows(&whole));
    assert_eq!(found.len(), expected.len());
    assert_eq!(found[0].last().map(String::as_str), Some("return_2"));
    for (found, expected) in found.iter().zip(&expected).skip(1) {
        assert_eq!(found.len(), 7, "{found:?}");
        assert_eq!(found[0], expected[0], "the step");
        assert_eq!(found[4..6], expected[4..6], "the returns of the first two");
        let late: u64 = found[0].parse().expect("a step");
        assert_eq!(found[6].is_empty(), late <= 120, "{found:?}");
    }
    // Fewer again; the row has an empty cell, and the run can be drawn and goes on.
    let fewer = [
        "train",
        "--resume",
        "run",
        "--steps",
        "280",
        "--set",
        "evaluation.episodes=1",
    ];
    trains(folder, &fewer);
    let last = rows(&run).pop().expect("a row");
    assert_eq!(
        (last.len(), &*last[0], &*last[1], &*last[5]),
        (7, "280", "1", "")
    );
    trains(folder, &["plot", "run", "--out", "curve.svg"]);
}

#[test]
fn another_learning_rate_is_recorded_and_holds_from_the_checkpoint_on() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &sac(&["--steps", "120", "--out", "run"]));
    for copy in ["same", "slower"] {
        let status = Command::new("cp")
            .args(["-a", "run", copy])
            .current_dir(folder)
            .status();
        assert!(status.is_ok_and(|status| status.success()));
    }
    trains(folder, &["train", "--resume", "same", "--steps", "240"]);
    let slower = [
        "train", "--resume", "slower", "--steps", "240", "--set", "lr=1e-5",
    ];
    trains(folder, &slower);
    let (same, slower) = (folder.join("same"), folder.join("slower"));
    assert_ne!(agent(&same, 240), agent(&slower, 240));
    let config = read(&slower.join("config.toml"));
    assert_eq!(config.matches("\nlearning_rate = 0.00001\n").count(), 2);
    let resumed = &manifest(&slower)["resumed"][0];
    assert_eq!(resumed["step"], 120);
    let changed = resumed["changed"].as_array().expect("what was changed");
    let keys: Vec<_> = changed
        .iter()
        .map(|change| change["key"].as_str())
        .collect();
    assert_eq!(
        keys,
        [
            Some("agent.actor.learning_rate"),
            Some("agent.critic.learning_rate"),
            Some("steps")
        ]
    );
    assert_eq!(
        (&changed[0]["from"], &changed[0]["to"]),
        (&0.001.into(), &0.00001.into())
    );
    assert_eq!(
        (&changed[2]["from"], &changed[2]["to"]),
        (&120.into(), &240.into())
    );
    // It needs not be said again, and --strict finds nothing wrong.
    let longer = ["train", "--resume", "slower", "--strict", "--steps", "260"];
    let output = trains(folder, &longer);
    assert!(
        !stderr(&output).contains("has been changed"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn other_settings_are_refused_with_the_reason_and_nothing_is_changed() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &sac(&["--out", "run"]));
    fs::remove_file(folder.join("run/DONE")).expect("there");
    let before = (contents(&folder.join("run")), manifest(&folder.join("run")));
    for (set, words) in [
        (
            "gamma=0.5",
            ["`agent.gamma` is 0.99 in the run, but 0.5 here", "networks"],
        ),
        (
            "seed=9",
            ["`seed` is 0 in the run, but 9 here", "random number"],
        ),
        ("num_envs=3", ["`training.num_envs`", "replay buffer"]),
        ("time_limit=7", ["`task.time_limit`", "that task"]),
        ("algo=dpmd", ["`algo` is \"sac\"", "that algorithm"]),
        (
            "env=MultiGoal-v0",
            ["`env` is \"Pendulum-v1\"", "that task"],
        ),
        (
            "backend=ndarray",
            ["`backend` is \"flex\"", "--allow-different-bits"],
        ),
        ("gamam=0.5", ["unknown key `gamam`", "agent.gamma"]),
        ("lr=-1", ["agent.critic.learning_rate", "greater than 0"]),
    ] {
        let arguments = [
            "train",
            "--resume",
            "run",
            "--set",
            "log_every=3",
            "--set",
            set,
        ];
        fails(folder, &arguments, 2, &words);
    }
    let two = [
        "train",
        "--resume",
        "run",
        "--set",
        "gamma=0.5",
        "--set",
        "temperature.initial=0.5",
    ];
    fails(
        folder,
        &two,
        2,
        &[
            "agent.gamma",
            "agent.temperature.initial",
            "what can be changed: steps",
        ],
    );
    let after = (contents(&folder.join("run")), manifest(&folder.join("run")));
    assert!(before == after, "something was changed");
    // A value that it has is none of these.
    trains(folder, &["train", "--resume", "run", "--set", "gamma=0.99"]);
    // And when it is done nothing matters any more.
    let done = ["train", "--resume", "run", "--set", "lr=1e-5"];
    fails(
        folder,
        &done,
        2,
        &["has reached its last step, 100", "--steps N"],
    );
}

#[test]
fn other_bits_are_allowed_where_a_run_goes_on() {
    let alone = ["train", "--env", "Pendulum-v1", "--allow-different-bits"];
    fails(temporary().path(), &alone, 2, &["--resume"]);
}

/// The configuration says what the run is, until it is known that it can be something else.
#[test]
fn a_run_that_cannot_go_on_keeps_its_configuration() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &sac(&["--out", "run"]));
    for entry in fs::read_dir(folder.join("run/checkpoints")).expect("there") {
        let agent = entry.expect("an entry").path().join("agent.safetensors");
        if agent.exists() {
            fs::write(agent, "nonsense").expect("writable");
        }
    }
    let before = (contents(&folder.join("run")), manifest(&folder.join("run")));
    let longer = [
        "train", "--resume", "run", "--steps", "200", "--set", "lr=1e-5",
    ];
    fails(folder, &longer, 74, &["agent.safetensors"]);
    let after = (contents(&folder.join("run")), manifest(&folder.join("run")));
    assert!(before == after, "something was changed");
}

#[test]
fn what_somebody_else_keeps_in_the_folder_stays() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &sac(&["--out", "run"]));
    let theirs = [
        "checkpoints/.git/HEAD",
        "checkpoints/.notes",
        "replay/notes",
        "replay/.git/HEAD",
    ];
    for name in theirs {
        let path = folder.join("run").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(path, "mine").expect("writable");
    }
    trains(folder, &["train", "--resume", "run", "--steps", "140"]);
    for name in theirs {
        assert_eq!(read(&folder.join("run").join(name)), "mine");
    }
    // Nor where the run begins again.
    fs::remove_file(folder.join("run/DONE")).expect("there");
    for step in [120, 140, 40, 80, 90, 100] {
        let _ = fs::remove_dir_all(folder.join(format!("run/checkpoints/{step}")));
    }
    trains(folder, &["train", "--resume", "run"]);
    for name in theirs {
        assert_eq!(read(&folder.join("run").join(name)), "mine");
    }
}

/// A run whose numbers have ceased to be finite says which command goes on, and it does.
#[test]
fn the_command_after_a_number_that_is_not_finite_works() {
    let folder = temporary();
    let folder = folder.path();
    let output = command(folder, &sac(&["--set", "lr=3e-4", "--out", "my run"]))
        .env("RESCORE_FAULT", "nan:q1_loss@60")
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stderr(&output);
    let line = text.lines().last().expect("a line");
    assert!(line.ends_with("--set lr=1e-4"), "{text}");
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .output();
    let output = output.expect("sh exists");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(folder.join("my run/DONE").exists() && !folder.join("my run/crash.json").exists());
    assert!(read(&folder.join("my run/config.toml")).contains("learning_rate = 0.0001\n"));
}
