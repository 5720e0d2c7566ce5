//! The folder that a run leaves.
//!
//! ```text
//! config.toml        resolved: every key, so that it alone reproduces the run
//! manifest.json      version and commit of the program, backend, host, command line; resumptions
//! model.mjb, .json   the model of a task with an `xml_file` of one's own; see `model_copy`
//! metrics.jsonl      one object per line
//! eval.csv           step,episodes,mean_return,std_return,return_0,...
//! checkpoints/       see `checkpoint`
//! replay/            see `replay::Segments`
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

use crate::config::{Change, Config};
use crate::durable::{
    open_regular, parse_json, read_limited, refuse_link, refuse_special, sha256_hex, write_json,
    write_whole,
};
use crate::lock::{LOCK, Lock};
use crate::{RunError, backend::device_name, device};

/// Name of the resolved configuration.
pub const CONFIG_FILE: &str = "config.toml";
/// A configuration is far shorter.
pub const CONFIG_LIMIT: u64 = 1 << 20;
/// Left by a process that was killed before it had begun.
const UNFINISHED_CONFIG: &str = ".config.toml.tmp";
const MANIFEST_FILE: &str = "manifest.json";
const DONE_FILE: &str = "DONE";
/// Resumptions included, a manifest is far shorter.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// A run folder that this process may write to.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: Lock,
}

impl RunFolder {
    /// Creates the folder `out` with its parents, or a fresh one below `runs/`, and writes
    /// `config.toml`, `manifest.json` and a copy of a model of the user's own.
    ///
    /// # Errors
    /// When `out` is not empty, held by another process, or cannot be written.
    pub fn create(out: Option<&Path>, config: &Config) -> Result<Self, RunError> {
        let path = match out {
            Some(path) => {
                fs::create_dir_all(path).map_err(RunError::io("create", path))?;
                path.to_owned()
            }
            None => create_named(Path::new("runs"), config)?,
        };
        Self::enter_existing(path, config, false).map(|(folder, _)| folder)
    }

    /// The folder of a run that is to go on, or to begin if the folder `path` is empty or missing;
    /// and whether the run had begun. The lock is taken before that is looked at, so that of several
    /// processes one begins the run.
    ///
    /// # Errors
    /// When the folder holds something else than a run, is held by another process, or cannot be
    /// written.
    pub fn enter(path: &Path, config: &Config) -> Result<(Self, bool), RunError> {
        fs::create_dir_all(path).map_err(RunError::io("create", path))?;
        Self::enter_existing(path.to_owned(), config, true)
    }

    fn enter_existing(
        path: PathBuf,
        config: &Config,
        goes_on: bool,
    ) -> Result<(Self, bool), RunError> {
        let is_run = || goes_on && fs::symlink_metadata(path.join(CONFIG_FILE)).is_ok();
        // A folder that has files but no lock is somebody's data: leave no file behind in it.
        // The lock itself does not count: another process may create it at this very moment.
        // In this order: whoever has written a file had created the lock before.
        if !is_run() && has_files(&path)? && !path.join(LOCK).exists() {
            return Err(RunError::FolderNotEmpty(path));
        }
        let lock = Lock::take(&path)?;
        if is_run() {
            refuse_links(&path)?;
            return Ok((Self { path, _lock: lock }, true));
        }
        if has_files(&path)? {
            return Err(RunError::FolderNotEmpty(path));
        }
        let folder = Self { path, _lock: lock };
        folder.write_config(config)?;
        write_json(&folder.file(MANIFEST_FILE), &Manifest::of(config))?;
        #[cfg(feature = "mujoco")]
        crate::model_copy::save(&folder.path, config)?;
        Ok((folder, false))
    }

    /// Opens the folder of a run to go on with it.
    ///
    /// # Errors
    /// When there is no run or another process is at it.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        // Looked at before the lock, which would create a file.
        let config = path.join(CONFIG_FILE);
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
    pub fn write_config(&self, config: &Config) -> Result<(), RunError> {
        write_whole(&self.file(CONFIG_FILE), config.to_toml().as_bytes())
    }

