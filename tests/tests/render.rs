//! Films of runs and of random actions, and what is said where there can be none.

use std::fs;
use std::path::Path;

use rescore_tests::program::{command, fails, rescore, stderr, stdout, tiny, trains};

/// Frames of the GIF at `path`: each begins with a graphic control extension.
fn frames(path: &Path) -> usize {
    let bytes = fs::read(path).expect("the film was written");
    assert!(bytes.starts_with(b"GIF89a"), "not a GIF");
    let extension = [0x21, 0xf9, 0x04];
    bytes
        .windows(3)
        .filter(|window| *window == extension)
        .count()
}

#[test]
fn a_run_with_normalised_observations_is_evaluated_and_filmed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let set = [
        "--set",
        "normalize_observation=true",
        "--set",
        "task.time_limit=30",
    ];
    let run = ["--env", "HalfCheetah-v5", "--out", "run"];
    trains(folder, &tiny(&[&set[..], &run[..]].concat()));
    let output = rescore(folder, &["eval", "run", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(report["lengths"][0], 30, "the run's own time limit");

    let film = |arguments: &[&str]| {
        let common = ["render", "run", "--size", "64x48"];
        let output = rescore(folder, &[&common[..], arguments].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let text = film(&["--out", "all.gif"]);
    assert!(text.starts_with("all.gif: 31 frames, returns "), "{text}");
    assert_eq!(
        frames(&folder.join("all.gif")),
        31,
        "the start and 30 steps"
    );
    film(&[
        "--out",
        "some.gif",
        "--steps",
        "4",
        "--episodes",
        "2",
        "--camera",
        "track",
    ]);
    assert_eq!(frames(&folder.join("some.gif")), 10);
    assert_eq!(film(&["--out", "all.gif"]), text, "the same film again");
}

#[test]
fn random_actions_are_filmed_and_wrong_wishes_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let film = [
        "render",
        "--env",
        "Hopper-v4",
        "--size",
        "32x24",
        "--steps",
        "12",
    ];
    let output = rescore(folder, &[&film[..], &["--out", "a.gif"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    // 125 steps a second: every fifth is shown, and the start.
    assert_eq!(frames(&folder.join("a.gif")), 3);

    let with = |more: &[&'static str]| [&film[..], more].concat();
    fails(
        folder,
        &with(&["--out", "a.avi"]),
        2,
        &["does not end in .gif or .mp4", "chooses the format"],
    );
    fails(
        folder,
        &with(&["--out", "b.gif", "--camera", "side"]),
        2,
        &["no camera `side`", "track"],
    );
    fails(
        folder,
        &[
            "render",
            "--env",
            "Hopper-v4",
            "--out",
            "b.gif",
            "--size",
            "9000x10",
        ],
        2,
        &["cannot be drawn"],
    );
    fails(
        folder,
        &["render", "--env", "Pendulum-v1", "--out", "b.gif"],
        2,
        &["`Pendulum-v1` cannot be drawn"],
    );
    fails(
        folder,
        &["render", "no-such-run", "--out", "b.gif"],
        74,
        &["no-such-run"],
    );
    assert!(
        !folder.join("b.gif").exists(),
        "nothing is begun that cannot be done"
    );

    // Without a driver for EGL, and without ffmpeg.
    let output = command(folder, &with(&["--out", "b.gif"]))
        .env("__EGL_VENDOR_LIBRARY_DIRS", folder)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("libegl1 libegl-mesa0 libgl1-mesa-dri"));
    let output = command(folder, &with(&["--out", "b.mp4"]))
        .env("PATH", folder)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("`ffmpeg`"));
}
