//! TensorBoard's own loader reads of a run what its logs say, however the run was interrupted.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rescore_tests::program::{command, read, stderr, tiny, trains};
use rescore_tests::python::python;
use rescore_tests::runs::contents;
use serde_json::{Map, Value};

/// Of each number's name its steps and values.
type Scalars = BTreeMap<String, Vec<(u64, f32)>>;

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn sac<'a>(more: &[&'a str]) -> Vec<&'a str> {
    tiny(&[&["--algo", "sac"], more].concat())
}

const WITH: [&str; 2] = ["--set", "tensorboard=true"];

/// The event files of `run`, in the order of their names.
fn event_files(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run.join("tensorboard")).expect("there are event files");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

/// Cuts `bytes` off the file.
fn shorten(file: &Path, bytes: usize) {
    let content = fs::read(file).expect("there");
    fs::write(file, &content[..content.len() - bytes]).expect("writable");
}

/// What the logs of `run` say, by the names that TensorBoard is to know.
fn logged(run: &Path) -> Scalars {
    let mut scalars = Scalars::new();
    for line in read(&run.join("metrics.jsonl")).lines() {
        let line: Map<String, Value> = serde_json::from_str(line).expect("an object");
        let step = line["step"].as_u64().expect("a step");
        for (name, value) in line.iter().filter(|(name, _)| *name != "step") {
            let value = value.as_f64().expect("a number") as f32;
            scalars.entry(name.clone()).or_default().push((step, value));
        }
    }
    for row in read(&run.join("eval.csv")).lines().skip(1) {
        let cells: Vec<_> = row.split(',').collect();
        let step = cells[0].parse().expect("a step");
        for (name, cell) in [
            ("eval/mean_return", cells[2]),
            ("eval/std_return", cells[3]),
        ] {
            let value: f64 = cell.parse().expect("a number");
            let points = scalars.entry(name.to_owned()).or_default();
            points.push((step, value as f32));
        }
    }
    scalars
}

/// What TensorBoard reads of each of `runs`, by the names of the logs; nothing without TensorBoard.
fn shown(runs: &[PathBuf]) -> Option<Vec<Scalars>> {
    let mut python = python("tensorboard", "tests/python/read_events.py")?;
    let output = python.args(runs).output().expect("it was started before");
    assert!(output.status.success(), "{}", stderr(&output));
    let read: Vec<BTreeMap<String, Vec<(u64, f64)>>> =
        serde_json::from_slice(&output.stdout).expect("JSON");
    let name = |tag: &str| match tag.split_once('/') {
        Some(("train" | "time" | "loss" | "norm" | "metrics", name)) => name.to_owned(),
        _ => tag.to_owned(),
    };
    let narrow = |points: Vec<(u64, f64)>| {
        let points = points.into_iter().map(|(step, value)| (step, value as f32));
        points.collect::<Vec<_>>()
    };
    let scalars = |tags: BTreeMap<String, Vec<(u64, f64)>>| {
        let tags = tags.into_iter();
        tags.map(|(tag, points)| (name(&tag), narrow(points)))
            .collect()
    };
    Some(read.into_iter().map(scalars).collect())
}

fn assert_shown_as_logged(runs: &[PathBuf]) {
    for (run, shown) in runs.iter().zip(shown(runs).into_iter().flatten()) {
        let ascending = |points: &Vec<(u64, f32)>| points.is_sorted_by(|a, b| a.0 < b.0);
        assert!(shown.values().all(ascending), "{}", run.display());
        assert!(shown.contains_key("q1_loss"));
        assert_eq!(shown, logged(run), "{}", run.display());
    }
}

/// The files of `run` that are to be the same with event files and without.
fn others(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = contents(run);
    files.retain(|name, _| !name.starts_with("tensorboard") && name != Path::new("config.toml"));
    files
}

