//! Sizes of files and disks.

use std::path::Path;

use crate::StoreError;

/// Free bytes of the disk that `folder` lies on, where the system tells.
pub fn free(folder: &Path) -> Option<u64> {
    fs4::available_space(folder).ok()
}

/// Bytes of a file, or of all files in a folder.
///
/// # Errors
/// When they cannot be read.
pub fn length(path: &Path) -> Result<u64, StoreError> {
    let metadata = std::fs::symlink_metadata(path).map_err(StoreError::io("read", path))?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut bytes = 0;
    for entry in std::fs::read_dir(path).map_err(StoreError::io("read", path))? {
        bytes += length(&entry.map_err(StoreError::io("read", path))?.path())?;
    }
    Ok(bytes)
}

/// A number of bytes in words: `3.1 GB`.
pub fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for larger in units {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    if unit == "bytes" {
        return format!("{bytes} bytes");
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(
            [0, 999, 1000, 1_234_567, 3_000_000_000].map(size),
            ["0 bytes", "999 bytes", "1.0 kB", "1.2 MB", "3.0 GB"]
        );
        assert_eq!(size(u64::MAX), "18.4 EB");
    }

    #[test]
    fn this_machine_has_a_disk() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(free(folder.path()).is_some_and(|bytes| bytes > 0));
        assert_eq!(free(&folder.path().join("nothing")), None);
    }
}
