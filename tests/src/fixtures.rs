//! Folders of fixtures, and damaged copies of them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

/// The folder that the environment variable names, or `name` beside this package's tests.
pub fn folder(variable: &str, name: &str) -> PathBuf {
    // A relative folder is relative to the workspace, wherever cargo starts the test.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    env::var_os(variable).map_or_else(|| default_folder(name), |folder| workspace.join(folder))
}

/// The folder `name` beside this package's tests.
pub fn default_folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A copy of the files `names` of a default folder, and an index that lists only them.
///
/// # Errors
/// When a file cannot be read or written.
pub fn copy_of(folder: &str, names: &[&str]) -> Result<tempfile::TempDir> {
    let folder = default_folder(folder);
    let copy = tempfile::tempdir()?;
    let text = fs::read_to_string(folder.join("index.json"))?;
    let mut index: serde_json::Value = serde_json::from_str(&text)?;
    if let Some(files) = index["files"].as_object_mut() {
        files.retain(|name, _| names.contains(&name.as_str()));
    }
    fs::write(copy.path().join("index.json"), index.to_string())?;
    for name in names {
        fs::copy(folder.join(name), copy.path().join(name))?;
    }
    Ok(copy)
}

/// Adds `change` to the first value of the `f32` array `array` in `file`.
///
/// # Errors
/// When there is no such array, or the file cannot be read or written.
pub fn change(folder: &Path, file: &str, array: &str, change: f32) -> Result<()> {
    let path = folder.join(file);
    let mut bytes = fs::read(&path)?;
    let data = {
        let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
        tensors.tensor(array)?.data().as_ptr() as usize - bytes.as_ptr() as usize
    };
    let value = f32::from_le_bytes(bytes[data..data + 4].try_into()?);
    bytes[data..data + 4].copy_from_slice(&(value + change).to_le_bytes());
    fs::write(path, bytes)?;
    Ok(())
}