#[test]
fn a_run_that_is_killed_again_and_again_is_shown_as_its_logs_say() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &sac(&["--steps", "600", "--out", "without"]));
    assert!(!folder.join("without/tensorboard").exists());
    let begin = sac(&[&["--steps", "600", "--out", "run", "--continue"], &WITH[..]].concat());
    let run = folder.join("run");
    let (mut kills, started) = (0, Instant::now());
    loop {
        let lines =
            || fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |s| s.lines().count());
        let before = lines();
        let mut child = command(folder, &begin)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        // Checkpoints come every 30 steps, lines every 10: some of these kills lose work.
        while lines() < before + 4 + kills % 3 && matches!(child.try_wait(), Ok(None)) {
            assert!(started.elapsed() < Duration::from_mins(2), "no progress");
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = child.kill();
        if child.wait().expect("our own child").success() {
            break;
        }
        kills += 1;
        // As if the last record had been written in part.
        if kills % 2 == 0 {
            shorten(event_files(&run).last().expect("one at least"), 7);
        }
    }
    assert!(kills > 3, "{kills} kills");
    assert_eq!(event_files(&run).len(), kills + 1);
    assert!(others(&run) == others(&folder.join("without")));
    assert_shown_as_logged(std::slice::from_ref(&run));

    // The last record, half written, is all that is lost.
    shorten(event_files(&run).last().expect("one at least"), 5);
    let Some(shown) = shown(std::slice::from_ref(&run)) else {
        return;
    };
    let (shown, mut logged) = (&shown[0], logged(&run));
    assert!(shown.contains_key("episode_return"));
    for (name, points) in &mut logged {
        points.truncate(shown[name].len().max(points.len() - 1));
    }
    assert_eq!(shown, &logged);
}

/// A run of 60 steps into `out` that writes event files.
fn short(out: &str) -> Vec<&str> {
    let intervals = [
        "--set",
        "checkpoint_every=20",
        "--set",
        "evaluation.every=30",
        "--set",
        "evaluation.episodes=1",
    ];
    sac(&[&["--steps", "60", "--out", out], &intervals[..], &WITH].concat())
}

/// The program dies, or the disk is full, at a step of writing, within a record of the event files too.
#[test]
fn a_fault_at_any_step_of_writing_is_survived() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &short("whole"));
    let whole = others(&folder.join("whole"));
    let mut runs = vec![folder.join("whole")];
    let mut named = 0;
    let aborts = (15..200).step_by(11).map(|step| ("abort", step));
    // The first line of the log is written about here.
    let full = (15..26).step_by(2).map(|step| ("full", step));
    for (fault, step) in aborts.chain(full) {
        let out = format!("{fault}-{step}");
        let output = command(folder, &short(&out))
            .env("RESCORE_FAULT", format!("{fault}@{step}"))
            .output()
            .expect("the program starts");
        if output.status.success() {
            continue;
        }
        let text = stderr(&output);
        let code = (fault == "full").then_some(74);
        assert_eq!(output.status.code(), code, "{out}: {text}");
        named += usize::from(text.contains("tensorboard/events.out"));
        trains(folder, &[&short(&out)[..], &["--continue"]].concat());
        let run = folder.join(&out);
        assert!(others(&run) == whole, "{out}");
        runs.push(run);
    }
    assert!(runs.len() > 15 && named > 0, "{} runs, {named}", runs.len());
    assert_shown_as_logged(&runs);
}

#[test]
fn event_files_can_be_switched_on_on_the_way_and_off_again() {
    let folder = temporary();
    let folder = folder.path();
    let run = folder.join("run");
    trains(folder, &sac(&["--out", "run"]));
    let resume = ["train", "--resume", "run", "--steps"];
    trains(folder, &[&resume[..], &["200"], &WITH].concat());
    let manifest: Value = serde_json::from_str(&read(&run.join("manifest.json"))).expect("JSON");
    assert_eq!(
        manifest["resumed"][0]["changed"][1]["key"],
        "training.tensorboard"
    );
    // What was logged before is shown, too; and pruning leaves it.
    trains(folder, &["prune", "run"]);
    assert_shown_as_logged(std::slice::from_ref(&run));

    let other = sac(&[&["--out", "other"], &WITH[..]].concat());
    trains(folder, &other);
    let off = ["--set", "tensorboard=false"];
    let more = ["train", "--resume", "other", "--steps", "200"];
    trains(folder, &[&more[..], &off].concat());
    assert_eq!(event_files(&folder.join("other")).len(), 1);
}
