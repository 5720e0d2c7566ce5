//! A run that is interrupted and resumed leaves the same bytes as one that is not.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rescore_tests::program::{
    command, fails, read, rescore, signal as send, stderr, stdout, tiny, trains,
};
use rescore_tests::runs::assert_same;

/// Small enough for the ring to overwrite, and for whole segments of it to go.
const RING: &[&str] = &["--set", "replay.capacity=160"];

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A run in the folder `out`.
fn arguments<'a>(algo: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let these = ["--algo", algo, "--seed", "5", "--out", out];
    tiny(&[&these, RING, more].concat())
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    command(folder, arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts")
}

/// Waits until the log of `run` has grown by `lines` or the process has ended.
fn wait_for_lines(run: &Path, child: &mut Child, lines: usize) {
    let count =
        || std::fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |s| s.lines().count());
    let (before, started) = (count(), Instant::now());
    while count() < before + lines && matches!(child.try_wait(), Ok(None)) {
        assert!(started.elapsed() < Duration::from_mins(2), "no progress");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends `signal` after a few lines of the log, again and again until the run is done; gives how
/// often it was interrupted.
fn interrupt_until_done(folder: &Path, first: &[&str], signal: &str, code: Option<i32>) -> u32 {
    let run = folder.join("interrupted");
    let mut child = start(folder, first);
    let mut interruptions = 0;
    for lines in (1..4).cycle() {
        wait_for_lines(&run, &mut child, lines);
        // It may have come to its end.
        send(&child.id().to_string(), &[signal]);
        let status = child.wait().expect("our own child");
        if status.success() {
            break;
        }
        assert_eq!(status.code(), code, "{signal}");
        interruptions += 1;
        assert!(interruptions < 1000, "the run does not get on");
        child = start(folder, &["train", "--resume", "interrupted"]);
    }
    interruptions
}

#[test]
fn a_run_stopped_by_signals_and_resumed_is_the_same_run() {
    for algo in ["dpmd", "sdac", "sac"] {
        let folder = temporary();
        let folder = folder.path();
        let steps = ["--steps", "400"];
        trains(folder, &arguments(algo, "whole", &steps));
        let interrupted = arguments(algo, "interrupted", &steps);
        let stops = interrupt_until_done(folder, &interrupted, "-TERM", Some(75));
        assert!(stops > 0, "{algo} was never interrupted");
        assert_same(&folder.join("whole"), &folder.join("interrupted"));
    }
}

#[test]
fn a_run_that_was_killed_and_resumed_is_the_same_run() {
    for algo in ["dpmd", "sdac", "sac"] {
        let folder = temporary();
        let folder = folder.path();
        let steps = ["--steps", "600"];
        trains(folder, &arguments(algo, "whole", &steps));
        let interrupted = arguments(algo, "interrupted", &steps);
        // Checkpoints come every 30 steps, lines every 10: some of these kills lose work.
        let kills = interrupt_until_done(folder, &interrupted, "-KILL", None);
        assert!(kills > 0, "{algo} was never killed");
        assert_same(&folder.join("whole"), &folder.join("interrupted"));
    }
}

#[cfg(feature = "mujoco")]
#[test]
fn a_mujoco_task_goes_on_in_the_middle_of_its_episodes() {
    let folder = temporary();
    let folder = folder.path();
    let more = ["--env", "HalfCheetah-v4", "--steps", "200"];
    trains(folder, &arguments("dpmd", "whole", &more));
    let interrupted = arguments("dpmd", "interrupted", &more);
    assert!(interrupt_until_done(folder, &interrupted, "-TERM", Some(75)) > 0);
    assert_same(&folder.join("whole"), &folder.join("interrupted"));
}

#[test]
fn a_run_killed_before_its_first_checkpoint_starts_again() {
    let folder = temporary();
    let folder = folder.path();
    let more = [
        "--set",
        "checkpoint_every=1000000",
        "--set",
        "evaluation.every=1000000",
    ];
    let whole = arguments("sac", "whole", &[&["--steps", "3000"][..], &more].concat());
    trains(folder, &whole);
    let killed = arguments("sac", "killed", &[&["--steps", "3000"][..], &more].concat());
    let mut child = start(folder, &killed);
    wait_for_lines(&folder.join("killed"), &mut child, 2);
    child.kill().expect("our own child");
    child.wait().expect("our own child");
    assert!(!folder.join("killed/checkpoints").exists());
    trains(folder, &["train", "--resume", "killed"]);
    assert_same(&folder.join("whole"), &folder.join("killed"));
}

#[test]
fn a_finished_run_says_so_and_can_be_made_longer() {
    let folder = temporary();
    let folder = folder.path();
    // 120 is a multiple of every interval, so that nothing extra is due at the first end.
    trains(folder, &arguments("sac", "run", &["--steps", "120"]));
    let before = rescore_tests::runs::contents(&folder.join("run"));
    let output = command(folder, &["train", "--resume", "run"])
        .env("RUST_LOG", "info")
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output).trim(), "run");
    assert!(stderr(&output).contains("has reached its last step, 120"));
    assert_eq!(rescore_tests::runs::contents(&folder.join("run")), before);

    trains(folder, &["train", "--resume", "run", "--steps", "240"]);
    trains(folder, &arguments("sac", "whole", &["--steps", "240"]));
    assert_same(&folder.join("whole"), &folder.join("run"));
    let shorter = ["train", "--resume", "run", "--steps", "100"];
    fails(folder, &shorter, 2, &["--steps 100", "240", "hint: "]);
}

#[test]
fn what_cannot_be_resumed_is_refused() {
    let folder = temporary();
    let folder = folder.path();
    fails(folder, &["train", "--resume", "nowhere"], 74, &["nowhere"]);
    assert!(!folder.join("nowhere").exists());
    std::fs::create_dir(folder.join("empty")).expect("writable");
    fails(
        folder,
        &["train", "--resume", "empty"],
        74,
        &["config.toml"],
    );
    let left = folder.join("empty").read_dir().expect("there").count();
    assert_eq!(left, 0, "a file was left in somebody's folder");
    for option in [["--algo", "sac"], ["--seed", "1"], ["--out", "other"]] {
        let arguments = [&["train", "--resume", "empty"], &option[..]].concat();
        fails(folder, &arguments, 2, &[option[0], "--resume"]);
    }
    let output = rescore(folder, &["train", "--strict"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn a_resumed_run_notes_when_and_from_where() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &arguments("sac", "run", &["--steps", "60"]));
    trains(folder, &["train", "--resume", "run", "--steps", "120"]);
    let manifest = read(&folder.join("run/manifest.json"));
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(manifest["resumed"][0]["step"], 60);
    assert!(manifest["resumed"][0]["host"].is_string());
    // The clock of the log goes on.
    let times: Vec<f64> = read(&folder.join("run/metrics.jsonl"))
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["wall_time_s"].as_f64().expect("a number")
        })
        .collect();
    assert_eq!(times.len(), 12);
    assert!(times.is_sorted(), "{times:?}");
}
