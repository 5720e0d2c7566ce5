//! Options of the commands that show a trained policy: which one, where it is computed, and in which
//! respects it plays otherwise than in training.

use std::path::{Path, PathBuf};

use rescore_runner::RunError;
use rescore_runner::backend::AUTO;
use rescore_runner::config::{Config, Request, differences, resolve};
use rescore_store::checkpoint::{Checkpoints, Which};

use super::parse_which;
use crate::backend;

/// Keys of `[agent]` that decide how a trained policy is sampled, not what it is.
const SAMPLING: &[&str] = &[
    "particles",
    "behaviour_samples",
    "candidates",
    "candidate_noise",
    "evaluation_particles",
    "exploration",
    "selection_expectile",
    "sde.precision",
    "sde.sampler",
    "sde.snr",
    "sde.steps",
    "actor.sampler",
    "acting.particles",
    "acting.evaluation_particles",
    "acting.noise",
    "actor.precision",
    "exploration.noise_scale",
];

#[derive(Debug, clap::Args)]
pub(super) struct PolicyArgs {
    /// Checkpoint: `best` or its step [default: the last]
    #[arg(long, value_name = "best|STEP", value_parser = parse_which)]
    pub checkpoint: Option<Which>,
    /// Tensor backend [default: as in training]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Device of the backend, see `devices` [default: as in training, with --backend the first GPU]
    #[arg(long, value_name = "N")]
    device: Option<String>,
    /// Seed of other episodes [default: that of the run, which repeats its evaluation]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Change the task (`task.KEY`) or how the policy is sampled (`evaluation_particles`, `precision`, ...)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Of N samples of the policy play the one that the critics value most [default: as the algorithm
    /// does]
    #[arg(long, value_name = "N", conflicts_with = "stochastic")]
    best_of: Option<usize>,
    /// Act as in training, with exploration
    #[arg(long)]
    pub stochastic: bool,
}

impl PolicyArgs {
    /// The configuration of the run in the folder `run` with what is asked for, and `more`.
    ///
    /// # Errors
    /// When it cannot be read, or a key is to be changed that decides what the policy is.
    pub fn config(&self, run: &Path, more: Option<String>) -> Result<Config, RunError> {
        let before = resolve(&Request::of_run(run))?;
        let auto = || self.backend.as_ref().map(|_| AUTO.to_owned());
        let mut request = Request {
            backend: self.backend.clone(),
            device: self.device.clone().or_else(auto),
            seed: self.seed,
            set: self.set.clone(),
            ..Request::of_run(run)
        };
        request.set.extend(more);
        let best_of = self.best_of.map(|n| format!("evaluation.best_of={n}"));
        request.set.extend(best_of);
        let config = resolve(&request)?;
        let changes = differences(&before, &config);
        for change in &changes {
            let key = change.key.as_str();
            let (table, name) = key.split_once('.').unwrap_or(("", key));
            let free = match table {
                "" => matches!(name, "seed" | "backend" | "device"),
                "agent" => SAMPLING.contains(&name),
                "evaluation" => matches!(name, "episodes" | "max_steps" | "best_of"),
                _ => table == "task",
            };
            if !free {
                return Err(RunError::usage(
                    format!("`{key}` decides what the policy is, so it stays as in training"),
                    format!("keys that may change: task.KEY, {}", SAMPLING.join(", ")),
                ));
            }
        }
        backend::check_config(&config)?;
        Ok(config)
    }

    /// The seed that is asked for.
    #[cfg(feature = "render")]
    pub const fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// The folder of the checkpoint that is asked for.
    ///
    /// # Errors
    /// When there is none.
    pub fn checkpoint(&self, run: &Path) -> Result<PathBuf, RunError> {
        Ok(Checkpoints::of(run).find(self.checkpoint.unwrap_or(Which::Last))?)
    }
}
