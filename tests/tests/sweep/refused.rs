//! What is refused, and runs that fail.

use std::fs;
use std::path::Path;

use rescore_tests::program::{fails, read, rescore, stderr, stdout, tiny, trains};
use rescore_tests::runs::contents;

use super::{folders, plan, snapshot, states, status, sweep, temporary};

#[test]
fn what_is_no_sweep_is_refused_before_anything_is_written() {
    let folder = temporary();
    let folder = folder.path();
    let good = sweep("[0, 1]", 60, "");
    let refuses = |text: &str, messages: &[&str]| {
        fs::write(folder.join("bad.toml"), text).expect("writable");
        let arguments = ["sweep", "plan", "bad.toml", "--out", "bad"];
        fails(folder, &arguments, 2, messages);
        assert!(!folder.join("bad").exists(), "something was created");
    };
    for (from, to, messages) in [
        (
            "[0, 1]",
            "[]",
            ["bad.toml:3:1", "`seeds` is an empty list", "hint: "],
        ),
        (
            "[0, 1]",
            "[0, 0]",
            ["runs 0 and 1 are the same", "seed 0", "stands twice"],
        ),
        (
            "\"sac\"",
            "\"sca\"",
            ["bad.toml:1:1", "unknown algorithm `sca`", "sac"],
        ),
        (
            "Pendulum-v1",
            "Pendulum-v2",
            ["bad.toml:2:1", "unknown task", "`Pendulum-v1`"],
        ),
        (
            "seeds",
            "sedes",
            ["bad.toml:3:1", "unknown key `sedes`", "`seeds`"],
        ),
        (
            "\"log_every\"",
            "\"log_evry\"",
            ["unknown key `log_evry`", "log_every", "on Pendulum-v1"],
        ),
        (
            "steps = 60",
            "steps = 0",
            ["bad.toml:4:1", "`steps` is 0", "from 1"],
        ),
        (
            "[set]",
            "preset = \"larg\"\n[set]",
            ["unknown preset `larg`", "small", "hint: "],
        ),
        (
            "[[16, 16]]",
            "[16, 16]",
            ["hidden_dims", "hint: ", "write [[16, 16]]"],
        ),
    ] {
        assert!(good.contains(from), "{from}");
        refuses(&good.replace(from, to), &messages);
    }
}

#[test]
fn a_folder_holds_one_sweep_and_a_run_is_one_of_its_numbers() {
    let folder = temporary();
    let folder = folder.path();
    let good = sweep("[0, 1]", 60, "");
    let plan_into = |out: &'static str| ["sweep", "plan", "sweep.toml", "--out", out];
    fails(folder, &plan_into("none"), 74, &["sweep.toml"]);
    plan(folder, &good);
    // The same sweep once more is the same plan.
    plan(folder, &good);
    let before = snapshot(folder);
    fs::write(folder.join("sweep.toml"), sweep("[0, 2]", 60, "")).expect("writable");
    fails(
        folder,
        &plan_into("sweep"),
        2,
        &["holds another sweep, of 2 runs", "another folder"],
    );
    assert!(snapshot(folder) == before, "the plan was changed");
    fs::create_dir(folder.join("theirs")).expect("writable");
    fs::write(folder.join("theirs/precious"), "mine").expect("writable");
    fails(
        folder,
        &plan_into("theirs"),
        2,
        &["holds precious", "a folder of its own"],
    );
    for command in ["run", "status", "collect"] {
        let arguments = ["sweep", command, "theirs"];
        fails(
            folder,
            &arguments,
            2,
            &["theirs holds no sweep", "sweep plan"],
        );
    }
    for format in ["slurm", "k8s"] {
        fails(
            folder,
            &["sweep", "emit", format, "theirs"],
            2,
            &["holds no sweep"],
        );
    }
    for (options, message) in [
        (&["--index", "2"][..], "there is no run 2"),
        (&["--jobs", "0"], "--jobs"),
        (&["--jobs", "1", "--index", "0"], "--index"),
        (&["--index=-1"], "--index"),
    ] {
        let arguments = [&["sweep", "run", "sweep"], options].concat();
        fails(folder, &arguments, 2, &[message]);
    }
    assert!(
        snapshot(folder) == before,
        "a refusal left something behind"
    );
}

#[test]
fn another_run_in_the_place_of_one_is_left_alone() {
    let folder = temporary();
    let folder = folder.path();
    plan(folder, &sweep("[0, 1]", 60, ""));
    let runs = folders(folder);
    let place = runs[0].to_str().expect("text");
    trains(
        folder,
        &tiny(&[
            "--algo", "sac", "--steps", "60", "--seed", "4", "--out", place,
        ]),
    );
    let before = contents(&runs[0]);
    let words = [
        "holds another run than run 0 of the sweep: `seed` is 4, but 0 in the plan",
        "hint: move that folder away",
    ];
    fails(
        folder,
        &["sweep", "run", "sweep", "--index", "0"],
        2,
        &words,
    );
    // The other run is made all the same.
    fails(
        folder,
        &["sweep", "run", "sweep", "--jobs", "2"],
        2,
        &["1 of 2 runs failed", words[0]],
    );
    assert_eq!(states(folder), ["failed", "done"]);
    let collected = stdout(&rescore(folder, &["sweep", "collect", "sweep"]));
    let row = collected.lines().nth(1).expect("a row");
    assert!(row.ends_with("failed,60,missing,missing,missing"), "{row}");
    assert!(contents(&runs[0]) == before);
    // So is a run that another version began, and a plan of another version.
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    let becomes_old = |path: &Path| {
        let text = read(path);
        assert!(text.contains(&version), "{text}");
        fs::write(path, text.replace(&version, "\"version\": \"0.0.1\"")).expect("writable");
    };
    becomes_old(&runs[1].join("manifest.json"));
    let run = ["sweep", "run", "sweep", "--index", "1"];
    fails(folder, &run, 2, &["version 0.0.1 of the program began it"]);
    becomes_old(&folder.join("sweep/plan/plan.json"));
    fails(
        folder,
        &run,
        2,
        &["was planned by version 0.0.1", "go on with version 0.0.1"],
    );
    let config = folder.join("sweep/plan/0001.toml");
    fs::write(&config, read(&config).replace("seed = 1", "seed = 2")).expect("writable");
    let plan = folder.join("sweep/plan/plan.json");
    fs::write(
        &plan,
        read(&plan).replace("\"version\": \"0.0.1\"", &version),
    )
    .expect("writable");
    fails(folder, &run, 74, &["0001.toml is damaged", "as planned"]);
}

/// One run diverges, the other does not; the reason stays until the run goes on.
#[test]
fn a_run_that_fails_is_told_and_the_others_are_made() {
    let folder = temporary();
    let folder = folder.path();
    plan(folder, &sweep("[0]", 100, "lr = [1e-3, 1e30]\n"));
    let said = [
        "1 of 2 runs failed, 1 are done",
        "run 1: ",
        "hint: sweep/logs has",
    ];
    fails(folder, &["sweep", "run", "sweep", "--jobs", "2"], 1, &said);
    assert_eq!(states(folder), ["done", "failed"]);
    let detail = status(folder)[1]["detail"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(detail.contains(" at step "), "{detail}");
    assert!(read(&folder.join("sweep/logs/0001.log")).contains(&detail));
    let shown = stdout(&rescore(folder, &["sweep", "status", "sweep"]));
    assert!(shown.contains(&detail), "{shown}");
    let output = rescore(folder, &["sweep", "run", "sweep", "--index", "1"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}
