//! Training is a function of seed, backend and settings of the algorithm; nothing else has a say.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use rescore_tests::program::{binary, command, skipped, tiny, trains};
use rescore_tests::runs::{assert_same, contents};

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// What training has come to: the agent of the last checkpoint and every transition.
fn training(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = contents(run).into_iter().filter_map(|(name, bytes)| {
        let name = name.to_str()?.to_owned();
        let counts = name == "checkpoints/200/agent.safetensors" || name.starts_with("replay/");
        counts.then_some((name, bytes))
    });
    let files: BTreeMap<_, _> = files.collect();
    assert!(files.len() >= 2, "{:?}", files.keys());
    files
}

/// Settings that change what is reported and how often, but nothing of what is learned.
const REPORTS: &[(&str, &[&str])] = &[
    ("no-evaluation", &["evaluation.every=1000000"]),
    ("no-log", &["log_every=1000000"]),
    ("no-checkpoints", &["checkpoint_every=1000000"]),
    (
        "everything-often",
        &[
            "evaluation.every=10",
            "log_every=2",
            "checkpoint_every=6",
            "evaluation.episodes=3",
        ],
    ),
    (
        "nothing",
        &[
            "evaluation.every=1000000",
            "log_every=1000000",
            "checkpoint_every=1000000",
        ],
    ),
];

#[test]
fn neither_evaluation_nor_log_nor_checkpoints_change_training() {
    for algo in ["dpmd", "sdac", "sac"] {
        let folder = temporary();
        let folder = folder.path();
        let common = ["--algo", algo, "--seed", "2", "--steps", "200"];
        trains(folder, &tiny(&[&common[..], &["--out", "plain"]].concat()));
        let expected = training(&folder.join("plain"));
        for (name, settings) in REPORTS {
            let set = settings.iter().flat_map(|setting| ["--set", setting]);
            let more: Vec<&str> = common
                .into_iter()
                .chain(["--out", name])
                .chain(set)
                .collect();
            trains(folder, &tiny(&more));
            assert!(
                training(&folder.join(name)) == expected,
                "{algo}: {name} changes training"
            );
        }
    }
}

#[test]
fn a_progress_bar_changes_nothing() {
    if Command::new("script").arg("--version").output().is_err() {
        skipped("there is no `script` to make a terminal");
        return;
    }
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &tiny(&["--out", "plain"]));
    let words: Vec<_> = tiny(&["--out", "bar"])
        .iter()
        .map(|w| format!("'{w}'"))
        .collect();
    let inside = format!("'{}' {}", binary().display(), words.join(" "));
    let status = Command::new("script")
        .args(["-q", "-e", "-c", &inside, "typescript"])
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .status()
        .expect("script starts");
    assert!(status.success());
    let shown = std::fs::read(folder.join("typescript")).expect("there");
    assert!(
        String::from_utf8_lossy(&shown).contains("ETA"),
        "no progress bar"
    );
    assert_same(&folder.join("plain"), &folder.join("bar"));
}

/// Environments of MuJoCo are stepped in parallel; others are too cheap for it.
#[cfg(feature = "mujoco")]
#[test]
fn the_number_of_threads_changes_nothing() {
    for algo in ["dpmd", "sdac", "sac"] {
        let folder = temporary();
        let folder = folder.path();
        for threads in ["1", "2", "4"] {
            let more = [
                "--algo",
                algo,
                "--env",
                "HalfCheetah-v4",
                "--set",
                "num_envs=4",
            ];
            let arguments = tiny(&[&more[..], &["--out", threads]].concat());
            let output = command(folder, &arguments)
                .env("RAYON_NUM_THREADS", threads)
                .output()
                .expect("the program starts");
            assert!(output.status.success(), "{output:?}");
        }
        for threads in ["2", "4"] {
            assert_same(&folder.join("1"), &folder.join(threads));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_does_not() {
    for algo in ["dpmd", "sdac", "sac"] {
        let folder = temporary();
        let folder = folder.path();
        for (seed, out) in [("3", "first"), ("3", "second"), ("4", "other")] {
            trains(
                folder,
                &tiny(&["--algo", algo, "--seed", seed, "--out", out]),
            );
        }
        assert_same(&folder.join("first"), &folder.join("second"));
        let (first, other) = (
            contents(&folder.join("first")),
            contents(&folder.join("other")),
        );
        for (name, bytes) in &first {
            let name = name.to_str().expect("our own names");
            if name.ends_with("agent.safetensors") || name == "eval.csv" {
                assert!(
                    other.get(Path::new(name)) != Some(bytes),
                    "{algo}: {name} has no seed"
                );
            }
        }
    }
}

/// With `overlap` the environments step on one thread while another computes the update: which is
/// done first must not show, and an interruption neither. It is another training than without.
#[test]
fn what_overlaps_does_not_show() {
    for algo in ["dpmd", "sdac", "sac"] {
        let folder = temporary();
        let folder = folder.path();
        let common = ["--algo", algo, "--seed", "2", "--set", "overlap=true"];
        let arguments =
            |out, steps| tiny(&[&common[..], &["--out", out, "--steps", steps]].concat());
        for threads in ["1", "2", "4"] {
            let status = command(folder, &arguments(threads, "200"))
                .env("RAYON_NUM_THREADS", threads)
                .status();
            assert!(status.is_ok_and(|status| status.success()), "{algo}");
        }
        let expected = training(&folder.join("1"));
        trains(folder, &arguments("parts", "60"));
        trains(folder, &["train", "--resume", "parts", "--steps", "200"]);
        for other in ["2", "4", "parts"] {
            assert!(training(&folder.join(other)) == expected, "{algo}: {other}");
        }
        let sequential = ["--algo", algo, "--seed", "2", "--steps", "200"];
        trains(
            folder,
            &tiny(&[&sequential[..], &["--out", "plain"]].concat()),
        );
        assert!(training(&folder.join("plain")) != expected, "{algo}");
    }
}
