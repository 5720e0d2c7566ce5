//! Checkpoints: a folder `checkpoints/<step>/` each, and with the segments of the replay buffer
//! everything that a run needs to go on as if it had never stopped.
//!
//! ```text
//! agent.safetensors          networks, targets, optimiser moments, temperature, statistics, counters
//! environments.safetensors   training.* and evaluation.*: every environment's complete state
//! checkpoint.json            version, whose and when, loop and logs, the replay's segments
//! SHA256SUMS                 hashes of these three (`sha256sum -c` reads it)
//! ```
//!
//! A checkpoint is written into a folder with a temporary name, every file is brought to the disk,
//! and the folder is renamed last. Kept are the last two and the best by mean evaluation return,
//! which `checkpoints/best.json` names.
//!
//! A reader trusts nothing: sizes are limited before anything is read, names of files are fixed,
//! links are not followed, and what does not have the recorded hash is not used.

mod description;
mod exact;
mod read;
mod statistics;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::arrays::{Arrays, encode};
use crate::durable::{
    create_folder, json, read_limited, remove, rename, sha256_hex, sync_folder, write_json,
    write_synced,
};
use crate::names::CHECKPOINTS;
use crate::segments::ReplayReference;

pub use description::{
    Best, CheckpointFile, Description, Due, FORMAT_VERSION, MetricValue, Progress,
    SimulatorWarnings,
};
pub use read::{Limits, Loaded, load, load_agent, verify};
pub use statistics::{EPISODES, EndedEpisodes, InfoMeans};

const AGENT_FILE: &str = "agent.safetensors";
const ENVIRONMENTS_FILE: &str = "environments.safetensors";
const DESCRIPTION_FILE: &str = "checkpoint.json";
const SUMS_FILE: &str = "SHA256SUMS";
const BEST_FILE: &str = "best.json";
const KEPT: usize = 2;

/// What a checkpoint holds besides its version.
#[derive(Debug)]
pub struct Contents<'a> {
    /// Whose it is, and of which moment.
    pub description: Description,
    /// Loop and logs.
    pub progress: Progress,
    /// The replay buffer, which is on the disk already.
    pub replay: ReplayReference,
    /// What was learned.
    pub agent: &'a Arrays,
    /// The environments.
    pub environments: &'a Arrays,
}

/// What `best.json` says.
#[derive(Debug, Serialize, Deserialize)]
struct BestFile {
    step: u64,
    mean_return: f64,
}

/// Which checkpoint of a run is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one with the highest step.
    Last,
    /// The one with the best evaluation.
    Best,
    /// The one of this step.
    Step(u64),
}

/// A folder of ours that has a temporary name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Temporary {
    /// `.<step>.tmp`: being written or being removed.
    Unfinished,
    /// `.<step>.old`: a checkpoint that another of its step is about to replace.
    Replaced(u64),
}

impl Temporary {
    /// What `name` stands for, if it is exactly one that [`Checkpoints`] gives.
    fn of(name: &OsStr) -> Option<Self> {
        let (step, kind) = name.to_str()?.strip_prefix('.')?.split_once('.')?;
        let number: u64 = step.parse().ok()?;
        match kind {
            _ if step != number.to_string() => None,
            "tmp" => Some(Self::Unfinished),
            "old" => Some(Self::Replaced(number)),
            _ => None,
        }
    }
}

