//! `.mujoco` in the workspace root: where the library lives, and how to tell that it is whole and
//! where it came from.
//!
//! What holds when setup is killed or runs twice at once: files get their final names by a rename
//! after their hash was checked, the stamp is renamed into place last, and one advisory lock
//! (released by the operating system when its holder dies) admits one writer.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::files::{
    copy_then_rename, link_then_rename, sha256_file, size_and_time, write_then_rename,
};
use super::manifest::Manifest;
use super::source::{self, Library};
use crate::failure::{Failure, Result};

/// Names of temporary folders start with this; leftovers of a killed setup are removed by it.
const TEMPORARY: &str = "tmp-";

/// Remembers a failed attempt to fetch.
const FAILED: &str = "failed.json";

/// The folder `.mujoco`.
#[derive(Debug, Clone)]
pub struct Store {
    base: PathBuf,
}

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Size and modification time as in the stamp: microseconds.
    Stamp,
    /// Hash every file again.
    Hash,
}

/// What is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// Nothing of use: no library, one of another version, or not what was installed.
    Missing,
    /// A library with a hash of `mujoco.toml`.
    Pinned,
    /// Another build of the same version, from where the user said.
    Named(String),
}

/// After a failed attempt to fetch, commands that do without the library do not try again for so
/// long.
const PATIENCE: Duration = Duration::from_hours(1);

/// The file of the library that programs load on Windows; linking needs another.
pub const WINDOWS_DLL: &str = "mujoco.dll";

/// A failed attempt to fetch.
#[derive(Debug, Serialize, Deserialize)]
struct Attempt {
    mujoco_version: String,
    /// Seconds since 1970.
    time: u64,
    reason: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    mujoco_version: String,
    /// The option or variable, and the folder, by which the user named another build than the
    /// pinned ones.
    #[serde(default)]
    named: Option<String>,
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    sha256: String,
    size: u64,
    modified_ns: u64,
}

impl Store {
    /// The store of the workspace at `root`.
    pub fn new(root: &Path) -> Self {
        Self {
            base: root.join(".mujoco"),
        }
    }

    /// Folder of the shared library.
    pub fn lib(&self) -> PathBuf {
        self.base.join("lib")
    }

    /// Folder of the licences of the library and its parts.
    pub fn licences(&self) -> PathBuf {
        self.base.join("licenses")
    }

    /// Waits until no other setup is at work; the lock goes with the returned file.
    ///
    /// # Errors
    /// If `.mujoco` cannot be written.
    pub fn lock(&self) -> Result<File> {
        fs::create_dir_all(&self.base).map_err(|e| Failure::io("create", &self.base, &e))?;
        let path = self.base.join("lock");
        let file = File::create(&path).map_err(|e| Failure::io("write", &path, &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                eprintln!("another setup is running; waiting for it");
                file.lock().map_err(|e| Failure::io("lock", &path, &e))?;
            }
            Err(TryLockError::Error(e)) => return Err(Failure::io("lock", &path, &e)),
        }
        Ok(file)
    }

