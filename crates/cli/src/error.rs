//! What ends a command early, and the exit code that says so.

use std::path::PathBuf;

use rescore_report::ReportError;
use rescore_runner::RunError;
use rescore_store::{StoreError, exit_code};
use thiserror::Error;

/// Everything that ends a command early.
#[derive(Debug, Error)]
pub enum Error {
    /// A run, its folder or its configuration is at fault.
    #[error(transparent)]
    Run(#[from] RunError),
    /// There is no report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The run stopped before its end, and a command goes on with it.
    #[error("{error}")]
    Stopped {
        /// Why.
        error: RunError,
        /// The command, as it is typed into a shell (in the bytes of its paths).
        command: Vec<u8>,
    },
    /// A sweep was asked to stop before all of its runs were done.
    #[error("{message}")]
    SweepStopped {
        /// How many are.
        message: String,
        /// The command that goes on, as it is typed into a shell.
        command: Vec<u8>,
    },
    /// Runs of a sweep failed.
    #[error("{message}")]
    SweepFailed {
        /// Which, and why.
        message: String,
        /// The folder of what they said.
        logs: PathBuf,
        /// That of the first of them.
        exit_code: u8,
    },
    /// Something that a soak test requires does not hold.
    #[cfg(feature = "developer")]
    #[error("{0}")]
    Soak(String),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Run(error.into())
    }
}

impl Error {
    /// The exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Run(error) | Self::Stopped { error, .. } => error.exit_code(),
            Self::Report(error) => error.exit_code(),
            Self::SweepStopped { .. } => exit_code::INTERRUPTED,
            Self::SweepFailed { exit_code, .. } => *exit_code,
            #[cfg(feature = "developer")]
            Self::Soak(_) => exit_code::OTHER,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Run(error) => error.hint(),
            Self::Report(error) => error.hint(),
            Self::Stopped { error, .. } => Some(match error {
                RunError::Interrupted { .. } => "this command goes on:".to_owned(),
                _ => error.hint().map_or_else(String::new, |hint| hint + ":"),
            }),
            Self::SweepStopped { .. } => Some("this command goes on:".to_owned()),
            Self::SweepFailed { logs, .. } => Some(format!(
                "{} has what they said; the same command tries them again",
                logs.display()
            )),
            #[cfg(feature = "developer")]
            Self::Soak(_) => None,
        }
    }

    /// The command that goes on with the run or the sweep, if there is one: the last line for the user.
    pub fn command(&self) -> Option<&[u8]> {
        match self {
            Self::Stopped { command, .. } | Self::SweepStopped { command, .. } => Some(command),
            _ => None,
        }
    }
}
