//! What a failed command tells the user, and the exit code it leaves.

use std::fmt;
use std::path::Path;

/// Exit codes of `cargo xtask` and of `rescore`; the help lists the same.
pub mod code {
    /// Anything that has no code of its own.
    pub const OTHER: u8 = 1;
    /// Wrong usage or configuration.
    pub const USAGE: u8 = 2;
    /// Reading or writing failed (`EX_IOERR` of sysexits.h).
    pub const IO: u8 = 74;
}

/// An error on its way to the user: one message, and hints that say what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Exit code, see [`code`].
    pub code: u8,
    /// What is wrong and where.
    pub message: String,
    /// What to do about it, one line each.
    pub hints: Vec<String>,
}

/// The result of everything in this program.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Wrong usage or configuration: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(code::USAGE, message)
    }

    /// Reading or writing `path` failed while doing `action` ("read", "write"): exit code 74.
    pub fn io(action: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(
            code::IO,
            format!("cannot {action} {}: {error}", path.display()),
        )
    }

    /// Anything else: exit code 1.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(code::OTHER, message)
    }

    /// Adds a line that says what would be right.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hints: Vec::new(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for hint in &self.hints {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
