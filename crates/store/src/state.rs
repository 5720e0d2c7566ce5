//! How far a run has come, as its folder says.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::durable::{parse_json, read_limited};
use crate::lock::held_by;
use crate::names::{CONFIG, CRASH, DONE};

/// A report of a crash names every bad array of an agent and is shorter.
const CRASH_LIMIT: u64 = 16 << 20;

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has reached its last step.
    Done,
    /// A process is at it.
    Running,
    /// It has begun, and goes on when it is run again.
    Stopped,
    /// It ended with an error, or something else is in its place.
    Failed,
    /// It has no folder yet.
    NotStarted,
}

impl State {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 5] = [
        Self::Done,
        Self::Running,
        Self::Stopped,
        Self::Failed,
        Self::NotStarted,
    ];

    /// How many of `states` are which, in words: the last line of a table of runs.
    pub fn count(states: impl IntoIterator<Item = Self>) -> String {
        let mut counts = Self::ALL.map(|state| (state, 0));
        let mut all = 0;
        for state in states {
            all += 1;
            for (known, count) in &mut counts {
                *count += usize::from(*known == state);
            }
        }
        let counts = counts.map(|(state, count)| format!("{count} {state}"));
        format!("{all} runs: {}", counts.join(", "))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Done => "done",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::NotStarted => "not started",
        })
    }
}

/// The state of the run in the folder `run`; and who is at it, or why it failed. `failure` gives the
/// reason that is kept elsewhere and is asked where nobody is at the run. Nothing is written, and a
/// process that is at the run is not disturbed.
///
/// # Errors
/// When the lock is no regular file or cannot be read.
pub fn state_of(
    run: &Path,
    failure: impl FnOnce() -> Option<String>,
) -> Result<(State, Option<String>), StoreError> {
    let there = |name: &str| fs::symlink_metadata(run.join(name)).is_ok();
    let has_begun = there(CONFIG);
    if has_begun && there(DONE) {
        return Ok((State::Done, None));
    }
    if let Some(holder) = held_by(run)? {
        return Ok((State::Running, Some(holder)));
    }
    Ok(match failure() {
        Some(reason) => (State::Failed, Some(reason)),
        None if there(CRASH) => (State::Failed, Some(crash(run))),
        None if has_begun => (State::Stopped, None),
        None => (State::NotStarted, None),
    })
}

/// Which number was not finite, as `crash.json` says.
fn crash(run: &Path) -> String {
    #[derive(Deserialize)]
    struct Crash {
        number: Number,
        step: u64,
        update: u64,
    }
    #[derive(Deserialize)]
    struct Number {
        what: String,
        value: String,
    }
    let path = run.join(CRASH);
    let read = read_limited(&path, CRASH_LIMIT).and_then(|bytes| parse_json(&path, &bytes));
    let path = path.display();
    match read {
        Ok(Crash {
            number: Number { what, value },
            step,
            update,
        }) => format!("{what} is {value} at step {step} (update {update}); {path} says more"),
        Err(_) => format!("{path} says why"),
    }
}

/// The run in `folder`, or the runs in its folders, by name; none where there is none.
///
/// # Errors
/// When the folder cannot be read.
pub fn runs_in(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    if folder.join(CONFIG).exists() {
        return Ok(vec![folder.to_owned()]);
    }
    let entries = fs::read_dir(folder).map_err(StoreError::io("read", folder))?;
    let mut runs: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join(CONFIG).exists())
        .collect();
    runs.sort();
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::{NewRun, RunFolder, Start};

    fn begin(path: &Path) -> RunFolder {
        let new = NewRun {
            name: String::new(),
            config: "steps = 5\n".to_owned(),
            start: Start::now("flex", "processor".to_owned(), 1),
        };
        RunFolder::create(Some(path), &new).expect("writable")
    }

    #[test]
    fn the_state_of_a_run_follows_from_its_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = folder.path().join("run");
        let state = || state_of(&run, || None).expect("readable");
        assert_eq!(state(), (State::NotStarted, None));
        assert!(!run.exists(), "asking created something");
        let held = begin(&run);
        let (running, holder) = state();
        assert_eq!(running, State::Running);
        assert!(holder.is_some_and(|holder| holder.starts_with("process ")));
        drop(held);
        assert_eq!(state(), (State::Stopped, None));
        let reason = state_of(&run, || Some("a reason".to_owned())).expect("readable");
        assert_eq!(reason, (State::Failed, Some("a reason".to_owned())));

        let crash = run.join(CRASH);
        for (text, words) in [
            ("{", "says why"),
            (
                r#"{"number":{"what":"q1_loss","value":"NaN"},"step":7,"update":3,"more":0}"#,
                "q1_loss is NaN at step 7 (update 3)",
            ),
        ] {
            fs::write(&crash, text).expect("writable");
            let (failed, reason) = state();
            assert_eq!(failed, State::Failed);
            let reason = reason.unwrap_or_default();
            assert!(reason.contains(words), "{reason}");
        }
        let held = RunFolder::open(&run).expect("free");
        held.mark_done(5, 1).expect("writable");
        assert_eq!(state(), (State::Done, None));
    }

    #[test]
    fn runs_are_found_in_their_folder_and_in_the_one_above() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runs = || runs_in(folder.path()).expect("readable");
        assert_eq!(runs(), Vec::<PathBuf>::new());
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        fs::create_dir(folder.path().join("no run")).expect("writable");
        drop((begin(&two), begin(&one)));
        assert_eq!(runs(), [one.clone(), two]);
        assert_eq!(runs_in(&one).expect("readable"), [one]);
        assert!(runs_in(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn states_are_counted_in_words() {
        let states = [State::Done, State::Failed, State::Done];
        assert_eq!(
            State::count(states),
            "3 runs: 2 done, 0 running, 0 stopped, 1 failed, 0 not started"
        );
    }
}
