//! The configuration of a run: what it is, and how layers of files and options make it.
//!
//! Layers, lowest first: the preset's defaults, `configs/<algo>.toml` and
//! `configs/tasks/<env>.toml` (both compiled in), the file given by `--config`, the options
//! `--env --algo --seed --steps --backend`, and each `--set`. The preset is the one that the
//! highest layer names; it fills in what no layer states, and every explicit key wins over it.

mod changes;
mod embedded;
mod layers;
pub(crate) mod model_file;
mod resolve;
mod schema;
mod task;
#[cfg(test)]
mod tests;
mod training;

use std::fmt;

use rescore_agents::{AgentConfig, Algorithm};
use rescore_envs::TaskSettings;
use serde::Serialize;

pub use changes::{
    CHANGEABLE, Change, differences, fixed_text, of_names, require_allowed, smaller_learning_rate,
};
pub use embedded::TASK_FILES;
pub use layers::{Origin, Setting};
pub use resolve::{Request, resolve};
pub use schema::nearest_name;
pub use training::{MAX_STEPS, TrainingConfig};

/// Everything that determines the results of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// The algorithm.
    pub algo: Algorithm,
    /// Name of the task.
    pub env: String,
    /// Seed of all random streams, 0 to 2^63 - 1.
    pub seed: u64,
    /// Environment steps to train for, counted from the end of warm-up; at least 1.
    pub steps: u64,
    /// Name of the tensor backend.
    pub backend: String,
    /// Which of the backend's devices: its number, or "auto" for the first GPU.
    pub device: String,
    /// Hyper-parameters of the algorithm.
    pub agent: AgentConfig,
    /// How data is gathered and how often things happen.
    pub training: TrainingConfig,
    /// How the task is set up.
    #[serde(serialize_with = "task::serialize")]
    pub task: TaskSettings,
}

impl Config {
    /// The text of `config.toml`: every key, so that it alone reproduces the run.
    ///
    /// # Panics
    /// Never for a configuration from [`resolve`], whose numbers are below 2^63.
    pub fn to_toml(&self) -> String {
        // Strings, numbers, booleans and arrays of them are all that a configuration holds, and
        // TOML can express them.
        toml::to_string(self).expect("a configuration is expressible as TOML")
    }
}

/// What is wrong with the configuration, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigError {
    /// Where the mistake stands.
    pub origin: Origin,
    /// What is wrong.
    pub message: String,
    /// What would be right, where that is known.
    pub hint: Option<String>,
}

impl ConfigError {
    fn new(setting: &Setting, message: impl Into<String>) -> Self {
        Self {
            origin: setting.origin.clone(),
            message: message.into(),
            hint: None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

impl std::error::Error for ConfigError {}
