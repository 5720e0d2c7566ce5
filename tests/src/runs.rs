//! Comparing what two runs have left. Everything here panics where a test should fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::program::read;

/// Every file below the run folder `run` with its bytes, but for `manifest.json` and the clock's
/// columns of `metrics.jsonl`.
///
/// # Panics
/// When a file cannot be read.
pub fn contents(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(run).expect("below it").to_owned();
            let bytes = match name.to_str().unwrap_or_default() {
                "manifest.json" => continue,
                "metrics.jsonl" => without_clock(&read(&path)).into_bytes(),
                _ => fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
            };
            files.insert(name, bytes);
        }
    }
    files
}

/// The lines of `metrics.jsonl` without the columns that a clock decides.
///
/// # Panics
/// When a line is not an object.
pub fn without_clock(metrics: &str) -> String {
    metrics
        .lines()
        .map(|line| {
            let mut line: serde_json::Map<_, _> =
                serde_json::from_str(line).expect("one object per line");
            line.remove("wall_time_s").expect("a clock");
            line.remove("env_steps_per_s").expect("a clock");
            serde_json::to_string(&line).expect("plain") + "\n"
        })
        .collect()
}

/// Requires that two runs have left the same files with the same bytes.
///
/// # Panics
/// When they have not; the message names the files.
pub fn assert_same(expected: &Path, found: &Path) {
    let (expected, found) = (contents(expected), contents(found));
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected), "names of files");
    let differing: Vec<_> = (expected.iter())
        .filter(|(name, bytes)| found[*name] != **bytes)
        .map(|(name, bytes)| difference(name, bytes, &found[name]))
        .collect();
    assert!(differing.is_empty(), "these files differ: {differing:?}");
}

/// The name of a file and, of texts, the first lines that differ.
fn difference(name: &Path, expected: &[u8], found: &[u8]) -> String {
    let texts = [expected, found].map(std::str::from_utf8);
    let [Ok(expected), Ok(found)] = texts else {
        return name.display().to_string();
    };
    let mut lines = expected.lines().zip(found.lines());
    match lines.find(|(expected, found)| expected != found) {
        Some((expected, found)) => format!("{}: {found}, not {expected}", name.display()),
        None => format!("{}: of another length", name.display()),
    }
}
