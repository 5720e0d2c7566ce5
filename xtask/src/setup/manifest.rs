//! `mujoco.toml`: the one file that holds versions and hashes.

use std::path::Path;

use serde::Deserialize;

use crate::failure::{Failure, Result};

/// Name of the file in the workspace root.
pub const FILE: &str = "mujoco.toml";

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The physics library.
    pub mujoco: Mujoco,
}

/// The physics library.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mujoco {
    /// Version that the pinned `mujoco-rs` was generated for, for example `3.17.0`.
    pub version: String,
    /// Where the library comes from, per platform.
    pub platform: Vec<Platform>,
}

/// The library of one platform.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// As in [`std::env::consts::OS`].
    pub os: String,
    /// As in [`std::env::consts::ARCH`].
    pub arch: String,
    /// What somebody must know who cannot have the library fetched.
    pub note: Option<String>,
    /// The wheel that holds it, if there is one.
    pub wheel: Option<Wheel>,
    /// A file that can be fetched without pip, if its hash is known.
    pub archive: Option<Archive>,
}

/// A wheel on the Python package index.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// File name.
    pub file: String,
    /// Value of pip's `--platform`.
    pub pip_tag: String,
    /// SHA-256 of the wheel.
    pub sha256: String,
    /// SHA-256 of the library in it.
    pub library_sha256: String,
}

/// A release archive (`.tar.gz`) or a wheel (`.whl`) at a fixed address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Address; https.
    pub url: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// SHA-256 of the library in it.
    pub library_sha256: String,
}

impl Manifest {
    /// Reads `mujoco.toml` below the workspace root.
    ///
    /// # Errors
    /// If the file is missing or not as described here; toml names line and key.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|e| Failure::io("read", &path, &e))?;
        toml::from_str(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
    }

    /// The entry for the machine this runs on, if there is one.
    pub fn this_platform(&self) -> Option<&Platform> {
        self.mujoco
            .platform
            .iter()
            .find(|p| p.os == std::env::consts::OS && p.arch == std::env::consts::ARCH)
    }

    /// Whether a library with this SHA-256 is one that is pinned for this machine.
    pub fn pins(&self, library_sha256: &str) -> bool {
        self.this_platform().is_some_and(|platform| {
            let wheel = platform.wheel.as_ref().map(|w| &w.library_sha256);
            let archive = platform.archive.as_ref().map(|a| &a.library_sha256);
            [wheel, archive]
                .into_iter()
                .flatten()
                .any(|pinned| pinned == library_sha256)
        })
    }
}
