//! The folder that a run leaves: its creation, its lock, and files written whole or not at all.
//!
//! ```text
//! config.toml        resolved: every key, so that it alone reproduces the run
//! manifest.json      version, commit, backend, device, host, command line, start
//! metrics.jsonl      one object per line
//! eval.csv           step,episodes,mean_return,std_return,return_0,...
//! checkpoints/       see `checkpoint`
//! LOCK               locked while a process writes to the folder
//! DONE               exists when the run reached its last step
//! ```
//!
//! Names and files other than `manifest.json` and `metrics.jsonl` hold no clock: the same command
//! gives the same bytes. Resuming an interrupted run is not implemented; it will continue in the
//! same folder under the same lock, from the last checkpoint (whose state already holds every
//! learned number and counter) and from segments of the replay buffer stored beside it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::config::Config;
use crate::{RunError, device};

/// A run folder that this process may write to.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Holding the file holds the lock; the operating system frees it when the process ends.
    _lock: File,
}

impl RunFolder {
    /// Creates the folder `out` with its parents, or a fresh one below `runs/`, and writes
    /// `config.toml` and `manifest.json`.
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
        let lock = lock(&path)?;
        let mut entries = fs::read_dir(&path).map_err(RunError::io("read", &path))?;
        if entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != LOCK)) {
            return Err(RunError::FolderNotEmpty(path));
        }
        let folder = Self { path, _lock: lock };
        write_whole(&folder.file("config.toml"), config.to_toml().as_bytes())?;
        write_json(&folder.file("manifest.json"), &Manifest::of(config))?;
        Ok(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry of the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Marks the run as complete.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn mark_done(&self, step: u64, update: u64) -> Result<(), RunError> {
        let done = serde_json::json!({ "step": step, "update": update });
        write_json(&self.file("DONE"), &done)
    }
}

const LOCK: &str = "LOCK";

/// Takes the lock of the run folder `path`, in which nothing but the lock may exist yet.
fn lock(path: &Path) -> Result<File, RunError> {
    let file = path.join(LOCK);
    // A folder that has files but no lock is somebody's data: leave no file behind in it.
    // The lock itself does not count: another process may create it at this very moment.
    let has_files = fs::read_dir(path)
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name() != LOCK));
    if !file.exists() && has_files {
        return Err(RunError::FolderNotEmpty(path.to_owned()));
    }
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file)
        .map_err(RunError::io("create", &file))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(RunError::FolderHeld(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(RunError::io("lock", &file)(source)),
    }
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

/// The SHA-256 of `bytes` in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Writes a file under a temporary name, brings it to the disk and renames it last: after a kill
/// or a power loss the file is there as a whole or not at all.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    write_synced(&temporary, bytes)?;
    fs::rename(&temporary, path).map_err(RunError::io("write", path))?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => sync_folder(Path::new(".")),
    }
}

/// Writes a file and waits until it is on the disk.
///
/// # Errors
/// When it cannot be written.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(RunError::io("write", path))
}

/// Waits until the entries of a folder are on the disk.
///
/// # Errors
/// When the folder cannot be opened.
pub fn sync_folder(path: &Path) -> Result<(), RunError> {
    // Windows cannot open folders as files, and keeps renames in order by itself.
    if cfg!(unix) {
        File::open(path)
            .and_then(|folder| folder.sync_all())
            .map_err(RunError::io("synchronise", path))?;
    }
    Ok(())
}

/// Writes `value` as one line of JSON, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| RunError::Io {
        action: "encode",
        path: path.to_owned(),
        source: error.into(),
    })?;
    text.push('\n');
    write_whole(path, text.as_bytes())
}

/// Where and how a run was made. Unlike `config.toml` this differs from run to run.
#[derive(Debug, Serialize)]
struct Manifest {
    version: &'static str,
    commit: Option<String>,
    backend: String,
    device: String,
    threads: usize,
    host: String,
    command: Vec<String>,
    started_unix_s: u64,
}

impl Manifest {
    fn of(config: &Config) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: device::source_commit(),
            backend: config.backend.clone(),
            device: device::cpu_name(),
            threads: rayon::current_num_threads(),
            host: device::host_name(),
            command: std::env::args().collect(),
            started_unix_s: now.map_or(0, |elapsed| elapsed.as_secs()),
        }
    }
}
