//! The lock of a run folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use crate::fault::{self, Refused};
use crate::lacking::tolerate_lock;
use crate::names::LOCK;
use crate::{StoreError, machine};

/// How often the lock is asked for, and how long after each refusal: [`held_by`] has it for an instant.
const ATTEMPTS: u32 = 4;
const INSTANT: Duration = Duration::from_millis(5);

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
        let mut locked = fault::refusal(Refused::Lock)
            .map_err(TryLockError::Error)
            .and_then(|()| file.try_lock());
        for _ in 1..ATTEMPTS {
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(INSTANT);
            locked = file.try_lock();
        }
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

/// Who holds the lock of the folder `run`; nothing where nobody does, or where the file system has no
/// locks. Nothing is created.
///
/// # Errors
/// When what has the name of the lock is no regular file or cannot be read.
pub fn held_by(run: &Path) -> Result<Option<String>, StoreError> {
    let path = run.join(LOCK);
    crate::durable::refuse_special(&path)?;
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", &path)(error)),
    };
    // A holder writes its name at once and removes it at the end. Where there is none, the lock is
    // not touched; where a dead process left it, asking is the only way to know.
    let named = file.metadata().is_ok_and(|metadata| metadata.len() > 0);
    match named.then(|| file.try_lock_shared()) {
        Some(Err(TryLockError::WouldBlock)) => Ok(Some(holder(&mut file))),
        _ => Ok(None),
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

    #[test]
    fn whoever_asks_is_told_the_holder_and_takes_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = folder.path();
        assert_eq!(held_by(run).expect("readable"), None);
        assert!(!run.join(LOCK).exists(), "it was created");
        let lock = Lock::take(run).expect("free");
        let me = format!("process {}", std::process::id());
        let holder = held_by(run).expect("readable").unwrap_or_default();
        assert!(holder.starts_with(&me), "{holder}");
        drop(lock);
        assert_eq!(held_by(run).expect("readable"), None);
        // What a process leaves that was killed.
        std::fs::write(run.join(LOCK), "process 1 on nowhere\n").expect("writable");
        assert_eq!(held_by(run).expect("readable"), None);
        assert!(Lock::take(run).is_ok());
    }
}