    /// Notes in `manifest.json` that the run goes on from `step` with these changes of its
    /// configuration. A manifest that is missing or cannot be understood is begun anew: no run
    /// depends on it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_resumption(
        &self,
        config: &Config,
        step: u64,
        changed: &[Change],
    ) -> Result<(), RunError> {
        let path = self.file(MANIFEST_FILE);
        let read = read_limited(&path, MANIFEST_LIMIT).and_then(|bytes| parse_json(&path, &bytes));
        let mut manifest: Manifest = read.unwrap_or_else(|error| {
            tracing::warn!("{error}; it is begun anew");
            Manifest::of(config)
        });
        let start = Start::now(config);
        let to_json = |change: &Change| serde_json::to_value(change).ok();
        manifest.resumed.push(Resumption {
            step,
            changed: changed.iter().filter_map(to_json).collect(),
            start,
        });
        write_json(&path, &manifest)
    }

    /// Marks the run as complete.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn mark_done(&self, step: u64, update: u64) -> Result<(), RunError> {
        write_json(&self.file(DONE_FILE), &Done { step, update })
    }

    /// Takes the mark away.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn mark_not_done(&self) -> Result<(), RunError> {
        self.forget(DONE_FILE)
    }

    /// Removes a file of the run, if it is there.
    ///
    /// # Errors
    /// When it is not a regular file or cannot be removed.
    pub fn forget(&self, name: &str) -> Result<(), RunError> {
        let path = self.file(name);
        refuse_special(&path)?;
        crate::durable::remove(&path)
    }

    /// Whether the mark is there. What it says is for people: the checkpoints know better.
    pub fn is_done(&self) -> bool {
        fs::symlink_metadata(self.file(DONE_FILE)).is_ok_and(|file| file.is_file())
    }
}

/// Whether something is in the folder other than the lock and what a process leaves that is killed
/// before the run begins.
fn has_files(path: &Path) -> Result<bool, RunError> {
    let mut entries = fs::read_dir(path).map_err(RunError::io("read", path))?;
    let ours = [LOCK, UNFINISHED_CONFIG];
    Ok(entries.any(|entry| entry.is_ok_and(|e| ours.iter().all(|name| e.file_name() != **name))))
}

/// Requires that the folders of the run are its own.
fn refuse_links(run: &Path) -> Result<(), RunError> {
    let mut folders = ["checkpoints", "replay"].iter();
    folders.try_for_each(|name| refuse_link(&run.join(name)))
}

/// Creates `<algo>-<env>-s<seed>-<hash>` below `parent`, or with `-2`, `-3`, ... when taken.
/// Creating a folder succeeds for one process only, so two can never get the same one.
fn create_named(parent: &Path, config: &Config) -> Result<PathBuf, RunError> {
    fs::create_dir_all(parent).map_err(RunError::io("create", parent))?;
    let hash = sha256_hex(config.to_toml().as_bytes());
    let name = format!(
        "{}-{}-s{}-{}",
        config.algo.name(),
        config.env,
        config.seed,
        &hash[..8]
    );
    let mut attempt = 1_u64;
    loop {
        let path = match attempt {
            1 => parent.join(&name),
            n => parent.join(format!("{name}-{n}")),
        };
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => attempt += 1,
            Err(source) => return Err(RunError::io("create", &path)(source)),
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

/// One start of a process that trained.
#[derive(Debug, Serialize, Deserialize)]
struct Start {
    version: String,
    /// Of the program; see [`device::program_commit`].
    commit: Option<String>,
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
    fn of(config: &Config) -> Self {
        Self {
            start: Start::now(config),
            resumed: Vec::new(),
        }
    }
}

impl Start {
    fn now(config: &Config) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: device::program_commit().map(str::to_owned),
            backend: config.backend.clone(),
            device: device_name(config).unwrap_or_else(|_| device::cpu_name()),
            threads: rayon::current_num_threads(),
            host: device::host_name(),
            command: std::env::args().collect(),
            started_unix_s: now.map_or(0, |elapsed| elapsed.as_secs()),
        }
    }
}
