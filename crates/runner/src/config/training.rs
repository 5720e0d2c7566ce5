//! The tables `[training]`, `[replay]` and `[evaluation]`.

use rescore_agents::{RangeCheck, RangeError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Steps of an evaluation episode at most, unless `evaluation.max_steps` says otherwise.
pub const MAX_STEPS: u32 = 10_000;

/// The key that run folders of earlier versions lack: they counted no warm-up.
pub(super) const COUNT_WARMUP: &str = "training.count_warmup";

/// Keys that run folders of earlier versions lack, with the values that held then.
pub(super) const ABSENT_BEFORE: &[(&str, &str)] =
    &[(COUNT_WARMUP, "false"), ("agent.actor.sampler", "\"ddpm\"")];

/// How data is gathered, how often the agent learns, and how often results are written.
///
/// Every count of steps means environment steps summed over the parallel environments. Whether those
/// of warm-up are among them is `count_warmup`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of its own, and independent of the others"
)]
pub struct TrainingConfig {
    /// Parallel environments, 1 to 4096.
    pub num_envs: usize,
    /// Gradient updates per environment step, 1e-6 to 1000.
    pub updates_per_step: f64,
    /// Transitions per update, at least 1.
    pub batch_size: usize,
    /// Transitions with uniformly random actions before the first update.
    pub warmup_steps: u64,
    /// Whether `steps`, and every step in logs, evaluations, checkpoints and plots, counts the steps
    /// of warm-up (in whole rounds of all environments), as the sample efficiency of other programs
    /// is counted. Otherwise steps are counted from the end of warm-up.
    pub count_warmup: bool,
    /// Steps between two checkpoints, at least 1.
    pub checkpoint_every: u64,
    /// Steps between two lines of `metrics.jsonl`, at least 1.
    pub log_every: u64,
    /// Whether the numbers of `metrics.jsonl` and `eval.csv` are written as event files for TensorBoard
    /// as well, into the folder `tensorboard`.
    pub tensorboard: bool,
    /// Whether the environments step while the updates that this step makes due are computed.
    /// These then do not see its transitions yet. The result does not depend on which of the two
    /// is done first; it is another than without, where an update waits for the step.
    pub overlap: bool,
    /// Whether the agent sees observations in standard deviations from their mean.
    pub normalize_observation: bool,
    /// Normalised observations are clipped to plus and minus this, greater than 0; infinity does
    /// not clip.
    pub observation_clip: f64,
    /// Whether the agent sees rewards divided by the standard deviation of discounted returns.
    pub normalize_reward: bool,
    /// Normalised rewards are divided by more where needed so that no discounted return seen so
    /// far exceeds this, greater than 0; infinity sets no such bound.
    pub normalized_return_max: f64,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            num_envs: 5,
            updates_per_step: 0.2,
            batch_size: 256,
            warmup_steps: 30_000,
            count_warmup: true,
            checkpoint_every: 10_000,
            log_every: 1_000,
            tensorboard: false,
            overlap: false,
            normalize_observation: false,
            observation_clip: 10.0,
            normalize_reward: false,
            normalized_return_max: 5.0,
        }
    }
}

/// What is kept of the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayConfig {
    /// Transitions that the replay buffer holds, at most 4294967295; the oldest are overwritten.
    pub capacity: u64,
    /// Whether the replay buffer is part of checkpoints. Without it a run takes far less disk, but
    /// going on with it is not exact.
    pub store: bool,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self {
            capacity: 1_000_000,
            store: true,
        }
    }
}

/// How the agent is evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Steps between two evaluations, at least 1.
    pub every: u64,
    /// Episodes per evaluation, 1 to 10,000; each has a column in `eval.csv`.
    pub episodes: usize,
    /// Steps after which an evaluation episode is cut off, whatever the task says, 1 to 4294967295:
    /// without it an evaluation of a task without a time limit might never end.
    pub max_steps: u64,
    /// Samples of a stochastic policy of which the critics choose the one that evaluation plays,
    /// whatever the algorithm does otherwise, at most 65536; 0 leaves it to the algorithm.
    pub best_of: usize,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            every: 50_000,
            episodes: 20,
            max_steps: MAX_STEPS.into(),
            best_of: 0,
        }
    }
}

