//! Hashing, and writing that leaves no half file behind.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use sha2::{Digest as _, Sha256};

use crate::failure::{Failure, Result};

/// Lower-case hexadecimal SHA-256 of a file.
///
/// # Errors
/// If it cannot be read.
pub fn sha256_file(path: &Path) -> Result<String> {
    // The largest file is a wheel of 26 MB: no need to stream.
    let bytes = fs::read(path).map_err(|e| Failure::io("read", path, &e))?;
    Ok(sha256(&bytes))
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Size in bytes, and modification time in nanoseconds since 1970.
///
/// # Errors
/// If the file cannot be looked at.
pub fn size_and_time(path: &Path) -> std::io::Result<(u64, u64)> {
    let meta = fs::metadata(path)?;
    let since = meta
        .modified()?
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok((meta.len(), since.as_nanos() as u64))
}

/// Bytes of all files in a folder and in the folders in it.
///
/// # Errors
/// If one of them cannot be looked at.
pub fn size_of_folder(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            size_of_folder(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}

/// Copies a file so that `to` is the old or the new content at any moment, whatever happens.
///
/// # Errors
/// If `from` cannot be read or `to` not be written.
pub fn copy_then_rename(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).map_err(|e| Failure::io("read", from, &e))?;
    write_then_rename(&bytes, to)
}

/// Writes a file so that `to` is the old or the new content at any moment, whatever happens.
///
/// # Errors
/// If it cannot be written.
pub fn write_then_rename(bytes: &[u8], to: &Path) -> Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let fail = |e: &std::io::Error| Failure::io("write", to, e);
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(folder)
        .map_err(|e| fail(&e))?;
    file.write_all(bytes).map_err(|e| fail(&e))?;
    file.as_file().sync_all().map_err(|e| fail(&e))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Temporary files are private; these are for everybody who may read the folder.
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))
            .map_err(|e| fail(&e))?;
    }
    file.persist(to).map_err(|e| fail(&e.error))?;
    Ok(())
}

/// Makes `link` point to its neighbour `target`, in one step.
///
/// # Errors
/// If it cannot be written.
#[cfg(unix)]
pub fn link_then_rename(target: &str, link: &Path) -> Result<()> {
    let fail = |e: &std::io::Error| Failure::io("write", link, e);
    let folder = link.parent().unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(folder)
        .map_err(|e| fail(&e))?;
    let new = temporary.path().join("link");
    std::os::unix::fs::symlink(target, &new).map_err(|e| fail(&e))?;
    fs::rename(&new, link).map_err(|e| fail(&e))
}

/// Copies the neighbour `target` to `link`: making links needs privileges here.
///
/// # Errors
/// If it cannot be written.
#[cfg(not(unix))]
pub fn link_then_rename(target: &str, link: &Path) -> Result<()> {
    let from = link.with_file_name(target);
    copy_then_rename(&from, link)
}
