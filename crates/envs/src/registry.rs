//! Tasks by name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::builtin::{MultiGoal, Pendulum, Probe, ProbeKind};
use crate::mujoco_table::MUJOCO_TASKS;
use crate::options::Options;
use crate::{Env, EnvError, OptionValue, RescaleAction, Task, TaskEnv, TaskOption, TimeLimit};

/// A registered task, known whether or not MuJoCo is compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TaskEntry {
    /// Its name, which [`make`] takes.
    pub name: &'static str,
    /// What it is about, in one line.
    pub description: &'static str,
    /// Number of values in an observation.
    pub observation_dim: usize,
    /// Number of values in an action.
    pub action_dim: usize,
    /// Lower bound of every action value, before rescaling.
    pub action_low: f32,
    /// Upper bound of every action value, before rescaling.
    pub action_high: f32,
    /// Steps after which an episode is truncated; `None` where every episode terminates by itself.
    pub time_limit: Option<u32>,
    /// Whether the cargo feature `mujoco` must be on to make it.
    pub needs_mujoco: bool,
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
        let resolved = Options::resolve(self.name, self.options, options)?;
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

/// How [`make`] builds a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskSettings {
    /// Take actions in units of `[-1, 1]` (see [`RescaleAction`]); `false` takes the task's own
    /// units.
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

/// All registered tasks: the built-in ones, then those of MuJoCo.
pub fn list() -> Vec<TaskEntry> {
    BUILTIN
        .iter()
        .copied()
        .chain(MUJOCO_TASKS.iter().map(|spec| spec.entry))
        .collect()
}

/// The registered task of this name.
///
/// # Errors
/// [`EnvError::UnknownTask`], with the nearest name.
pub fn find(name: &str) -> Result<TaskEntry, EnvError> {
    let tasks = list();
    if let Some(entry) = tasks.iter().find(|entry| entry.name == name) {
        return Ok(*entry);
    }
    let wanted = name.to_lowercase();
    let suggestion = tasks
        .iter()
        // Of equally near ones the first, which `max_by` takes to be the last.
        .rev()
        .map(|entry| {
            (
                strsim::jaro_winkler(&wanted, &entry.name.to_lowercase()),
                entry.name,
            )
        })
        // Below this similarity a suggestion has nothing to do with what was typed.
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, near)| near.to_owned());
    Err(EnvError::UnknownTask {
        name: name.to_owned(),
        suggestion,
    })
}

/// Builds a registered task, with its time limit and (by default) actions in `[-1, 1]`.
///
/// # Errors
/// [`EnvError::UnknownTask`], [`EnvError::UnknownOption`], [`EnvError::InvalidOption`],
/// [`EnvError::InvalidArgument`] for a time limit of 0, and for MuJoCo
/// tasks [`EnvError::MujocoNotBuilt`], [`EnvError::MujocoVersion`], [`EnvError::InvalidModel`] or
/// [`EnvError::UnfitModel`].
pub fn make(name: &str, settings: &TaskSettings) -> Result<Box<dyn Env>, EnvError> {
    let entry = find(name)?;
    let env = task_env(&entry, &settings.options)?;
    let env: Box<dyn Env> = match settings.time_limit.or(entry.time_limit) {
        Some(limit) => Box::new(TimeLimit::new(env, limit)?),
        None => env,
    };
    Ok(if settings.rescale_action {
        Box::new(RescaleAction::new(env)?)
    } else {
        env
    })
}

fn task_env(
    entry: &TaskEntry,
    options: &BTreeMap<String, OptionValue>,
) -> Result<Box<dyn Env>, EnvError> {
    entry.resolve_options(options)?;
    if entry.needs_mujoco {
        return mujoco_env(entry.name, options);
    }
    if let Some(kind) = ProbeKind::ALL
        .into_iter()
        .find(|kind| kind.name() == entry.name)
    {
        return Ok(boxed(Probe::new(kind)?));
    }
    match entry.name {
        "Pendulum-v1" => Ok(boxed(Pendulum::new()?)),
        "MultiGoal-v0" => Ok(boxed(MultiGoal::new()?)),
        // Reached only if a row of BUILTIN is added without its constructor; a test makes each.
        name => Err(EnvError::UnknownTask {
            name: name.to_owned(),
            suggestion: None,
        }),
    }
}

#[cfg(feature = "mujoco")]
fn mujoco_env(
    name: &str,
    options: &BTreeMap<String, OptionValue>,
) -> Result<Box<dyn Env>, EnvError> {
    let task = crate::mujoco::MujocoTask::with_options(name, options)?;
    Ok(boxed(task))
}

