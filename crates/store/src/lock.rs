//! The lock of a run folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use crate::fault::{self, Refused};
use crate::lacking::tolerate_lock;
use crate::names::LOCK;
use crate::{StoreError, machine};

/// The lock of a run folder, held by this process.
///
/// The lock is the operating system's on the open file: it is gone when the process is, however
/// that ended, so nothing has to be cleaned. What the file says is only for those who are refused.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of the folder `run`.
    ///
    /// # Errors
    /// [`StoreError::FolderHeld`] when another process has it.
    pub fn take(run: &Path) -> Result<Self, StoreError> {
        let path = run.join(LOCK);
        crate::durable::refuse_special(&path)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(StoreError::io("create", &path))?;
        let locked = fault::refusal(Refused::Lock)
            .map_err(TryLockError::Error)
            .and_then(|()| file.try_lock());
        match tolerate_lock(&path, locked) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::FolderHeld {
                    path: run.to_owned(),
                    holder: holder(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(StoreError::io("lock", &path)(source)),
        }
        let words = format!(
            "process {} on {}\n",
            std::process::id(),
            machine::host_name()
        );
        // A full disk must not keep a run from being resumed when this is all that fails.
        let written = file
            .set_len(0)
            .and_then(|()| file.write_all(words.as_bytes()));
        if let Err(error) = written {
            tracing::warn!("cannot write to {}: {error}", path.display());
        }
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Nobody holds it any more. A process that is killed leaves its name, which does no harm.
        let _ = self.file.set_len(0);
    }
}

/// Who says to hold the lock.
fn holder(file: &mut File) -> String {
    // Between taking the lock and writing these words the holder is nameless.
    for _ in 0..20 {
        let mut words = String::new();
        let read = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| (&*file).take(256).read_to_string(&mut words));
        if read.is_ok() && words.ends_with('\n') {
            return words.trim_end().to_owned();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    "another process".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = Lock::take(folder.path()).expect("free");
        let error = Lock::take(folder.path()).expect_err("held").to_string();
        let me = format!("process {}", std::process::id());
        assert!(error.contains(&me), "{error}");
        drop(first);
        assert!(Lock::take(folder.path()).is_ok(), "it was left");
    }
}
