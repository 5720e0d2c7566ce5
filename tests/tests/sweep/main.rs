//! Sweeps: many runs that are planned together, here and under schedulers; and `train --seeds`.
#![cfg(unix)]

mod emitted;
mod refused;
mod running;
mod seeds;
mod slurm;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rescore_tests::program::{command, rescore, signal, stderr, stdout, tiny_table};
use serde_json::Value;

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A sweep of SAC on Pendulum-v1 with tiny settings and these lines of its table `[set]`.
fn sweep(seeds: &str, steps: u64, set: &str) -> String {
    format!(
        "algorithms = [\"sac\"]\ntasks = [\"Pendulum-v1\"]\nseeds = {seeds}\nsteps = {steps}\n\n\
         [set]\n{}{set}",
        tiny_table()
    )
}

/// Plans `text` into the folder `sweep` below `folder`.
fn plan(folder: &Path, text: &str) {
    fs::write(folder.join("sweep.toml"), text).expect("writable");
    let output = rescore(folder, &["sweep", "plan", "sweep.toml", "--out", "sweep"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).trim(), "sweep");
}

/// `sweep run sweep` with `more`, leader of a process group of its own.
fn start(folder: &Path, more: &[&str]) -> Child {
    command(folder, &[&["sweep", "run", "sweep"], more].concat())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// Sends a signal to the process group that `child` leads.
fn signal_group(child: &Child, name: &str) {
    assert!(signal(&format!("-{}", child.id()), &[name]));
}

/// The state of each run, as `sweep status --json` says.
fn status(folder: &Path) -> Vec<Value> {
    let output = rescore(folder, &["sweep", "status", "sweep", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let rows: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    rows.as_array().expect("an array").clone()
}

fn states(folder: &Path) -> Vec<String> {
    let state = |row: &Value| row["state"].as_str().expect("a state").to_owned();
    status(folder).iter().map(state).collect()
}

/// The run folders of the sweep, by number.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let path = |row: &Value| folder.join(row["path"].as_str().expect("a path"));
    status(folder).iter().map(path).collect()
}

/// Every file of the sweep with its bytes and the time of its last change.
fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut files = Vec::new();
    let mut left = vec![folder.join("sweep")];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(&path).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let bytes = fs::read(&path).expect("readable");
            files.push((path, bytes, changed.expect("a time")));
        }
    }
    files.sort();
    files
}
