//! Several processes and one run folder, and many that want one of their own.

use std::collections::BTreeSet;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use rescore_tests::program::{command, read, stderr, stdout, tiny, trains};

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Starts `arguments` `count` times as nearly at once as can be.
fn start(folder: &std::path::Path, arguments: &[&str], count: usize) -> Vec<Child> {
    (0..count)
        .map(|_| {
            command(folder, arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program starts")
        })
        .collect()
}

fn end(children: Vec<Child>) -> Vec<Output> {
    let outputs = children.into_iter().map(Child::wait_with_output);
    outputs
        .map(|output| output.expect("our own child"))
        .collect()
}

/// Of eight processes one proceeds; the others say who that is.
#[test]
fn one_of_eight_proceeds_and_the_others_name_it() {
    let folder = temporary();
    let folder = folder.path();
    // One run is begun, the other is gone on with.
    let long = [
        "--algo",
        "sac",
        "--steps",
        "100000000",
        "--set",
        "evaluation.every=1000000",
    ];
    trains(folder, &tiny(&["--algo", "sac", "--out", "resumed"]));
    let begin = tiny(&[&long[..], &["--out", "begun"]].concat());
    let resume = ["train", "--resume", "resumed", "--steps", "100000000"];
    for (run, arguments) in [("begun", &begin[..]), ("resumed", &resume)] {
        let mut children = start(folder, arguments, 8);
        let mut ended = Vec::new();
        let started = Instant::now();
        while ended.len() < 7 {
            assert!(
                started.elapsed() < Duration::from_mins(2),
                "more than one proceeds"
            );
            std::thread::sleep(Duration::from_millis(20));
            for mut child in std::mem::take(&mut children) {
                match child.try_wait().expect("our own child") {
                    Some(_) => ended.push(child),
                    None => children.push(child),
                }
            }
        }
        assert_eq!(children.len(), 1, "nobody proceeds");
        let holder = format!("held by process {} on ", children[0].id());
        for output in end(ended) {
            assert_eq!(output.status.code(), Some(73), "{}", stderr(&output));
            assert!(stderr(&output).contains(&holder), "{}", stderr(&output));
        }
        let config = folder.join(run).join("config.toml");
        // A run that goes on has its configuration, and the new one once it has been read.
        let is_written = || config.exists() && read(&config).contains("steps = 100000000");
        while !is_written() {
            assert!(
                started.elapsed() < Duration::from_mins(2),
                "it writes no configuration"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        // The lock of a dead holder is in nobody's way.
        children[0].kill().expect("our own child");
        end(children);
        let mut next = start(folder, &["train", "--resume", run], 1);
        let lock = folder.join(run).join("LOCK");
        let name = format!("process {} on ", next[0].id());
        let started = Instant::now();
        while !read(&lock).contains(&name) {
            assert!(
                started.elapsed() < Duration::from_mins(2),
                "it does not get the lock"
            );
            assert!(matches!(next[0].try_wait(), Ok(None)), "{:?}", end(next));
            std::thread::sleep(Duration::from_millis(5));
        }
        next[0].kill().expect("our own child");
        end(next);
    }
}

#[test]
fn of_64_starts_at_once_each_gets_a_folder_of_its_own() {
    let folder = temporary();
    let arguments = tiny(&[
        "--algo",
        "sac",
        "--steps",
        "2",
        "--set",
        "evaluation.episodes=1",
    ]);
    let outputs = end(start(folder.path(), &arguments, 64));
    let mut folders = BTreeSet::new();
    for output in outputs {
        assert!(output.status.success(), "{}", stderr(&output));
        let run = stdout(&output).trim().to_owned();
        assert!(folder.path().join(&run).join("DONE").exists(), "{run}");
        folders.insert(run);
    }
    assert_eq!(folders.len(), 64);
}