    /// A temporary folder on the same file system, removed when dropped. Call with the lock held:
    /// it also removes what a killed setup left.
    ///
    /// # Errors
    /// If `.mujoco` cannot be written.
    pub fn temporary(&self) -> Result<TempDir> {
        if let Ok(entries) = fs::read_dir(&self.base) {
            for entry in entries.flatten() {
                if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                    // Best effort: a leftover costs space and nothing else.
                    let _ = fs::remove_dir_all(entry.path());
                }
            }
        }
        tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempdir_in(&self.base)
            .map_err(|e| Failure::io("create a folder in", &self.base, &e))
    }

    /// What is installed.
    pub fn installed(&self, manifest: &Manifest, check: Check) -> Installed {
        self.stamp()
            .and_then(|stamp| self.described(manifest, &stamp, check))
            .unwrap_or(Installed::Missing)
    }

    /// What the stamp describes, if the files are still those.
    fn described(&self, manifest: &Manifest, stamp: &Stamp, check: Check) -> Option<Installed> {
        let version = &manifest.mujoco.version;
        let (file, link) = library_names()
            .into_iter()
            .map(|(file, link)| (format!("lib/{}", file(version)), format!("lib/{link}")))
            .find(|(file, _)| stamp.files.contains_key(file))?;
        let library = stamp.files.get(&file)?;
        let whole = stamp.mujoco_version == *version
            && self.matches(&link, library, check)
            && stamp
                .files
                .iter()
                .filter(|(file, _)| file.starts_with("lib/"))
                .all(|(file, entry)| self.matches(file, entry, check));
        if !whole {
            return None;
        }
        if manifest.pins(&library.sha256) {
            return Some(Installed::Pinned);
        }
        // Another build that nobody has asked for is none.
        stamp.named.clone().map(Installed::Named)
    }

    /// Installs a library under its versioned name, and points the name for the linker to it.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn install(&self, library: &Library) -> Result<()> {
        let lib = self.lib();
        let create =
            |dir: &Path| fs::create_dir_all(dir).map_err(|e| Failure::io("create", dir, &e));
        create(&lib)?;
        copy_then_rename(&library.path, &lib.join(&library.name))?;
        if library.name != library.link_name {
            link_then_rename(&library.name, &lib.join(library.link_name))?;
        }
        if let Some(dll) = source::find_dll(&library.path) {
            copy_then_rename(&dll, &lib.join(WINDOWS_DLL))?;
        }
        create(&self.licences())?;
        for licence in source::find_licences(&library.path) {
            let name = licence.file_name().unwrap_or_default();
            copy_then_rename(&licence, &self.licences().join(name))?;
        }
        Ok(())
    }

    /// Whether a library with a pinned hash is in place, whatever the stamp says.
    pub fn holds_pinned(&self, manifest: &Manifest) -> bool {
        library_names().iter().any(|(file, link)| {
            [file(&manifest.mujoco.version).as_str(), link]
                .iter()
                .all(|name| sha256_file(&self.lib().join(name)).is_ok_and(|h| manifest.pins(&h)))
        })
    }

    /// Records what is installed now. Call after the files are in place: a setup that dies before
    /// this is repeated.
    ///
    /// # Errors
    /// If a file cannot be read or the stamp cannot be written.
    pub fn write_stamp(&self, manifest: &Manifest, named: Option<String>) -> Result<()> {
        let libraries = library_names().map(|(file, _)| file(&manifest.mujoco.version));
        let mut files = BTreeMap::new();
        for name in libraries.into_iter().chain([WINDOWS_DLL.to_owned()]) {
            let name = format!("lib/{name}");
            if self.base.join(&name).is_file() {
                let entry = self.entry(&name)?;
                files.insert(name, entry);
            }
        }
        let stamp = Stamp {
            mujoco_version: manifest.mujoco.version.clone(),
            named,
            files,
        };
        self.write_json("stamp.json", &stamp)
    }

    /// Remembers that the library could not be fetched. Best effort: without it the next command
    /// tries again.
    pub fn remember_failure(&self, manifest: &Manifest, reason: &str) {
        let attempt = Attempt {
            mujoco_version: manifest.mujoco.version.clone(),
            time: now(),
            reason: reason.to_owned(),
        };
        let _ = self.write_json(FAILED, &attempt);
    }

    /// Forgets it.
    pub fn forget_failure(&self) {
        // It may not be there; one that stays costs nothing while the library is in place.
        let _ = fs::remove_file(self.base.join(FAILED));
    }

    /// Why an attempt to fetch has failed lately, and how many minutes ago.
    pub fn recent_failure(&self, manifest: &Manifest) -> Option<(u64, String)> {
        let text = fs::read_to_string(self.base.join(FAILED)).ok()?;
        let attempt: Attempt = serde_json::from_str(&text).ok()?;
        // A clock that was put back says nothing.
        let age = now().checked_sub(attempt.time)?;
        let counts = attempt.mujoco_version == manifest.mujoco.version && age < PATIENCE.as_secs();
        counts.then_some((age / 60, attempt.reason))
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.base.join(name);
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| Failure::other(format!("cannot write {}: {e}", path.display())))?;
        write_then_rename(text.as_bytes(), &path)
    }

    fn stamp(&self) -> Option<Stamp> {
        let text = fs::read_to_string(self.base.join("stamp.json")).ok()?;
        serde_json::from_str(&text).ok() // a damaged stamp only means that setup runs again
    }

    fn matches(&self, file: &str, entry: &Entry, check: Check) -> bool {
        match check {
            Check::Stamp => size_and_time(&self.base.join(file))
                .is_ok_and(|now| now == (entry.size, entry.modified_ns)),
            Check::Hash => {
                sha256_file(&self.base.join(file)).is_ok_and(|hash| hash == entry.sha256)
            }
        }
    }

    fn entry(&self, file: &str) -> Result<Entry> {
        let path = self.base.join(file);
        let (size, modified_ns) =
            size_and_time(&path).map_err(|e| Failure::io("read", &path, &e))?;
        Ok(Entry {
            sha256: sha256_file(&path)?,
            size,
            modified_ns,
        })
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}

type FileName = fn(&str) -> String;

/// File name as a function of the version, and link name, on every system MuJoCo is released for.
/// Windows has two files: the import library is the one that linking needs.
pub fn library_names() -> [(FileName, &'static str); 3] {
    [
        (|v| format!("libmujoco.so.{v}"), "libmujoco.so"),
        (|v| format!("libmujoco.{v}.dylib"), "libmujoco.dylib"),
        (|_| "mujoco.lib".to_owned(), "mujoco.lib"),
    ]
}