#[cfg(not(feature = "mujoco"))]
fn mujoco_env(
    name: &str,
    _options: &BTreeMap<String, OptionValue>,
) -> Result<Box<dyn Env>, EnvError> {
    Err(EnvError::MujocoNotBuilt {
        name: name.to_owned(),
    })
}

fn boxed(task: impl Task + 'static) -> Box<dyn Env> {
    Box::new(TaskEnv::new(task))
}

const BUILTIN: &[TaskEntry] = &[
    TaskEntry {
        name: "Pendulum-v1",
        description: "swing a pendulum up with too little torque, and hold it",
        observation_dim: 3,
        action_dim: 1,
        action_low: -2.0,
        action_high: 2.0,
        time_limit: Some(200),
        needs_mujoco: false,
        options: &[],
    },
    TaskEntry {
        name: "MultiGoal-v0",
        description: "reach one of four equally good goals in the plane (multimodal)",
        observation_dim: 2,
        action_dim: 2,
        action_low: -1.0,
        action_high: 1.0,
        time_limit: Some(30),
        needs_mujoco: false,
        options: &[],
    },
    probe(
        ProbeKind::ConstantReward,
        "probe: value of a constant reward",
    ),
    probe(
        ProbeKind::ObservationValue,
        "probe: value that depends on the observation",
    ),
    probe(ProbeKind::Discounting, "probe: discounting over two steps"),
    probe(
        ProbeKind::ActionReward,
        "probe: reward that depends on the action",
    ),
    probe(
        ProbeKind::ObservationActionReward,
        "probe: reward that depends on observation and action",
    ),
];

const fn probe(kind: ProbeKind, description: &'static str) -> TaskEntry {
    TaskEntry {
        name: kind.name(),
        description,
        observation_dim: 1,
        action_dim: 1,
        action_low: -1.0,
        action_high: 1.0,
        time_limit: None,
        needs_mujoco: false,
        options: &[],
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "bounds are copied, not computed")]
mod tests {
    use super::*;

    #[test]
    fn every_entry_tells_the_truth_about_its_task() {
        let raw = TaskSettings {
            rescale_action: false,
            ..TaskSettings::default()
        };
        for entry in list() {
            let env = match make(entry.name, &raw) {
                Err(EnvError::MujocoNotBuilt { .. }) if entry.needs_mujoco => continue,
                other => other.expect("a registered task can be made"),
            };
            assert_eq!(env.name(), entry.name);
            assert_eq!(
                env.observation_space().dim(),
                entry.observation_dim,
                "{}",
                entry.name
            );
            let actions = env.action_space();
            assert_eq!(actions.dim(), entry.action_dim, "{}", entry.name);
            assert!(
                actions
                    .low()
                    .iter()
                    .all(|&l| l == f64::from(entry.action_low))
            );
            assert!(
                actions
                    .high()
                    .iter()
                    .all(|&h| h == f64::from(entry.action_high))
            );
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = list().iter().map(|entry| entry.name).collect();
        let total = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), total);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let near = |name| match find(name) {
            Err(EnvError::UnknownTask { suggestion, .. }) => suggestion,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(near("halfcheetah").as_deref(), Some("HalfCheetah-v4"));
        assert_eq!(near("Pendulum-v0").as_deref(), Some("Pendulum-v1"));
        assert_eq!(near("zzz"), None);
        let message = find("Hoper-v4").expect_err("misspelt").to_string();
        assert_eq!(
            message,
            "unknown task `Hoper-v4`; did you mean `Hopper-v4`?"
        );
    }

    #[test]
    #[cfg(not(feature = "mujoco"))]
    fn a_mujoco_task_in_a_build_without_names_the_way_out() {
        let error = make("Hopper-v4", &TaskSettings::default())
            .err()
            .expect("not compiled in");
        assert!(matches!(error, EnvError::MujocoNotBuilt { .. }));
        assert!(error.to_string().contains("cargo xtask setup"), "{error}");
    }

    #[test]
    fn a_time_limit_of_zero_is_refused() {
        let settings = TaskSettings {
            time_limit: Some(0),
            ..TaskSettings::default()
        };
        let error = make("Pendulum-v1", &settings)
            .err()
            .expect("no episode has zero steps");
        assert!(error.to_string().contains("at least 1 step"), "{error}");
    }
}
