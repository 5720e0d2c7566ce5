//! Removing what a finished run no longer needs: its replay buffer, and all checkpoints but the
//! last and the best.
//!
//! What is left can be evaluated, drawn and filmed, but not made longer. The file `PRUNED`, which
//! is written before anything is removed, says so.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoints, verify};
use crate::disk::{length, size};
use crate::durable::{self, parse_json, read_limited, write_json};
use crate::names::{CHECKPOINTS, DONE, PRUNED, REPLAY};
use crate::run_folder::RunFolder;
use crate::segments::segment_files;
use crate::{StoreError, durable::sync_folder};

/// Both are far shorter.
const MARK_LIMIT: u64 = 4096;

/// What `PRUNED` says.
#[derive(Debug, Serialize, Deserialize)]
struct Pruned {
    removed: String,
}

/// What `DONE` says, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Done {
    step: u64,
}

/// A finished run, and what of it would be removed. The run is held as long as this lives.
#[derive(Debug)]
pub struct Prunable {
    folder: RunFolder,
    checkpoints: Checkpoints,
    segments: Vec<PathBuf>,
    /// Steps of the checkpoints.
    steps: Vec<u64>,
    bytes: u64,
}

impl Prunable {
    /// Looks at the run in the folder `run` and takes its lock; nothing is changed yet.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when it has not finished, [`StoreError::FolderHeld`] when a process is at
    /// it, and when the checkpoints that would be kept are missing or damaged.
    pub fn new(run: &Path) -> Result<Self, StoreError> {
        let folder = RunFolder::open(run)?;
        let checkpoints = Checkpoints::of(run);
        let steps = checkpoints.steps()?;
        let done = finished(&folder)?;
        let last = steps.last().copied();
        if last != Some(done) {
            return Err(StoreError::corrupt(
                &folder.file(CHECKPOINTS),
                format!("it lacks the checkpoint of the run's last step, {done}"),
            ));
        }
        let kept = [done, checkpoints.best()?];
        for step in kept {
            verify(&checkpoints.path(step))?;
        }
        let steps: Vec<_> = steps
            .into_iter()
            .filter(|step| !kept.contains(step))
            .collect();
        let segments = segment_files(&folder.file(REPLAY));
        let mut bytes = 0;
        for path in &segments {
            bytes += length(path)?;
        }
        for step in &steps {
            bytes += length(&checkpoints.path(*step))?;
        }
        Ok(Self {
            folder,
            checkpoints,
            segments,
            steps,
            bytes,
        })
    }

    /// Bytes that are freed.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is removed, in words.
    pub fn describe(&self) -> String {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let (segments, steps) = (self.segments.len(), self.steps.len());
        format!(
            "{}: {} bytes ({}) in {segments} replay segment{} and {steps} checkpoint{}",
            self.folder.path().display(),
            self.bytes,
            size(self.bytes),
            plural(segments),
            plural(steps)
        )
    }

    /// Removes it. A process that dies meanwhile leaves a run that can be pruned again.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn prune(&self) -> Result<(), StoreError> {
        let removed = "the replay buffer, and checkpoints other than the last and the best";
        mark(self.folder.path(), removed)?;
        for path in &self.segments {
            durable::remove(path)?;
        }
        let replay = self.folder.file(REPLAY);
        match std::fs::remove_dir(&replay) {
            Ok(()) => {}
            // It was not there, or somebody has put something into it.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty
                ) => {}
            Err(error) => return Err(StoreError::io("remove", &replay)(error)),
        }
        for step in &self.steps {
            self.checkpoints.remove(*step)?;
        }
        sync_folder(self.folder.path())
    }
}

/// Writes into the run folder `run` that `removed` is not there any more, so that it cannot go on.
///
/// # Errors
/// When it cannot be written.
pub fn mark(run: &Path, removed: &str) -> Result<(), StoreError> {
    let removed = removed.to_owned();
    write_json(&run.join(PRUNED), &Pruned { removed })
}

/// The step at which the run in `folder` finished.
fn finished(folder: &RunFolder) -> Result<u64, StoreError> {
    if !folder.is_done() {
        return Err(StoreError::refused(
            format!("the run {} has not finished", folder.path().display()),
            "only finished runs are pruned: the others need what would be removed to go on",
        ));
    }
    let path = folder.file(DONE);
    let done: Done = parse_json(&path, &read_limited(&path, MARK_LIMIT)?)?;
    Ok(done.step)
}

/// Requires that the run in `folder` has what it needs to go on.
///
/// # Errors
/// [`StoreError::Refused`] when it was pruned.
pub fn refuse_pruned(folder: &RunFolder) -> Result<(), StoreError> {
    let path = folder.file(PRUNED);
    if std::fs::symlink_metadata(&path).is_err() {
        return Ok(());
    }
    // Whatever the file says: it is there.
    let read = read_limited(&path, MARK_LIMIT).and_then(|bytes| parse_json(&path, &bytes));
    let removed = read.map_or_else(|_| "its replay buffer".to_owned(), |it: Pruned| it.removed);
    Err(StoreError::refused(
        format!(
            "the run {} was pruned and cannot go on: it lacks {removed}",
            folder.path().display()
        ),
        "what is left of it can be read; for a longer run start a new one",
    ))
}
