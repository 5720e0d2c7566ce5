//! `.mujoco` in the workspace root: where library and models live, and how to tell that they are
//! whole.
//!
//! What holds when setup is killed or runs twice at once: files get their final names by a rename
//! after their hash was checked, the stamp is renamed into place last, and one advisory lock
//! (released by the operating system when its holder dies) admits one writer.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::files::{
    copy_then_rename, link_then_rename, sha256_file, size_and_time, write_then_rename,
};
use super::manifest::{Manifest, Platform};
use crate::failure::{Failure, Result};

/// Names of temporary folders start with this; leftovers of a killed setup are removed by it.
const TEMPORARY: &str = "tmp-";

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

/// What is wrong, if anything. Both false: nothing to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// The library is absent, of another version, or not what was installed.
    pub library: bool,
    /// So are these models.
    pub models: Vec<String>,
}

impl Missing {
    /// Whether library and models are in place.
    pub fn is_nothing(&self) -> bool {
        !self.library && self.models.is_empty()
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    mujoco_version: String,
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

    /// Folder of the task models.
    pub fn assets(&self) -> PathBuf {
        self.base.join("assets")
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

    /// What has to be obtained. A library that is not the pinned build counts as present while it
    /// still is what was installed (the stamp says so).
    pub fn missing(&self, manifest: &Manifest, check: Check) -> Missing {
        let stamp = self.stamp();
        let same_version = stamp
            .as_ref()
            .is_some_and(|s| s.mujoco_version == manifest.mujoco.version);
        let intact = |file: &str, pinned: Option<&str>| {
            stamp.as_ref().is_some_and(|s| {
                s.files.get(file).is_some_and(|entry| {
                    pinned.is_none_or(|hash| hash == entry.sha256)
                        && self.matches(file, entry, check)
                })
            })
        };
        let library = !(same_version
            && library_names().iter().any(|(file, link)| {
                intact(&format!("lib/{}", file(&manifest.mujoco.version)), None)
                    && self.lib().join(link).is_file()
            }));
        let models = manifest
            .models
            .sha256
            .iter()
            .filter(|(file, hash)| !intact(&format!("assets/{file}"), Some(hash)))
            .map(|(file, _)| file.clone())
            .collect();
        Missing { library, models }
    }

    /// Whether the installed library is the build that `mujoco.toml` pins (rather than another of
    /// the same version).
    pub fn is_pinned_build(&self, platform: &Platform) -> bool {
        self.stamp().is_some_and(|s| {
            s.files
                .get(&format!("lib/{}", platform.library))
                .is_some_and(|e| e.sha256 == platform.library_sha256)
        })
    }

    /// Installs the library under its versioned `name` and points `link_name` to it.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn install_library(&self, from: &Path, name: &str, link_name: &str) -> Result<()> {
        let lib = self.lib();
        fs::create_dir_all(&lib).map_err(|e| Failure::io("create", &lib, &e))?;
        copy_then_rename(from, &lib.join(name))?;
        if name != link_name {
            link_then_rename(name, &lib.join(link_name))?;
        }
        Ok(())
    }

    /// Installs one model.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn install_model(&self, from: &Path, name: &str) -> Result<()> {
        let assets = self.assets();
        fs::create_dir_all(&assets).map_err(|e| Failure::io("create", &assets, &e))?;
        copy_then_rename(from, &assets.join(name))
    }

    /// Takes off the list what is in place with the pinned hash, whatever the stamp says.
    pub fn keep_pinned(&self, manifest: &Manifest, missing: &mut Missing) {
        let is = |path: &Path, hash: &str| sha256_file(path).is_ok_and(|found| found == hash);
        if let Some(platform) = manifest.this_platform() {
            let lib = self.lib();
            let whole = is(&lib.join(&platform.library), &platform.library_sha256)
                && is(&lib.join(&platform.link_name), &platform.library_sha256);
            missing.library &= !whole;
        }
        let assets = self.assets();
        missing.models.retain(|file| {
            let pinned = manifest.models.sha256.get(file);
            !pinned.is_some_and(|hash| is(&assets.join(file), hash))
        });
    }

    /// Records what is installed now, except what is `missing`. Call after the files are in place:
    /// a setup that dies before this is repeated.
    ///
    /// # Errors
    /// If a file cannot be read or the stamp cannot be written.
    pub fn write_stamp(&self, manifest: &Manifest, missing: &Missing) -> Result<()> {
        let libraries = library_names()
            .into_iter()
            .filter(|_| !missing.library)
            .map(|(file, _)| format!("lib/{}", file(&manifest.mujoco.version)))
            .filter(|name| self.base.join(name).is_file());
        let models = manifest
            .models
            .sha256
            .keys()
            .filter(|file| !missing.models.contains(file))
            .map(|file| format!("assets/{file}"));
        let mut files = BTreeMap::new();
        for name in libraries.chain(models) {
            let entry = self.entry(&name)?;
            files.insert(name, entry);
        }
        let stamp = Stamp {
            mujoco_version: manifest.mujoco.version.clone(),
            files,
        };
        let path = self.base.join("stamp.json");
        let text = serde_json::to_string_pretty(&stamp)
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
