//! What can go wrong with a run folder.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Exit codes of a program that works with run folders.
pub mod exit_code {
    /// Done.
    pub const DONE: u8 = 0;
    /// Anything that no other code names.
    pub const OTHER: u8 = 1;
    /// Usage or configuration.
    pub const USAGE: u8 = 2;
    /// Another process holds the run folder.
    pub const HELD: u8 = 73;
    /// Input or output failed.
    pub const IO: u8 = 74;
    /// A signal ended the run, after a checkpoint.
    pub const INTERRUPTED: u8 = 75;
}

/// Why a run folder, or a file of one, cannot be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// What is asked for does not exist or must not be done.
    #[error("{message}")]
    Refused {
        /// What is wrong.
        message: String,
        /// What would be right.
        hint: Option<String>,
    },
    /// The folder for a new run is in use already.
    #[error("the run folder {} exists and is not empty", .0.display())]
    FolderNotEmpty(PathBuf),
    /// Another process is writing to the run folder.
    #[error("the run folder {} is held by {holder}", path.display())]
    FolderHeld {
        /// The folder.
        path: PathBuf,
        /// Who that is, as the lock says.
        holder: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, for example "write".
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file of a run folder cannot be understood.
    #[error("{} is damaged: {message}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A checkpoint is readable but belongs to another algorithm, task or network size.
    #[error("{} does not fit this run: {message}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What differs.
        message: String,
    },
}

impl StoreError {
    /// Turns an I/O error into a [`StoreError::Io`] that names `action` and `path`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// A [`StoreError::Corrupt`] of the file `path`.
    pub fn corrupt(path: &Path, message: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            message: message.into(),
        }
    }

    /// A [`StoreError::Mismatch`] of the file `path`.
    pub fn mismatch(path: &Path, message: impl Into<String>) -> Self {
        Self::Mismatch {
            path: path.to_owned(),
            message: message.into(),
        }
    }

    /// A [`StoreError::Refused`] with a hint.
    pub fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// The exit code of a program that ends with this.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { .. } | Self::FolderNotEmpty(_) => exit_code::USAGE,
            Self::FolderHeld { .. } => exit_code::HELD,
            Self::Io { .. } | Self::Corrupt { .. } => exit_code::IO,
            Self::Mismatch { .. } => exit_code::OTHER,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Refused { hint, .. } => return hint.clone(),
            Self::FolderNotEmpty(_) => {
                "choose another --out, or leave it out for a fresh folder below runs/; --continue \
                 goes on with a run"
            }
            Self::FolderHeld { .. } => "wait until that process ends, or choose another --out",
            Self::Mismatch { .. } => {
                "a checkpoint can be read only with the config.toml of the run that wrote it"
            }
            Self::Io { .. } | Self::Corrupt { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
