//! How far each run of a sweep has come, as its folder says.

use std::fs;
use std::path::PathBuf;

use rescore_store::checkpoint::Checkpoints;
use rescore_store::durable::{
    create_folder, parse_json, read_limited, read_text, remove, sha256_hex, write_json,
};
use rescore_store::names::CONFIG;
use rescore_store::run_folder::{CONFIG_LIMIT, begun_by_version};
use rescore_store::state::{State, state_of};
use serde::{Deserialize, Serialize};

use super::plan::{Plan, PlannedRun};
use crate::RunError;
use crate::config::{Request, differences, resolve};

/// Folder of what failed runs left as their reason.
const FAILURES: &str = "failures";
/// A reason is far shorter.
const FAILURE_LIMIT: u64 = 1 << 20;

/// The state of a run, and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// How far it has come.
    pub state: State,
    /// Step of the last checkpoint.
    pub step: Option<u64>,
    /// Who is at it, or why it failed.
    pub detail: Option<String>,
    /// Whether its folder holds the planned run.
    #[serde(skip)]
    pub is_own: bool,
}

/// Why a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Exit code of the program.
    pub exit_code: u8,
    /// The error.
    pub error: String,
}

impl Plan {
    /// The state of `run`.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn status(&self, run: &PlannedRun) -> Result<Status, RunError> {
        let folder = self.path(run);
        if let Err(error) = self.require_own(run) {
            return Ok(Status {
                state: State::Failed,
                step: None,
                detail: Some(error.to_string()),
                is_own: false,
            });
        }
        let failure = || self.failure(run).map(|failure| failure.error);
        let (state, detail) = state_of(&folder, failure)?;
        let step = match state {
            State::Done => Some(run.steps),
            _ => Checkpoints::of(&folder).steps()?.last().copied(),
        };
        Ok(Status {
            state,
            step,
            detail,
            is_own: fs::symlink_metadata(folder.join(CONFIG)).is_ok(),
        })
    }

    /// Requires that the folder of `run` holds nothing yet, or this run.
    ///
    /// # Errors
    /// Names the settings that differ, where another run is there; or the version of the program that
    /// began it, where that is another than the one that planned the sweep.
    pub fn require_own(&self, run: &PlannedRun) -> Result<(), RunError> {
        let folder = self.path(run);
        let file = folder.join(CONFIG);
        if fs::symlink_metadata(&file).is_err() {
            return Ok(());
        }
        let is_planned = sha256_hex(read_text(&file, CONFIG_LIMIT)?.as_bytes()) == run.hash;
        let version = begun_by_version(&folder).filter(|version| *version != self.version);
        let reason = match version {
            None if is_planned => return Ok(()),
            Some(version) => format!(
                "version {version} of the program began it, and {} planned the sweep",
                self.version
            ),
            None => match self.how_it_differs(run) {
                Some(reason) => reason,
                // Laid out otherwise by a program that knows more keys.
                None => return Ok(()),
            },
        };
        let (index, folder) = (run.index, folder.display());
        Err(RunError::usage(
            format!("{folder} holds another run than run {index} of the sweep: {reason}"),
            "move that folder away and run the sweep again, or plan the sweep into another folder",
        ))
    }

    /// In what the run in the folder of `run` differs from it, if in anything.
    fn how_it_differs(&self, run: &PlannedRun) -> Option<String> {
        let found = resolve(&Request::of_run(&self.path(run)));
        match (self.config(run), found) {
            (Ok(planned), Ok(found)) => {
                let changes = differences(&planned, &found);
                let absent = || "absent".to_owned();
                let words = changes.iter().map(|change| {
                    let text = |value: &Option<toml::Value>| {
                        value.as_ref().map_or_else(absent, ToString::to_string)
                    };
                    let (planned, found) = (text(&change.from), text(&change.to));
                    format!("`{}` is {found}, but {planned} in the plan", change.key)
                });
                let words: Vec<_> = words.collect();
                (!words.is_empty()).then(|| words.join("; "))
            }
            (Err(error), _) | (_, Err(error)) => Some(error.to_string()),
        }
    }

    fn failure_file(&self, run: &PlannedRun) -> PathBuf {
        let name = format!("{:04}.json", run.index);
        self.folder().join(FAILURES).join(name)
    }

    /// Why `run` ended when it was run last, if it failed.
    pub fn failure(&self, run: &PlannedRun) -> Option<Failure> {
        let path = self.failure_file(run);
        let bytes = read_limited(&path, FAILURE_LIMIT).ok()?;
        parse_json(&path, &bytes).ok()
    }

    /// Keeps why `run` ended.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_failure(&self, run: &PlannedRun, failure: &Failure) -> Result<(), RunError> {
        create_folder(&self.folder().join(FAILURES))?;
        Ok(write_json(&self.failure_file(run), failure)?)
    }

    /// Forgets why `run` ended, because it goes on.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget_failure(&self, run: &PlannedRun) -> Result<(), RunError> {
        Ok(remove(&self.failure_file(run))?)
    }
}

