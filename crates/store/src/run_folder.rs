//! The folder that a run leaves.
//!
//! ```text
//! config.toml        resolved: every key, so that it alone reproduces the run
//! manifest.json      version and commit of the program, backend, host, command line; resumptions
//! model.mjb, .json   the model of a task with an `xml_file` of one's own
//! metrics.jsonl      one object per line
//! eval.csv           step,episodes,mean_return,std_return,return_0,...
//! checkpoints/       see `checkpoint`
//! replay/            see `segments`
//! LOCK               locked while a process writes to the folder
//! DONE               exists when the run reached its last step
//! PRUNED             exists when `rescore prune` removed what only resuming needs
//! crash.json         why the run stopped, where a number was not finite
//! ```
//!
//! Names and files other than `manifest.json` and `metrics.jsonl` hold no clock: the same command
//! gives the same bytes, whether it was interrupted or not.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::{
    open_regular, parse_json, read_limited, refuse_link, refuse_special, sha256_hex, write_json,
    write_whole,
};
use crate::lock::Lock;
pub use crate::lock::held_by;
use crate::names::{CHECKPOINTS, CONFIG, DONE, LOCK, MANIFEST, REPLAY};
use crate::{StoreError, machine};

/// A configuration is far shorter.
pub const CONFIG_LIMIT: u64 = 1 << 20;
/// Left by a process that was killed before it had begun.
const UNFINISHED_CONFIG: &str = ".config.toml.tmp";
/// Resumptions included, a manifest is far shorter.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// What the folder of a new run is made of.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Beginning of the name of a fresh folder: algorithm, task and seed.
    pub name: String,
    /// The text of `config.toml`.
    pub config: String,
    /// For the manifest.
    pub start: Start,
}

/// A run folder that this process may write to.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: Lock,
}

impl RunFolder {
    /// Creates the folder `out` with its parents, or a fresh one below `runs/`, and writes
    /// `config.toml` and `manifest.json`.
    ///
    /// # Errors
    /// When `out` is not empty, held by another process, or cannot be written.
    pub fn create(out: Option<&Path>, new: &NewRun) -> Result<Self, StoreError> {
        let path = match out {
            Some(path) => {
                fs::create_dir_all(path).map_err(StoreError::io("create", path))?;
                path.to_owned()
            }
            None => create_named(Path::new("runs"), new)?,
        };
        Self::enter_existing(path, new, false).map(|(folder, _)| folder)
    }

    /// The folder of a run that is to go on, or to begin if the folder `path` is empty or missing;
    /// and whether the run had begun. The lock is taken before that is looked at, so that of several
    /// processes one begins the run.
    ///
    /// # Errors
    /// When the folder holds something else than a run, is held by another process, or cannot be
    /// written.
    pub fn enter(path: &Path, new: &NewRun) -> Result<(Self, bool), StoreError> {
        fs::create_dir_all(path).map_err(StoreError::io("create", path))?;
        Self::enter_existing(path.to_owned(), new, true)
    }

    fn enter_existing(
        path: PathBuf,
        new: &NewRun,
        goes_on: bool,
    ) -> Result<(Self, bool), StoreError> {
        let is_run = || goes_on && fs::symlink_metadata(path.join(CONFIG)).is_ok();
        // A folder that has files but no lock is somebody's data: leave no file behind in it.
        // The lock itself does not count: another process may create it at this very moment.
        // In this order: whoever has written a file had created the lock before.
        if !is_run() && has_files(&path)? && !path.join(LOCK).exists() {
            return Err(StoreError::FolderNotEmpty(path));
        }
        let lock = Lock::take(&path)?;
        if is_run() {
            refuse_links(&path)?;
            return Ok((Self { path, _lock: lock }, true));
        }
        if has_files(&path)? {
            return Err(StoreError::FolderNotEmpty(path));
        }
        let folder = Self { path, _lock: lock };
        folder.write_config(&new.config)?;
        write_json(&folder.file(MANIFEST), &Manifest::of(&new.start))?;
        Ok((folder, false))
    }

    /// Opens the folder of a run to go on with it.
    ///
    /// # Errors
    /// When there is no run or another process is at it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // Looked at before the lock, which would create a file.
        let config = path.join(CONFIG);
        open_regular(&config)?;
        refuse_links(path)?;
        let lock = Lock::take(path)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry of the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes `config.toml`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_config(&self, config: &str) -> Result<(), StoreError> {
        write_whole(&self.file(CONFIG), config.as_bytes())
    }

