//! One command for jobs that are requeued: it begins a run, goes on with it, or says that it is done.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rescore_tests::program::{command, fails, read, rescore, stderr, stdout, tiny, trains};
use rescore_tests::runs::{assert_same, contents};
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

#[test]
fn one_command_begins_goes_on_and_says_that_it_is_done() {
    let folder = temporary();
    let folder = folder.path();
    let job = sac(&["--steps", "400", "--out", "job", "--continue"]);
    trains(folder, &sac(&["--steps", "400", "--out", "whole"]));
    let mut ends = 0;
    loop {
        let mut child = command(folder, &job)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        // Requeued after a kill at no particular moment; from the fifth on left alone.
        if ends < 5 {
            std::thread::sleep(std::time::Duration::from_millis(40 * ends));
            let _ = child.kill();
        }
        if child.wait().expect("our own child").success() {
            break;
        }
        ends += 1;
        assert!(ends < 50, "it does not get on");
    }
    assert_same(&folder.join("whole"), &folder.join("job"));
    let before = contents(&folder.join("job"));
    let output = command(folder, &job)
        .env("RUST_LOG", "info")
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output).trim(), "job");
    assert!(
        stderr(&output).contains("has reached its last step, 400"),
        "{}",
        stderr(&output)
    );
    assert!(contents(&folder.join("job")) == before);
    // What may be changed is, and recorded.
    trains(
        folder,
        &sac(&[
            "--steps",
            "440",
            "--out",
            "job",
            "--continue",
            "--set",
            "lr=1e-5",
        ]),
    );
    let manifest = manifest(&folder.join("job"));
    let resumed = manifest["resumed"].as_array().expect("resumed");
    assert_eq!(
        resumed.last().expect("once at least")["changed"][0]["key"],
        "agent.actor.learning_rate"
    );
    assert!(folder.join("job/checkpoints/440").exists());
}

/// The preset that a job does not name is that with which its run was begun: the default follows the
/// device, which may be another one this time.
#[test]
fn a_job_that_names_no_preset_goes_on_with_that_of_its_run() {
    let folder = temporary();
    let folder = folder.path();
    let begun = sac(&["--preset", "reference", "--out", "job", "--continue"]);
    let output = command(folder, &begun)
        .env("RUST_LOG", "rescore=info")
        .output()
        .expect("it starts");
    let said = stderr(&output);
    assert!(
        said.contains("preset `reference`, named by --preset reference"),
        "{said}"
    );
    let longer = sac(&["--steps", "140", "--out", "job", "--continue"]);
    trains(folder, &longer);
    assert!(read(&folder.join("job/config.toml")).contains("preset = \"reference\""));
    let other = sac(&["--preset", "textbook", "--out", "job", "--continue"]);
    fails(
        folder,
        &other,
        2,
        &["`agent.preset` is \"reference\" in the run"],
    );
}

#[test]
fn a_folder_with_something_else_is_refused() {
    let folder = temporary();
    let folder = folder.path();
    fails(folder, &sac(&["--continue"]), 2, &["--out"]);
    trains(folder, &sac(&["--out", "run"]));
    let before = contents(&folder.join("run"));
    let other = sac(&[
        "--out",
        "run",
        "--continue",
        "--set",
        "gamma=0.5",
        "--seed",
        "4",
    ]);
    let differences = [
        "`agent.gamma` is 0.99 in the run, but 0.5 here",
        "`seed` is 0 in the run, but 4 here",
        "hint: ",
    ];
    fails(folder, &other, 2, &differences);
    let other = tiny(&["--algo", "dpmd", "--out", "run", "--continue"]);
    fails(
        folder,
        &other,
        2,
        &["`algo` is \"sac\" in the run, but \"dpmd\" here"],
    );
    let shorter = sac(&["--steps", "50", "--out", "run", "--continue"]);
    fails(folder, &shorter, 2, &["--steps 50", "step 100"]);
    assert!(contents(&folder.join("run")) == before);
    fs::create_dir(folder.join("theirs")).expect("writable");
    fs::write(folder.join("theirs/precious"), "mine").expect("writable");
    fails(
        folder,
        &sac(&["--out", "theirs", "--continue"]),
        2,
        &["theirs", "not empty"],
    );
    assert_eq!(folder.join("theirs").read_dir().expect("there").count(), 1);
    // What a process leaves that was killed before it had begun is no obstacle.
    fs::create_dir(folder.join("begun")).expect("writable");
    fs::write(folder.join("begun/LOCK"), "").expect("writable");
    fs::write(folder.join("begun/.config.toml.tmp"), "algo = ").expect("writable");
    trains(folder, &sac(&["--out", "begun", "--continue"]));
    assert_same(&folder.join("run"), &folder.join("begun"));
}

#[test]
fn of_several_at_once_one_begins_the_run() {
    let folder = temporary();
    let folder = folder.path();
    let job = sac(&["--steps", "2000", "--out", "job", "--continue"]);
    let children: Vec<_> = (0..6)
        .map(|_| {
            let child = command(folder, &job)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn();
            child.expect("the program starts")
        })
        .collect();
    let outputs = children
        .into_iter()
        .map(|child| child.wait_with_output().expect("our child"));
    let mut codes: Vec<_> = outputs.map(|output| output.status.code()).collect();
    codes.sort_unstable();
    // The others come too late, or when all is done.
    assert_eq!(codes[0], Some(0), "{codes:?}");
    assert!(
        codes.iter().all(|code| [Some(0), Some(73)].contains(code)),
        "{codes:?}"
    );
    assert!(codes.contains(&Some(73)), "{codes:?}");
    assert!(manifest(&folder.join("job"))["resumed"].is_null());
    let output = rescore(folder, &job);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
