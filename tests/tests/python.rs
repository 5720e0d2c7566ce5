//! The examples in Python hand runs over to other programs.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rescore_tests::program::{binary, read, signal, stderr, stdout, tiny, trains};
use rescore_tests::python::python;
use serde::Deserialize;
use serde_json::{Map, Value};

const UPLOAD: &str = "docs/examples/wandb_upload.py";
const SEARCH: &str = "docs/examples/optuna_search.py";

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().expect("it was started before");
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

/// An offline run of Weights & Biases.
#[derive(Deserialize)]
struct Uploaded {
    id: String,
    config: Map<String, Value>,
    rows: Vec<(u64, Row)>,
}

/// Numbers by their names; `f32`, because readers of JSON may round the last bit of others.
type Row = BTreeMap<String, f32>;

/// What the logs of `run` say, by step.
fn logged(run: &Path) -> Vec<(u64, Row)> {
    let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
    for line in read(&run.join("metrics.jsonl")).lines() {
        let mut line: Row = serde_json::from_str(line).expect("an object of numbers");
        let step = line.remove("step").expect("a step");
        rows.insert(step as u64, line);
    }
    for row in read(&run.join("eval.csv")).lines().skip(1) {
        let cells: Vec<f32> = row
            .split(',')
            .map(|c| c.parse().expect("a number"))
            .collect();
        let row = rows.entry(cells[0] as u64).or_default();
        row.insert("eval/mean_return".to_owned(), cells[2]);
        row.insert("eval/std_return".to_owned(), cells[3]);
    }
    rows.into_iter().collect()
}

#[test]
fn weights_and_biases_gets_every_step_once() {
    let folder = temporary();
    let folder = folder.path();
    let run = folder.join("run");
    let Some(mut upload) = python("wandb", UPLOAD) else {
        return;
    };
    trains(folder, &tiny(&["--algo", "sac", "--out", "run"]));
    // A run that is going on.
    fs::remove_file(run.join("DONE")).expect("there");
    upload
        .arg(&run)
        .envs([("WANDB_MODE", "offline"), ("WANDB_SILENT", "true")])
        .env("HOME", folder)
        .current_dir(folder);
    succeeds(&mut upload);
    let mut follower = upload
        .args(["--follow", "--every", "0.1"])
        .spawn()
        .expect("it was started before");
    trains(folder, &["train", "--resume", "run", "--steps", "160"]);
    assert!(follower.wait().expect("our own child").success());

    let mut reader = python("wandb", "tests/python/read_wandb.py").expect("it was there before");
    let text = succeeds(reader.arg(run.join("wandb")));
    let parts: Vec<Uploaded> = serde_json::from_str(&text).expect("JSON");
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[0].id, parts[1].id);
    assert_eq!(parts[1].config["algo"], "sac");
    assert_eq!(parts[1].config["training"]["num_envs"], 2);
    let expected = logged(&run);
    // The evaluation of the last step might have been missing.
    let first = expected.iter().filter(|(step, _)| *step < 100);
    assert_eq!(parts[0].rows.len(), first.count());
    let rows: Vec<_> = parts.into_iter().flat_map(|part| part.rows).collect();
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(row, expected);
    }
}

/// A trial as `study.db` has it.
#[derive(Deserialize)]
struct Trial {
    state: String,
    folder: String,
    lr: f64,
}

#[test]
fn a_search_that_was_killed_goes_on() {
    let folder = temporary();
    let folder = folder.path();
    let search = |trials: &str, steps: &str| {
        let mut search = python("optuna", SEARCH)?;
        search
            .args(["--out", "search", "--every", "0.02", "--trials", trials])
            .arg("--rescore")
            .arg(binary())
            .arg("--")
            .args(&tiny(&["--algo", "sac", "--steps", steps])[1..])
            .current_dir(folder);
        Some(search)
    };
    let Some(mut first) = search("2", "300") else {
        return;
    };
    // Killed in its first trial, whose run goes on for a while.
    let mut child = first.stderr(Stdio::null()).spawn().expect("it starts");
    let started = Instant::now();
    while !folder.join("search/0000/eval.csv").exists() {
        assert!(started.elapsed() < Duration::from_mins(1), "no progress");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(signal(&child.id().to_string(), &["-KILL"]));
    child.wait().expect("our own child");
    succeeds(&mut search("2", "300").expect("it was there before"));
    // More trials; those before are not made again.
    let best = succeeds(&mut search("3", "300").expect("it was there before"));
    let best: Value = serde_json::from_str(best.trim()).expect("one line of JSON");

    let mut reader = python("optuna", "tests/python/read_study.py").expect("it was there before");
    let text = succeeds(reader.arg(folder.join("search/study.db")));
    let trials: Vec<Trial> = serde_json::from_str(&text).expect("JSON");
    let told = |trial: &Trial| (trial.state.clone(), trial.folder.clone());
    let expected = [("FAIL", "0000"), ("COMPLETE", "0000")];
    let begun: Vec<_> = trials.iter().take(2).map(told).collect();
    assert_eq!(begun, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(trials.len(), 4);
    assert_eq!(trials[0].lr.to_bits(), trials[1].lr.to_bits());
    assert_ne!(trials[1].lr.to_bits(), trials[2].lr.to_bits());
    let run = folder.join(best["run"].as_str().expect("a folder"));
    assert!(run.join("DONE").exists());
    let config = read(&run.join("config.toml"));
    let rate = best["lr"].as_f64().expect("a number");
    assert!(
        config.contains(&format!("learning_rate = {rate}")),
        "{config}"
    );
}