    /// Notes in `manifest.json` that the run goes on from `step` with these changes of its
    /// configuration (`key`, `from`, `to`). A manifest that is missing or cannot be understood is begun anew: no run
    /// depends on it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_resumption(
        &self,
        start: &Start,
        step: u64,
        changed: Vec<serde_json::Value>,
    ) -> Result<(), StoreError> {
        let path = self.file(MANIFEST);
        let read = read_limited(&path, MANIFEST_LIMIT).and_then(|bytes| parse_json(&path, &bytes));
        let mut manifest: Manifest = read.unwrap_or_else(|error| {
            tracing::warn!("{error}; it is begun anew");
            Manifest::of(start)
        });
        manifest.resumed.push(Resumption {
            step,
            changed,
            start: start.clone(),
        });
        write_json(&path, &manifest)
    }

    /// Marks the run as complete.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn mark_done(&self, step: u64, update: u64) -> Result<(), StoreError> {
        write_json(&self.file(DONE), &Done { step, update })
    }

    /// Takes the mark away.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn mark_not_done(&self) -> Result<(), StoreError> {
        self.forget(DONE)
    }

    /// Removes a file of the run, if it is there.
    ///
    /// # Errors
    /// When it is not a regular file or cannot be removed.
    pub fn forget(&self, name: &str) -> Result<(), StoreError> {
        let path = self.file(name);
        refuse_special(&path)?;
        crate::durable::remove(&path)
    }

    /// Whether the mark is there. What it says is for people: the checkpoints know better.
    pub fn is_done(&self) -> bool {
        fs::symlink_metadata(self.file(DONE)).is_ok_and(|file| file.is_file())
    }
}

/// Whether something is in the folder other than the lock and what a process leaves that is killed
/// before the run begins.
fn has_files(path: &Path) -> Result<bool, StoreError> {
    let mut entries = fs::read_dir(path).map_err(StoreError::io("read", path))?;
    let ours = [LOCK, UNFINISHED_CONFIG];
    Ok(entries.any(|entry| entry.is_ok_and(|e| ours.iter().all(|name| e.file_name() != **name))))
}

/// Requires that the folders of the run are its own.
fn refuse_links(run: &Path) -> Result<(), StoreError> {
    let mut folders = [CHECKPOINTS, REPLAY].iter();
    folders.try_for_each(|name| refuse_link(&run.join(name)))
}

/// Creates `<name>-<hash of the configuration>` below `parent`, or with `-2`, `-3`, ... when taken.
/// Creating a folder succeeds for one process only, so two can never get the same one.
fn create_named(parent: &Path, new: &NewRun) -> Result<PathBuf, StoreError> {
    fs::create_dir_all(parent).map_err(StoreError::io("create", parent))?;
    let hash = sha256_hex(new.config.as_bytes());
    let name = format!("{}-{}", new.name, &hash[..8]);
    let mut attempt = 1_u64;
    loop {
        let path = match attempt {
            1 => parent.join(&name),
            n => parent.join(format!("{name}-{n}")),
        };
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => attempt += 1,
            Err(source) => return Err(StoreError::io("create", &path)(source)),
        }
    }
}

/// What `DONE` says.
#[derive(Debug, Serialize)]
struct Done {
    step: u64,
    update: u64,
}

/// Where and how a run was made. Unlike `config.toml` this differs from run to run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    #[serde(flatten)]
    start: Start,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resumed: Vec<Resumption>,
}

/// The version of the program that began the run in the folder `run`; nothing where its manifest is
/// missing or cannot be understood, on which no run depends.
pub fn begun_by_version(run: &Path) -> Option<String> {
    let path = run.join(MANIFEST);
    let bytes = read_limited(&path, MANIFEST_LIMIT).ok()?;
    let manifest: Manifest = parse_json(&path, &bytes).ok()?;
    Some(manifest.start.version)
}

/// One start of a process that trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    version: String,
    /// Of the program, with `+` where its sources differed from it; nothing where the program does
    /// not know.
    pub commit: Option<String>,
    backend: String,
    device: String,
    threads: usize,
    host: String,
    command: Vec<String>,
    started_unix_s: u64,
}

/// A start that went on from a step.
#[derive(Debug, Serialize, Deserialize)]
struct Resumption {
    step: u64,
    /// Keys of `config.toml` that have another value from here on: `key`, `from`, `to`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changed: Vec<serde_json::Value>,
    #[serde(flatten)]
    start: Start,
}

impl Manifest {
    fn of(start: &Start) -> Self {
        Self {
            start: start.clone(),
            resumed: Vec::new(),
        }
    }
}

impl Start {
    /// This process, which computes with `threads` threads on the device called `device` of
    /// `backend`.
    pub fn now(backend: &str, device: String, threads: usize) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: None,
            backend: backend.to_owned(),
            device,
            threads,
            host: machine::host_name(),
            command: std::env::args().collect(),
            started_unix_s: now.map_or(0, |elapsed| elapsed.as_secs()),
        }
    }
}
