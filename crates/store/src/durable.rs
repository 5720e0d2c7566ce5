//! Files that survive a kill and a loss of power: written aside, brought to the disk, renamed
//! last. And files that may be anything, read with a limit.
//!
//! What holds: after any of these functions has returned, its effect is on the disk. If the
//! process dies or the power fails within one of them, [`write_whole`] and [`write_json`] leave
//! the old file or the new one, never a part.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::StoreError;
use crate::fault::{self, Refused};
use crate::lacking::tolerate_sync;

/// The SHA-256 of `bytes` in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Writes a file under a temporary name, brings it to the disk and renames it last.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    write_synced(&temporary, bytes)?;
    rename(&temporary, path)?;
    sync_folder(parent(path))
}

/// Writes a file and waits until it is on the disk.
///
/// # Errors
/// When it cannot be written.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let write = || {
        let mut file = create(path)?;
        write_all(&mut file, bytes)?;
        fault::write_step(true)?;
        tolerate_sync(path, file.sync_all())
    };
    write().map_err(StoreError::io("write", path))
}

/// Creates an empty file. What has its name already is removed, not written to: it may be a link
/// that leads elsewhere.
///
/// # Errors
/// Those of the operating system.
pub fn create(path: &Path) -> std::io::Result<File> {
    fault::write_step(true)?;
    match File::create_new(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            File::create_new(path)
        }
        other => other,
    }
}

/// Requires that `path` is not a link: what is done in it would be done elsewhere.
///
/// # Errors
/// When it is.
pub fn refuse_link(path: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => Err(StoreError::corrupt(
            path,
            "it is a link that leads elsewhere",
        )),
        _ => Ok(()),
    }
}

/// Requires that `path` is a regular file or not there: another kind of file is not written to, nor
/// is it removed.
///
/// # Errors
/// When it is something else.
pub fn refuse_special(path: &Path) -> Result<(), StoreError> {
    refuse_link(path)?;
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            Err(StoreError::corrupt(path, "it is not a regular file"))
        }
        _ => Ok(()),
    }
}

/// Writes all of `bytes`; in two steps where writing is disturbed on purpose, so that a file can
/// be left half written.
///
/// # Errors
/// Those of the operating system.
pub fn write_all(file: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    if !fault::disturbs_writing() {
        return file.write_all(bytes);
    }
    let (first, second) = bytes.split_at(bytes.len() / 2);
    for half in [first, second] {
        fault::write_step(true)?;
        file.write_all(half)?;
    }
    Ok(())
}

/// Renames; within one folder this either happens or does not.
///
/// # Errors
/// When the operating system refuses.
pub fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fault::write_step(false)
        .and_then(|()| fs::rename(from, to))
        .map_err(StoreError::io("write", to))
}

/// Creates a folder with its parents.
///
/// # Errors
/// When the operating system refuses.
pub fn create_folder(path: &Path) -> Result<(), StoreError> {
    fault::write_step(true)
        .and_then(|()| fs::create_dir_all(path))
        .map_err(StoreError::io("create", path))
}

/// Removes a file or a folder with what is in it. Links are removed, not followed; what is not
/// there need not be removed.
///
/// # Errors
/// When the operating system refuses.
pub fn remove(path: &Path) -> Result<(), StoreError> {
    let remove = || {
        fault::write_step(false)?;
        if fs::symlink_metadata(path)?.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        }
    };
    match remove() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(StoreError::io("remove", path)),
    }
}

/// Waits until the entries of a folder are on the disk, if the file system can do that.
///
/// # Errors
/// When the folder cannot be opened.
pub fn sync_folder(path: &Path) -> Result<(), StoreError> {
    // Windows cannot open folders as files, and keeps renames in order by itself.
    if cfg!(unix) {
        let sync = || {
            fault::refusal(Refused::FolderSync)?;
            File::open(path)?.sync_all()
        };
        fault::write_step(false)
            .and_then(|()| tolerate_sync(path, sync()))
            .map_err(StoreError::io("synchronise", path))?;
    }
    Ok(())
}

/// The folder that `path` lies in.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes `value` as lines of JSON, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    write_whole(path, &json(path, value)?)
}

/// The lines of JSON that [`write_json`] writes.
///
/// # Errors
/// When `value` cannot be expressed; `path` is named.
pub fn json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| StoreError::Io {
        action: "encode",
        path: path.to_owned(),
        source: error.into(),
    })?;
    text.push(b'\n');
    Ok(text)
}

/// Opens a regular file for reading. A link, a pipe or a device is refused, because reading one
/// may lead elsewhere or never end.
///
/// # Errors
/// When it is something else or cannot be opened.
pub fn open_regular(path: &Path) -> Result<(File, u64), StoreError> {
    let metadata = fs::symlink_metadata(path).map_err(StoreError::io("read", path))?;
    if !metadata.is_file() {
        return Err(StoreError::corrupt(path, "it is not a regular file"));
    }
    let file = File::open(path).map_err(StoreError::io("read", path))?;
    Ok((file, metadata.len()))
}

/// Reads a text of at most `limit` bytes from a regular file.
///
/// # Errors
/// As [`read_limited`], and when it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String, StoreError> {
    text(path, read_limited(path, limit)?)
}

/// Reads a text of at most `limit` bytes from whatever the user names: a pipe will do.
///
/// # Errors
/// When it is longer, is not UTF-8 or cannot be read.
pub fn read_stream(path: &Path, limit: u64) -> Result<String, StoreError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(StoreError::io("read", path))?;
    if bytes.len() as u64 > limit {
        let message = format!("it is longer than {limit} bytes, which is more than makes sense");
        return Err(StoreError::corrupt(path, message));
    }
    text(path, bytes)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        StoreError::corrupt(path, format!("byte {place} is not UTF-8 text"))
    })
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// When it is longer, is not a regular file or cannot be read.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let (file, length) = open_regular(path)?;
    let too_long = || {
        let message = format!("it is {length} bytes long, but at most {limit} make sense");
        StoreError::corrupt(path, message)
    };
    if length > limit {
        return Err(too_long());
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // It may have grown since it was measured.
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(StoreError::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(too_long());
    }
    Ok(bytes)
}

/// Understands `bytes` of the file `path` as JSON.
///
/// # Errors
/// When it is not, or not what is expected; the message says where.
pub fn parse_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::corrupt(path, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        for text in ["first", "second"] {
            write_whole(&path, text.as_bytes()).expect("writable");
            assert_eq!(fs::read_to_string(&path).expect("just written"), text);
        }
        let entries = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(entries, 1, "a temporary file was left");
    }

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        fs::write(&path, [7; 10]).expect("writable");
        assert_eq!(read_limited(&path, 10).expect("short enough"), [7; 10]);
        let error = read_limited(&path, 9).expect_err("too long");
        assert!(error.to_string().contains("10 bytes long"), "{error}");
        assert!(read_limited(folder.path(), 10).is_err(), "a folder");
        #[cfg(unix)]
        {
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(&path, &link).expect("writable");
            let error = read_limited(&link, 10).expect_err("a link");
            assert!(error.to_string().contains("not a regular file"), "{error}");
            remove(&link).expect("removable");
            assert!(path.exists(), "the link was followed");
        }
    }
}
