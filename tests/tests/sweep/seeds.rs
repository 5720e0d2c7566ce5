//! `train --seeds`.

use std::fs;
use std::process::{Output, Stdio};

use rescore_tests::program::{
    command, end_of, fails, signal, stderr, stdout, tiny, trains, waits_until,
};
use rescore_tests::runs::{assert_same, contents};

use super::temporary;

#[test]
fn seeds_are_the_runs_that_they_are_alone() {
    let folder = temporary();
    let folder = folder.path();
    let seeds = |more: &[&'static str]| {
        tiny(&[&["--algo", "sac", "--seed", "4", "--seeds", "3"], more].concat())
    };
    let output = trains(folder, &seeds(&["--out", "all"]));
    assert_eq!(stdout(&output), "all/s4\nall/s5\nall/s6\n");
    for seed in ["4", "5", "6"] {
        let out = format!("alone-{seed}");
        trains(
            folder,
            &tiny(&["--algo", "sac", "--seed", seed, "--out", &out]),
        );
        assert_same(&folder.join(out), &folder.join(format!("all/s{seed}")));
    }
    // Once more they are done; without --continue they are refused, before the first begins.
    let before = contents(&folder.join("all"));
    let output = trains(folder, &seeds(&["--out", "all", "--continue"]));
    assert_eq!(stdout(&output).lines().count(), 3);
    assert!(contents(&folder.join("all")) == before);
    fs::remove_dir_all(folder.join("all/s4")).expect("there");
    fails(
        folder,
        &seeds(&["--out", "all"]),
        2,
        &["all/s5 exists and is not empty"],
    );
    assert!(!folder.join("all/s4").exists());
    fails(
        folder,
        &seeds(&["--out", "alone-4"]),
        2,
        &["alone-4 is the folder of a run", "--seeds"],
    );
    // Without --out each has a fresh folder.
    let output = trains(
        folder,
        &tiny(&["--algo", "sac", "--seeds", "2", "--steps", "20"]),
    );
    let lines = stdout(&output);
    let lines: Vec<_> = lines.lines().collect();
    assert!(
        lines[0].starts_with("runs/sac-Pendulum-v1-s0-"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("runs/sac-Pendulum-v1-s1-"),
        "{lines:?}"
    );
    for (options, message) in [
        (&["--seeds", "0"][..], "--seeds"),
        (
            &["--seeds", "2", "--seed", "9223372036854775807"],
            "not so many seeds",
        ),
        (&["--seeds", "2", "--resume", "all/s5"], "--seeds"),
    ] {
        let arguments = [&["train", "--env", "Pendulum-v1"], options].concat();
        fails(folder, &arguments, 2, &[message]);
    }
}

/// A signal ends the seed at hand after a checkpoint; the same command goes on with all.
#[test]
fn seeds_go_on_where_they_were_stopped() {
    let folder = temporary();
    let folder = folder.path();
    let seeds = tiny(&[
        "--algo",
        "sac",
        "--seeds",
        "2",
        "--steps",
        "2000",
        "--out",
        "all",
        "--continue",
    ]);
    let mut child = command(folder, &seeds)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let log = folder.join("all/s0/metrics.jsonl");
    assert!(waits_until(
        || fs::metadata(&log).is_ok_and(|file| file.len() > 0)
    ));
    assert!(signal(&child.id().to_string(), &["-TERM"]));
    assert_eq!(end_of(&mut child).code(), Some(75));
    let output: Output = child.wait_with_output().expect("it has ended");
    assert!(
        stderr(&output).contains("seeds 1 to 1 have not begun"),
        "{}",
        stderr(&output)
    );
    assert!(!folder.join("all/s1").exists());
    let output = trains(folder, &seeds);
    assert_eq!(stdout(&output), "all/s0\nall/s1\n");
    for seed in ["0", "1"] {
        let out = format!("alone-{seed}");
        let options = [
            "--algo", "sac", "--steps", "2000", "--seed", seed, "--out", &out,
        ];
        trains(folder, &tiny(&options));
        assert_same(&folder.join(&out), &folder.join(format!("all/s{seed}")));
    }
}
