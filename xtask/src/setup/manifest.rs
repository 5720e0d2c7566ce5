//! `mujoco.toml`: the one file that holds versions and hashes.

use std::collections::BTreeMap;
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
    /// The task models.
    pub models: Models,
}

/// The physics library.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mujoco {
    /// Version that the pinned `mujoco-rs` was generated for, for example `3.17.0`.
    pub version: String,
    /// Archive of the release; `{version}` and `{arch}` are filled in.
    pub release_url: String,
    /// Where the library comes from, per platform.
    pub platform: Vec<Platform>,
}

/// The library's wheel for one platform.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// As in [`std::env::consts::OS`].
    pub os: String,
    /// As in [`std::env::consts::ARCH`].
    pub arch: String,
    /// Value of pip's `--platform`.
    pub pip_tag: String,
    /// File name of the wheel.
    pub wheel: String,
    /// SHA-256 of the wheel.
    pub wheel_sha256: String,
    /// File name of the library, with its version.
    pub library: String,
    /// Name under which the linker looks for it.
    pub link_name: String,
    /// SHA-256 of the library in the wheel.
    pub library_sha256: String,
}

/// The task models.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Models {
    /// Version of the wheel that holds them.
    pub version: String,
    /// File name of that wheel.
    pub wheel: String,
    /// SHA-256 of the wheel.
    pub wheel_sha256: String,
    /// Folder of the models inside the wheel.
    pub wheel_folder: String,
    /// A single model on its own; `{version}` and `{file}` are filled in.
    pub file_url: String,
    /// File name to SHA-256.
    pub sha256: BTreeMap<String, String>,
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
}