/// The checkpoints of one run folder.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// The checkpoints below the run folder `run`.
    pub fn of(run: &Path) -> Self {
        Self {
            folder: run.join(CHECKPOINTS),
        }
    }

    /// Writes a checkpoint, durable and whole, and removes those that are no longer kept. If its
    /// step is that of the best evaluation it becomes the best.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, contents: Contents<'_>) -> Result<PathBuf, StoreError> {
        let (step, best) = (contents.description.step, contents.progress.best);
        let path = self.path(step);
        let temporary = self.folder.join(format!(".{step}.tmp"));
        remove(&temporary)?; // Left by a process that was killed.
        create_folder(&temporary)?;
        let mut sums = Vec::new();
        for (name, bytes) in self.files(contents)? {
            write_synced(&temporary.join(name), &bytes)?;
            sums.extend(format!("{}  {name}\n", sha256_hex(&bytes)).into_bytes());
        }
        write_synced(&temporary.join(SUMS_FILE), &sums)?;
        sync_folder(&temporary)?;
        let old = self.folder.join(format!(".{step}.old"));
        if path.exists() {
            // A run that stopped twice at one step; see `recover`.
            remove(&old)?;
            rename(&path, &old)?;
        }
        rename(&temporary, &path)?;
        sync_folder(&self.folder)?;
        sync_folder(crate::durable::parent(&self.folder))?;
        remove(&old)?;
        if let Some(best) = best
            && best.step == step
        {
            self.set_best(best)?;
        }
        self.prune(best)?;
        Ok(path)
    }

    /// The files of a checkpoint but for the hashes.
    fn files(&self, contents: Contents<'_>) -> Result<[(&'static str, Vec<u8>); 3], StoreError> {
        let refused =
            |message| StoreError::corrupt(&self.folder, format!("cannot encode: {message}"));
        let file = CheckpointFile {
            format_version: FORMAT_VERSION,
            checkpoint: contents.description,
            progress: contents.progress,
            replay: contents.replay,
        };
        Ok([
            (AGENT_FILE, encode(contents.agent).map_err(refused)?),
            (
                ENVIRONMENTS_FILE,
                encode(contents.environments).map_err(refused)?,
            ),
            (DESCRIPTION_FILE, json(&self.path(0), &file)?),
        ])
    }

    /// Puts in order what a process that was killed has left: a checkpoint that it was about to
    /// replace is there again, and folders that it had not finished or not removed are gone.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn recover(&self) -> Result<(), StoreError> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Ok(()); // There is none before the first checkpoint.
        };
        for entry in entries.flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            match Temporary::of(&entry.file_name()) {
                Some(Temporary::Replaced(step)) if is_folder && !self.path(step).exists() => {
                    rename(&entry.path(), &self.path(step))?;
                }
                Some(_) if is_folder => remove(&entry.path())?,
                // Somebody else's, whatever its name.
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts a checkpoint that cannot be used out of the way, beside those that were before.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn set_aside(&self, step: u64) -> Result<PathBuf, StoreError> {
        let names = std::iter::once(format!("damaged-{step}"))
            .chain((2_u64..).map(|count| format!("damaged-{step}-{count}")));
        let aside = names
            .map(|name| self.folder.join(name))
            .find(|path| fs::symlink_metadata(path).is_err())
            .unwrap_or_else(|| self.folder.join("damaged"));
        rename(&self.path(step), &aside)?;
        Ok(aside)
    }

    /// Names the best evaluation, or that there is none yet.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_best(&self, best: Best) -> Result<(), StoreError> {
        let Best { step, mean_return } = best;
        let file = BestFile { step, mean_return };
        write_json(&self.folder.join(BEST_FILE), &file)
    }

    /// Step of the best evaluation.
    ///
    /// # Errors
    /// When `best.json` is missing or damaged.
    pub fn best(&self) -> Result<u64, StoreError> {
        let path = self.folder.join(BEST_FILE);
        let bytes = read_limited(&path, 4096)?;
        let file: BestFile = crate::durable::parse_json(&path, &bytes)?;
        Ok(file.step)
    }

    /// All steps that have a checkpoint, ascending; none where there is no folder yet.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn steps(&self) -> Result<Vec<u64>, StoreError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(StoreError::io("read", &self.folder))?,
        };
        let mut steps: Vec<u64> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let step: u64 = name.to_str()?.parse().ok()?;
                let is_ours = *name == *step.to_string() && entry.file_type().ok()?.is_dir();
                is_ours.then_some(step)
            })
            .collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Folder of the checkpoint of this step, there or not.
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(step.to_string())
    }

    /// Folder of the checkpoint asked for.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, which: Which) -> Result<PathBuf, StoreError> {
        let steps = self.steps()?;
        let step = match which {
            Which::Last => *steps.last().ok_or_else(|| StoreError::Refused {
                message: format!("{} holds no checkpoint yet", self.folder.display()),
                hint: None,
            })?,
            Which::Best => self.best()?,
            Which::Step(step) => step,
        };
        if steps.contains(&step) {
            return Ok(self.path(step));
        }
        let there: Vec<_> = steps.iter().map(u64::to_string).collect();
        Err(StoreError::refused(
            format!(
                "{} holds no checkpoint of step {step}",
                self.folder.display()
            ),
            format!("there are: best, {}", there.join(", ")),
        ))
    }

    /// Removes all but the last checkpoint, the last two that were due, and the best. (So the one
    /// that a run wrote when it was asked to stop makes no difference to what is there later.)
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn prune(&self, best: Option<Best>) -> Result<(), StoreError> {
        let steps = self.steps()?;
        let was_due = |step: &u64| {
            let file = read::description(&self.path(*step));
            file.map_or(true, |file| !file.progress.stopped)
        };
        let due: Vec<u64> = steps.iter().copied().filter(was_due).collect();
        let kept = |step: &u64| {
            due.iter().rev().take(KEPT).any(|due| due == step)
                || steps.last() == Some(step)
                || best.is_some_and(|best| best.step == *step)
        };
        for step in steps.iter().filter(|step| !kept(step)) {
            self.remove(*step)?;
        }
        Ok(())
    }

    /// Removes the checkpoint of this step.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn remove(&self, step: u64) -> Result<(), StoreError> {
        // Not in place: half a checkpoint must not carry a step's name.
        let gone = self.folder.join(format!(".{step}.tmp"));
        remove(&gone)?;
        rename(&self.path(step), &gone)?;
        remove(&gone)
    }

    /// Numbers of the transitions that each checkpoint needs; nothing where one of them cannot be
    /// read, so that nobody knows.
    pub fn needed_transitions(&self) -> Option<Vec<Range<u64>>> {
        let needed = self.steps().ok()?.into_iter().map(|step| {
            let replay = read::description(&self.path(step)).ok()?.replay;
            Some(replay.stored.checked_sub(replay.held)?..replay.stored)
        });
        needed.collect()
    }
}
