//! File systems that cannot do everything. Some of clusters and containers have no locks, some
//! cannot bring a folder to the disk. A run on them goes on, and the user is told once.

use std::fs::TryLockError;
use std::io;
use std::path::Path;
use std::sync::Once;

/// Error numbers by which file systems say that they have no locks.
#[cfg(unix)]
const NO_LOCKS: &[i32] = &[
    libc::ENOSYS,
    libc::ENOLCK,
    libc::EOPNOTSUPP,
    libc::ENOTSUP,
    libc::EINVAL,
];
/// Error numbers by which they say that there is nothing to bring to the disk.
#[cfg(unix)]
const NO_SYNC: &[i32] = &[
    libc::EINVAL,
    libc::EBADF,
    libc::EISDIR,
    libc::ENOSYS,
    libc::EOPNOTSUPP,
    libc::ENOTSUP,
];
#[cfg(not(unix))]
const NO_LOCKS: &[i32] = &[];
#[cfg(not(unix))]
const NO_SYNC: &[i32] = &[];

fn is_lacking(error: &io::Error, numbers: &[i32]) -> bool {
    let number = error.raw_os_error();
    error.kind() == io::ErrorKind::Unsupported || number.is_some_and(|n| numbers.contains(&n))
}

/// The result of locking `path`, where a file system without locks is no error.
///
/// # Errors
/// All other errors.
pub fn tolerate_lock(path: &Path, result: Result<(), TryLockError>) -> Result<(), TryLockError> {
    static SAID: Once = Once::new();
    match result {
        Err(TryLockError::Error(error)) if is_lacking(&error, NO_LOCKS) => {
            SAID.call_once(|| {
                tracing::warn!(
                    "{} cannot be locked ({error}): see to it that no other process uses the folder",
                    path.display()
                );
            });
            Ok(())
        }
        other => other,
    }
}

/// The result of bringing `path` to the disk, where a file system that cannot is no error.
///
/// # Errors
/// All other errors.
pub fn tolerate_sync(path: &Path, result: io::Result<()>) -> io::Result<()> {
    static SAID: Once = Once::new();
    match result {
        Err(error) if is_lacking(&error, NO_SYNC) => {
            SAID.call_once(|| {
                tracing::warn!(
                    "{} cannot be synchronised with the disk ({error}): after a loss of power the \
                     last checkpoint may be lost",
                    path.display()
                );
            });
            Ok(())
        }
        other => other,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_system_lacks_is_tolerated_and_failures_are_not() {
        let path = Path::new("run");
        let error = io::Error::from_raw_os_error;
        for number in [libc::ENOSYS, libc::ENOLCK, libc::EOPNOTSUPP] {
            let refused = Err(TryLockError::Error(error(number)));
            assert!(tolerate_lock(path, refused).is_ok(), "{number}");
        }
        for number in [libc::EINVAL, libc::EBADF, libc::ENOSYS, libc::EOPNOTSUPP] {
            assert!(tolerate_sync(path, Err(error(number))).is_ok(), "{number}");
        }
        for number in [libc::EIO, libc::ENOSPC, libc::EACCES, libc::ENOENT] {
            assert!(tolerate_sync(path, Err(error(number))).is_err(), "{number}");
            let refused = Err(TryLockError::Error(error(number)));
            assert!(tolerate_lock(path, refused).is_err(), "{number}");
        }
        let held = tolerate_lock(path, Err(TryLockError::WouldBlock));
        assert!(matches!(held, Err(TryLockError::WouldBlock)));
    }
}
