//! What is known of a task before it is made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{EnvError, OptionValue, TaskOption, TaskOptions};

/// A registered task, known whether or not MuJoCo is compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TaskEntry {
    /// Its name, which [`make`](crate::make) takes.
    pub name: &'static str,
    /// What it is about, in one line.
    pub description: &'static str,
    /// Number of values in an observation.
    pub observation_dim: usize,
    /// Number of values in an action.
    pub action_dim: usize,
    /// The least lower bound of the action values, before rescaling.
    pub action_low: f32,
    /// The greatest upper bound of the action values, before rescaling.
    pub action_high: f32,
    /// Steps after which an episode is truncated; `None` where every episode terminates by itself.
    pub time_limit: Option<u32>,
    /// Whether the cargo feature `mujoco` must be on to make it.
    pub needs_mujoco: bool,
    /// Whether [`VecEnv`](crate::VecEnv) steps it on several threads unless told otherwise. A step
    /// must take some ten microseconds for that to gain more than it costs.
    #[serde(skip)]
    pub parallel: bool,
    /// What [`TaskSettings::options`] may hold.
    #[serde(serialize_with = "adjustable")]
    pub options: &'static [TaskOption],
}

impl TaskEntry {
    /// All options that can be set, with the values in `options` put over the defaults.
    ///
    /// # Errors
    /// [`EnvError::UnknownOption`] or [`EnvError::InvalidOption`].
    pub fn resolve_options(
        &self,
        options: &BTreeMap<String, OptionValue>,
    ) -> Result<BTreeMap<String, OptionValue>, EnvError> {
        let resolved = TaskOptions::resolve(self.name, self.options, options)?;
        Ok(self
            .adjustable_options()
            .map(|option| (option.name.to_owned(), resolved.value(option)))
            .collect())
    }

    /// The options that can be set, with their defaults.
    pub fn adjustable_options(&self) -> impl Iterator<Item = &'static TaskOption> {
        self.options.iter().filter(|option| option.adjustable)
    }
}

fn adjustable<S: serde::Serializer>(
    options: &[TaskOption],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        options
            .iter()
            .filter(|option| option.adjustable)
            .map(|option| (option.name, option.default)),
    )
}

/// How [`make`](crate::make) builds a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskSettings {
    /// Take actions in units of `[-1, 1]` (see [`RescaleAction`](crate::RescaleAction)); `false`
    /// takes the task's own units.
    pub rescale_action: bool,
    /// Steps after which an episode is truncated, instead of the registered number.
    pub time_limit: Option<u32>,
    /// Options of the task that differ from the defaults in [`TaskEntry::options`], by name.
    pub options: BTreeMap<String, OptionValue>,
}

impl Default for TaskSettings {
    fn default() -> Self {
        Self {
            rescale_action: true,
            time_limit: None,
            options: BTreeMap::new(),
        }
    }
}
