//! What can go wrong in a run, and the exit code that says so.

use std::path::{Path, PathBuf};

use rescore_envs::EnvError;
use thiserror::Error;

use crate::config::ConfigError;
use crate::guard::NotFinite;

/// Exit codes of the program `rescore`.
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

/// Everything that ends a command of this crate early.
#[derive(Debug, Error)]
pub enum RunError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command asks for something that does not exist or does not fit.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What would be right.
        hint: Option<String>,
    },
    /// The folder given by `--out` is in use already.
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
    /// A number that must be finite is not.
    #[error("{} is {} at step {step} (update {update})", number.what, number.value)]
    NotFinite {
        /// The number and where it is.
        number: Box<NotFinite>,
        /// Environment steps since the end of warm-up.
        step: u64,
        /// Gradient updates done.
        update: u64,
    },
    /// A signal asked the run to stop; a checkpoint was written first.
    #[error("interrupted at step {step}, after a checkpoint in {}", checkpoint.display())]
    Interrupted {
        /// Environment steps since the end of warm-up.
        step: u64,
        /// The checkpoint's folder.
        checkpoint: PathBuf,
    },
    /// The run stopped before its end, and a command goes on with it.
    #[error("{error}")]
    Stopped {
        /// Why.
        error: Box<RunError>,
        /// The command, as it is typed into a shell (in the bytes of its paths).
        command: Vec<u8>,
    },
    /// Something that a soak test requires does not hold.
    #[error("{0}")]
    Soak(String),
    /// An environment failed.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// A drawing failed.
    #[error("cannot draw {}: {message}", path.display())]
    Plot {
        /// The file to be drawn.
        path: PathBuf,
        /// What the drawing library says.
        message: String,
    },
}

impl RunError {
    /// Turns an I/O error into a [`RunError::Io`] that names `action` and `path`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// A [`RunError::Corrupt`] of the file `path`.
    pub fn corrupt(path: &Path, message: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            message: message.into(),
        }
    }

    /// A usage error with a hint.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// The command that goes on with the run, if there is one: the last line for the user.
    pub fn command(&self) -> Option<&[u8]> {
        match self {
            Self::Stopped { command, .. } => Some(command),
            _ => None,
        }
    }

    /// The exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Usage { .. } | Self::FolderNotEmpty(_) => exit_code::USAGE,
            Self::FolderHeld { .. } => exit_code::HELD,
            Self::Interrupted { .. } => exit_code::INTERRUPTED,
            Self::Stopped { error, .. } => error.exit_code(),
            Self::Io { .. } | Self::Corrupt { .. } | Self::Plot { .. } => exit_code::IO,
            Self::Env(error) => env_exit_code(error),
            Self::Mismatch { .. } | Self::NotFinite { .. } | Self::Soak(_) => exit_code::OTHER,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint.clone(),
            Self::Usage { hint, .. } => hint.clone(),
            Self::FolderNotEmpty(_) => Some(
                "choose another --out, or leave it out for a fresh folder below runs/; --continue \
                 goes on with a run"
                    .into(),
            ),
            Self::FolderHeld { .. } => {
                Some("wait until that process ends, or choose another --out".into())
            }
            Self::NotFinite { .. } => Some(
                "crash.json in the run folder says more, and the last checkpoint is sound; if \
                 training diverged, go on from there with smaller learning rates"
                    .into(),
            ),
            Self::Interrupted { .. } => Some("go on with --resume".into()),
            Self::Stopped { error, .. } => Some(match **error {
                Self::Interrupted { .. } => "this command goes on:".to_owned(),
                _ => error.hint().map_or_else(String::new, |hint| hint + ":"),
            }),
            Self::Env(error) => env_hint(error),
            Self::Mismatch { .. } => Some(
                "a checkpoint can be read only with the config.toml of the run that wrote it"
                    .into(),
            ),
            _ => None,
        }
    }
}

fn env_exit_code(error: &EnvError) -> u8 {
    match error {
        EnvError::UnknownTask { .. }
        | EnvError::MujocoNotBuilt { .. }
        | EnvError::UnknownOption { .. }
        | EnvError::InvalidOption { .. }
        | EnvError::UnfitModel { .. }
        | EnvError::ObservationLength { .. }
        | EnvError::InvalidArgument(_) => exit_code::USAGE,
        // A file that is there, and is no model, was named by mistake.
        EnvError::InvalidModel { path, .. } if path.is_file() => exit_code::USAGE,
        EnvError::InvalidModel { .. } => exit_code::IO,
        // Anything else that an environment does in a run is no matter of usage.
        EnvError::InVector { source, .. }
            if matches!(**source, EnvError::ObservationLength { .. }) =>
        {
            exit_code::USAGE
        }
        _ => exit_code::OTHER,
    }
}

fn env_hint(error: &EnvError) -> Option<String> {
    match error {
        EnvError::InVector { source, .. } => env_hint(source),
        EnvError::Diverged { .. } => Some(
            "weaker actuators (`gear`), a smaller `timestep` in the model, or a smaller \
             `reset_noise_scale` may keep the simulation stable"
                .into(),
        ),
        _ => None,
    }
}
