//! The configuration of a run: what it is, and how layers of files and options make it.
//!
//! Layers, lowest first: the defaults of the structs, those of `[agent]` under the preset; what the
//! preset brings for the training loop (`configs/presets`, compiled in), `configs/tasks/<env>.toml`
//! (compiled in), the file given by `--config`, the options `--env --algo --preset --seed --steps
//! --backend`, and each `--set`. The preset is the one that the highest layer names, else the one that
//! suits the backend; it fills in what no layer states, and every explicit key wins over it.

mod changes;
mod document;
mod embedded;
mod layers;
pub(crate) mod model_file;
mod moved;
mod preset;
mod resolve;
mod schema;
mod task;
#[cfg(test)]
mod tests;
mod training;

use rescore_agents::{AgentSettings, Pace, Setup};
use rescore_envs::TaskSettings;
use rescore_kernels::RescoreBackend;
use serde::{Serialize, Serializer};

use crate::RunError;
pub use changes::{
    CHANGEABLE, Change, differences, fixed_text, of_names, require_allowed, smaller_learning_rate,
};
pub use document::document;
pub use embedded::TASK_FILES;
pub(crate) use layers::parse_toml;
pub use layers::{ConfigError, Origin, Setting};
pub use preset::OnProcessor;
pub use resolve::{Request, resolve, resolve_with_reason};
pub use schema::nearest_name;
pub(crate) use schema::unknown_name;
pub use training::{EvaluationConfig, MAX_STEPS, ReplayConfig, TrainingConfig};

/// Everything that determines the results of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Name of the algorithm.
    pub algo: String,
    /// Name of the task.
    pub env: String,
    /// Seed of all random streams, 0 to 2^63 - 1.
    pub seed: u64,
    /// Environment steps to train for, more than [`TrainingConfig::warmup_end`].
    pub steps: u64,
    /// Name of the tensor backend.
    pub backend: String,
    /// Which of the backend's devices: its number, or "auto" for the first GPU.
    pub device: String,
    /// Settings of the algorithm.
    #[serde(serialize_with = "serialize_agent")]
    pub agent: Agent,
    /// How data is gathered and how often the agent learns.
    pub training: TrainingConfig,
    /// What is kept of the data.
    pub replay: ReplayConfig,
    /// How the agent is evaluated.
    pub evaluation: EvaluationConfig,
    /// How the task is set up.
    #[serde(serialize_with = "task::serialize")]
    pub task: TaskSettings,
}

/// Settings of an algorithm, and the preset that they started from where it has several.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// Name of the preset.
    pub preset: Option<&'static str>,
    /// The settings.
    pub settings: AgentSettings,
}

impl Agent {
    /// The plain table of all keys.
    fn table(&self) -> toml::Table {
        let mut table = self.settings.table();
        if let Some(preset) = self.preset {
            table.insert("preset".to_owned(), preset.into());
        }
        table
    }
}

fn serialize_agent<S: Serializer>(agent: &Agent, serializer: S) -> Result<S::Ok, S::Error> {
    agent.table().serialize(serializer)
}

impl Config {
    /// The text of `config.toml`: every key, so that it alone reproduces the run.
    ///
    /// # Panics
    /// Never for a configuration from [`resolve`], whose numbers are below 2^63.
    pub fn to_toml(&self) -> String {
        // Strings, numbers, booleans, and arrays and tables of them are all that a configuration
        // holds, and TOML can express them.
        toml::to_string(self).expect("a configuration is expressible as TOML")
    }

    /// A fresh agent for observations and actions of the widths `dims`, on `device`.
    ///
    /// # Errors
    /// When the algorithm was registered, but not for this backend.
    pub fn new_agent<B: RescoreBackend>(
        &self,
        dims: (usize, usize),
        device: &B::Device,
    ) -> Result<Box<dyn rescore_agents::Agent<B>>, RunError> {
        let setup = Setup {
            dims: dims.into(),
            seed: self.seed,
            updates: self.updates(),
            pace: self.pace(),
            device,
        };
        self.agent.settings.build(&setup).ok_or_else(|| {
            let (algo, backend) = (&self.algo, &self.backend);
            RunError::usage(
                format!("the algorithm `{algo}` is not registered for the backend `{backend}`"),
                "register it for that backend, or choose another with --backend",
            )
        })
    }

    /// What the training loop does, as far as settings of the agent depend on it.
    pub const fn pace(&self) -> Pace {
        Pace {
            updates_per_step: self.training.updates_per_step,
            batch_size: self.training.batch_size,
        }
    }

    /// Updates of the whole run, of which schedules are fractions.
    pub fn updates(&self) -> u64 {
        let steps = self.steps.saturating_sub(self.training.warmup_end());
        (steps as f64 * self.training.updates_per_step) as u64
    }
}
