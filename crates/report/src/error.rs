//! What can go wrong with a report.

use std::path::PathBuf;

use rescore_store::{StoreError, exit_code};
use thiserror::Error;

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReportError {
    /// A run cannot be read, or the report cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The runs are none that a report can be made of.
    #[error("{message}")]
    Unfit {
        /// What is wrong with them.
        message: String,
        /// What would be right.
        hint: String,
    },
    /// A drawing failed.
    #[error("cannot draw {}: {message}", path.display())]
    Draw {
        /// The file to be drawn.
        path: PathBuf,
        /// What the drawing library says.
        message: String,
    },
}

impl ReportError {
    pub(crate) fn unfit(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Unfit {
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// The exit code of a program that ends with this.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(error) => error.exit_code(),
            Self::Unfit { .. } => exit_code::USAGE,
            Self::Draw { .. } => exit_code::IO,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Unfit { hint, .. } => Some(hint.clone()),
            Self::Draw { .. } => None,
        }
    }
}