#[cfg(test)]
mod tests {
    use rescore_store::names::CRASH;
    use rescore_store::run_folder::{NewRun, RunFolder, Start};

    use super::super::plan::plan;
    use super::*;

    const SWEEP: &str =
        "algorithms = [\"sac\"]\ntasks = [\"Pendulum-v1\"]\nseeds = [0, 1]\nsteps = 20_000\n";

    fn begin(plan: &Plan, run: &PlannedRun, config: &str) -> RunFolder {
        let new = NewRun {
            name: String::new(),
            config: config.to_owned(),
            start: Start::now("flex", "processor".to_owned(), 1),
        };
        RunFolder::create(Some(&plan.path(run)), &new).expect("writable")
    }

    #[test]
    fn the_state_of_a_run_follows_from_its_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runs = plan("sweep.toml", SWEEP, &Request::default()).expect("valid");
        let plan = Plan::write(folder.path(), SWEEP, runs).expect("writable");
        let (run, other) = (&plan.runs[0], &plan.runs[1]);
        let state = |run| plan.status(run).expect("readable");
        assert_eq!(state(run).state, State::NotStarted);
        assert!(!plan.path(run).exists(), "asking created something");

        let config = plan.config(run).expect("planned").to_toml();
        let held = begin(&plan, run, &config);
        let status = state(run);
        assert_eq!((status.state, status.is_own), (State::Running, true));
        assert!(
            status
                .detail
                .is_some_and(|holder| holder.contains("process"))
        );
        drop(held);
        assert_eq!(state(run).state, State::Stopped);

        let failure = Failure {
            exit_code: 1,
            error: "a number is not finite".to_owned(),
        };
        plan.note_failure(run, &failure).expect("writable");
        let status = state(run);
        assert_eq!(status.state, State::Failed);
        assert_eq!(status.detail.as_deref(), Some("a number is not finite"));
        plan.forget_failure(run).expect("removable");
        plan.forget_failure(run).expect("nothing is there");
        assert_eq!(state(run).state, State::Stopped);
        let crash = plan.path(run).join(CRASH);
        fs::write(&crash, "{}").expect("writable");
        assert_eq!(state(run).state, State::Failed);
        fs::remove_file(crash).expect("there");

        let held = RunFolder::open(&plan.path(run)).expect("free");
        held.mark_done(20_000, 1).expect("writable");
        let status = state(run);
        assert_eq!((status.state, status.step), (State::Done, Some(20_000)));
        assert_eq!(state(other).state, State::NotStarted);
    }

    #[test]
    fn another_run_in_the_place_of_one_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runs = plan("sweep.toml", SWEEP, &Request::default()).expect("valid");
        let plan = Plan::write(folder.path(), SWEEP, runs).expect("writable");
        let (run, other) = (&plan.runs[0], &plan.runs[1]);
        drop(begin(
            &plan,
            run,
            &plan.config(other).expect("planned").to_toml(),
        ));
        let error = plan.require_own(run).expect_err("another run");
        assert_eq!(error.exit_code(), 2);
        let words = "holds another run than run 0 of the sweep: `seed` is 1, but 0 in the plan";
        assert!(error.to_string().contains(words), "{error}");
        let status = plan.status(run).expect("readable");
        assert_eq!((status.state, status.is_own), (State::Failed, false));

        drop(begin(
            &plan,
            other,
            &plan.config(other).expect("planned").to_toml(),
        ));
        plan.require_own(other).expect("the run");
        // As a program that did not know a key would have planned it.
        let config = plan.path(other).join(CONFIG);
        let text = fs::read_to_string(&config).expect("written");
        let without = text.replace("tensorboard = false\n", "");
        assert_ne!(without, text);
        fs::write(&config, without).expect("writable");
        plan.require_own(other).expect("the run");
        let manifest = plan.path(other).join("manifest.json");
        let text = fs::read_to_string(&manifest).expect("written");
        let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&version), "{text}");
        fs::write(&manifest, text.replace(&version, "\"version\": \"0.0.0\"")).expect("writable");
        let error = plan.require_own(other).expect_err("another version");
        assert!(
            error.to_string().contains("version 0.0.0 of the program"),
            "{error}"
        );
    }
}
