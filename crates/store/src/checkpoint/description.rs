//! `checkpoint.json`: what a checkpoint is of, and every small number that a run needs to go on.

use serde::{Deserialize, Serialize};

use super::exact;
use super::statistics::{EndedEpisodes, InfoMeans};
use crate::segments::ReplayReference;

/// Version of the layout of a checkpoint. No other is read: up to version 3 the arrays of an agent
/// had other names and shapes.
pub const FORMAT_VERSION: u32 = 4;

/// Whose checkpoint it is, and of which moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Name of the algorithm.
    pub algo: String,
    /// Name of the task.
    pub env: String,
    /// Length of an observation.
    pub observation_dim: usize,
    /// Length of an action.
    pub action_dim: usize,
    /// SHA-256 of the settings that must stay as they are when the run goes on.
    pub settings: String,
    /// Environment steps, as the run counts them.
    pub step: u64,
    /// Gradient updates done.
    pub update: u64,
}

impl Description {
    /// The first thing in which this checkpoint does not fit a run, in words.
    pub fn difference(&self, run: &Self) -> Option<String> {
        let pairs: [(&str, &dyn std::fmt::Display, &dyn std::fmt::Display); 4] = [
            ("algorithm", &self.algo, &run.algo),
            (
                "observation length",
                &self.observation_dim,
                &run.observation_dim,
            ),
            ("action length", &self.action_dim, &run.action_dim),
            ("task", &self.env, &run.env),
        ];
        pairs.iter().find_map(|(what, found, needed)| {
            let (found, needed) = (found.to_string(), needed.to_string());
            (found != needed).then(|| format!("its {what} is {found}, but the run's is {needed}"))
        })
    }
}

/// What is due in an iteration after its updates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Due {
    /// A line of the log.
    pub log: bool,
    /// An evaluation.
    pub evaluate: bool,
    /// A checkpoint.
    pub save: bool,
}

impl Due {
    /// Whether anything is.
    pub const fn any(self) -> bool {
        self.log || self.evaluate || self.save
    }
}

/// The best evaluation so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Step of the evaluation and of its checkpoint.
    pub step: u64,
    /// Mean return of its episodes.
    #[serde(with = "exact")]
    pub mean_return: f64,
}

/// Warnings of the simulator. Each ends its episode, and its transition is not stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatorWarnings {
    /// Warnings since the last line of the log.
    pub since_log: u64,
    /// Transitions that were not stored, since the run began.
    pub skipped: u64,
}

/// The latest value of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricValue {
    /// Its name in the log.
    pub name: String,
    /// An `f32`.
    #[serde(with = "exact")]
    pub value: f64,
}

/// Where the loop and the logs stand.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Whether the checkpoint was written because the run was asked to stop.
    pub stopped: bool,
    /// What the iteration at hand still has to do.
    pub due: Due,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Rows of `eval.csv` below its header.
    pub eval_rows: u64,
    /// Lines of `metrics.jsonl`.
    pub metrics_lines: u64,
    /// Episodes and named quantities, for the next of them.
    pub episodes: EndedEpisodes,
    /// As above.
    pub info: InfoMeans,
    /// Warnings of the simulator.
    pub warnings: SimulatorWarnings,
    /// The latest value of each metric, in the order of the log.
    pub metrics: Vec<MetricValue>,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointFile {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Whose and when.
    pub checkpoint: Description,
    /// Loop and logs.
    pub progress: Progress,
    /// Which part of which segments the replay buffer is.
    pub replay: ReplayReference,
}

/// The one entry that every version has.
#[derive(Debug, Deserialize)]
pub struct VersionOnly {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back_bit_for_bit(bits: u64) {
            let mean_return = f64::from_bits(bits);
            prop_assume!(mean_return.is_finite());
            let best = Best { step: 1, mean_return };
            let text = serde_json::to_string(&best).expect("plain");
            let read: Best = serde_json::from_str(&text).expect("just written");
            prop_assert_eq!(read.mean_return.to_bits(), bits);
        }
    }
}
