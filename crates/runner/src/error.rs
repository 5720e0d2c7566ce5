//! What can go wrong in a run, and the exit code that says so.

use std::path::PathBuf;

use rescore_envs::EnvError;
use rescore_store::{StoreError, exit_code};
use thiserror::Error;

use crate::config::ConfigError;
use crate::guard::NotFinite;

/// Everything that ends a run early, or keeps it from beginning.
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
    /// The run folder cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A number that must be finite is not.
    #[error("{} is {} at step {step} (update {update})", number.what, number.value)]
    NotFinite {
        /// The number and where it is.
        number: Box<NotFinite>,
        /// Environment steps, as the run counts them.
        step: u64,
        /// Gradient updates done.
        update: u64,
    },
    /// A kernel that a device refuses, or a device that is gone.
    #[error("the device failed: {reason}")]
    Device {
        /// The device's own words.
        reason: String,
    },
    /// A signal asked the run to stop; a checkpoint was written first.
    #[error("interrupted at step {step}, after a checkpoint in {}", checkpoint.display())]
    Interrupted {
        /// Environment steps, as the run counts them.
        step: u64,
        /// The checkpoint's folder.
        checkpoint: PathBuf,
    },
    /// An environment failed.
    #[error(transparent)]
    Env(#[from] EnvError),
}

impl RunError {
    /// A usage error with a hint.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// The exit code of a program that ends with this.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Usage { .. } => exit_code::USAGE,
            Self::Store(error) => error.exit_code(),
            Self::Interrupted { .. } => exit_code::INTERRUPTED,
            Self::Env(error) => env_exit_code(error),
            Self::NotFinite { .. } | Self::Device { .. } => exit_code::OTHER,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint.clone(),
            Self::Usage { hint, .. } => hint.clone(),
            Self::Store(error) => error.hint(),
            Self::NotFinite { .. } => Some(
                "crash.json in the run folder says more, and the last checkpoint is sound; if \
                 training diverged, go on from there with smaller learning rates"
                    .into(),
            ),
            Self::Device { .. } => Some(
                "`rescore devices` lists the devices; `--set actor.precision=f32` asks least of them"
                    .into(),
            ),
            Self::Interrupted { .. } => Some("go on with --resume".into()),
            Self::Env(error) => env_hint(error),
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
