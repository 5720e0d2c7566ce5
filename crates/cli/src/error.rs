//! What ends a command early, and the exit code that says so.

use rescore_report::ReportError;
use rescore_runner::RunError;
use rescore_store::StoreError;
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
            #[cfg(feature = "developer")]
            Self::Soak(_) => rescore_store::exit_code::OTHER,
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
            #[cfg(feature = "developer")]
            Self::Soak(_) => None,
        }
    }

    /// The command that goes on with the run, if there is one: the last line for the user.
    pub fn command(&self) -> Option<&[u8]> {
        match self {
            Self::Stopped { command, .. } => Some(command),
            _ => None,
        }
    }
}