/// Checks all ranges of the three tables.
///
/// # Errors
/// Names the first key that is out of its range by its full path.
pub fn validate(
    training: &TrainingConfig,
    replay: &ReplayConfig,
    evaluation: &EvaluationConfig,
) -> Result<(), RangeError> {
    RangeCheck::default()
        .table("training", |check| training.check(replay, check))
        .table("replay", |check| {
            let valid = (1..=u64::from(u32::MAX)).contains(&replay.capacity);
            let expected = "a whole number from 1 to 4294967295";
            check.require("capacity", replay.capacity, valid, expected)
        })
        .table("evaluation", |check| evaluation.check(check))
        .finish()
}

impl TrainingConfig {
    /// The step at which warm-up ends: that of its last round of all environments where it is
    /// counted, otherwise 0.
    pub const fn warmup_end(&self) -> u64 {
        if self.count_warmup {
            self.warmup_steps.next_multiple_of(self.num_envs as u64)
        } else {
            0
        }
    }

    fn check(&self, replay: &ReplayConfig, check: RangeCheck) -> RangeCheck {
        check
            .require(
                "num_envs",
                self.num_envs,
                (1..=4096).contains(&self.num_envs),
                "a whole number from 1 to 4096",
            )
            .require(
                "updates_per_step",
                self.updates_per_step,
                (1e-6..=1e3).contains(&self.updates_per_step),
                "a number from 1e-6 to 1000",
            )
            .require(
                "batch_size",
                self.batch_size,
                (1..=1 << 20).contains(&self.batch_size),
                "a whole number from 1 to 1048576",
            )
            .require(
                "warmup_steps",
                self.warmup_steps,
                self.warmup_steps <= replay.capacity,
                "at most replay.capacity, because warm-up lasts until the replay buffer holds so many",
            )
            .at_least_one("checkpoint_every", self.checkpoint_every)
            .at_least_one("log_every", self.log_every)
            .require(
                "observation_clip",
                self.observation_clip,
                self.observation_clip > 0.0,
                "a number greater than 0, or inf",
            )
            .require(
                "normalized_return_max",
                self.normalized_return_max,
                self.normalized_return_max > 0.0,
                "a number greater than 0, or inf",
            )
    }
}

impl EvaluationConfig {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        check
            .at_least_one("every", self.every)
            .require(
                "episodes",
                self.episodes,
                (1..=10_000).contains(&self.episodes),
                "a whole number from 1 to 10000",
            )
            .require(
                "max_steps",
                self.max_steps,
                (1..=u64::from(u32::MAX)).contains(&self.max_steps),
                "a whole number from 1 to 4294967295",
            )
            .require(
                "best_of",
                self.best_of,
                self.best_of <= 65_536,
                "a whole number from 0 to 65536",
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(training: &TrainingConfig, replay: &ReplayConfig) -> Option<String> {
        let checked = validate(training, replay, &EvaluationConfig::default());
        checked.err().map(|error| error.key)
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(
            key_of(&TrainingConfig::default(), &ReplayConfig::default()),
            None
        );
    }

    #[test]
    fn a_counted_warmup_ends_with_a_round_of_all_environments() {
        let end = |warmup_steps, num_envs, count_warmup| {
            let training = TrainingConfig {
                num_envs,
                warmup_steps,
                count_warmup,
                ..TrainingConfig::default()
            };
            training.warmup_end()
        };
        assert_eq!(end(1000, 4, true), 1000);
        assert_eq!(end(1001, 4, true), 1004);
        assert_eq!(end(0, 4, true), 0);
        assert_eq!(end(1001, 4, false), 0);
    }

    #[test]
    fn a_warmup_that_the_buffer_cannot_hold_is_refused() {
        let training = TrainingConfig {
            warmup_steps: 11,
            ..TrainingConfig::default()
        };
        let replay = ReplayConfig {
            capacity: 10,
            ..ReplayConfig::default()
        };
        let key = key_of(&training, &replay);
        assert_eq!(key.as_deref(), Some("training.warmup_steps"));
    }

    #[test]
    fn nan_is_not_in_any_range() {
        let training = TrainingConfig {
            updates_per_step: f64::NAN,
            ..TrainingConfig::default()
        };
        let key = key_of(&training, &ReplayConfig::default());
        assert_eq!(key.as_deref(), Some("training.updates_per_step"));
    }
}
