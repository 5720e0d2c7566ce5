//! Tasks by name: the built-in ones, those of MuJoCo, and those that a user registers.

use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use crate::builtin::BUILTIN_TASKS;
use crate::error::nearest;
use crate::mujoco_table::{MUJOCO_TASKS, MujocoSpec};
use crate::new_task::{Constructor, NewTask};
use crate::{Env, EnvError, RescaleAction, TaskEntry, TaskOptions, TaskSettings, TimeLimit};

struct Registered {
    entry: TaskEntry,
    construct: Arc<Constructor>,
}

/// In the order in which they are listed.
static TASKS: LazyLock<RwLock<Vec<Registered>>> = LazyLock::new(|| {
    let builtin = BUILTIN_TASKS.iter().map(|(entry, construct)| Registered {
        entry: *entry,
        construct: Arc::new(|_: &TaskOptions| construct()),
    });
    let mujoco = MUJOCO_TASKS.iter().map(|spec| Registered {
        entry: spec.entry,
        construct: Arc::new(|options: &TaskOptions| mujoco_env(spec, options)),
    });
    RwLock::new(builtin.chain(mujoco).collect())
});

/// What `read` makes of all registered tasks.
fn tasks<R>(read: impl FnOnce(&[Registered]) -> R) -> R {
    // The list is whole even after a panic: a task is pushed or it is not.
    read(&TASKS.read().unwrap_or_else(PoisonError::into_inner))
}

/// Makes a task of your own known by its name to [`make`], [`find`], [`list`] and
/// [`VecEnv`](crate::VecEnv), and so to everything that takes the name of a task, for as long as
/// the program runs: register it at the start, before anything asks for it.
///
/// One environment with default options is made at once, to learn the dimensions.
///
/// # Errors
/// [`EnvError::TaskExists`] if the name is taken, [`EnvError::InvalidArgument`] for a name or a
/// time limit that cannot be, and errors of the task's constructor.
pub fn register(task: NewTask) -> Result<TaskEntry, EnvError> {
    let (entry, construct) = task.into_entry()?;
    let mut tasks = TASKS.write().unwrap_or_else(PoisonError::into_inner);
    if tasks.iter().any(|known| known.entry.name == entry.name) {
        return Err(EnvError::TaskExists {
            name: entry.name.to_owned(),
        });
    }
    tasks.push(Registered { entry, construct });
    Ok(entry)
}

/// All registered tasks: the built-in ones, those of MuJoCo, then a user's own.
pub fn list() -> Vec<TaskEntry> {
    tasks(|tasks| tasks.iter().map(|task| task.entry).collect())
}

/// The registered task of this name.
///
/// # Errors
/// [`EnvError::UnknownTask`], with the nearest name.
pub fn find(name: &str) -> Result<TaskEntry, EnvError> {
    registered(name).map(|(entry, _)| entry)
}

fn registered(name: &str) -> Result<(TaskEntry, Arc<Constructor>), EnvError> {
    tasks(|tasks| {
        let found = tasks.iter().find(|task| task.entry.name == name);
        found
            .map(|task| (task.entry, task.construct.clone()))
            .ok_or_else(|| EnvError::UnknownTask {
                name: name.to_owned(),
                suggestion: nearest(name, tasks.iter().map(|task| task.entry.name)),
            })
    })
}

/// Builds a registered task, with its time limit and (by default) actions in `[-1, 1]`.
///
/// # Errors
/// [`EnvError::UnknownTask`], [`EnvError::UnknownOption`], [`EnvError::InvalidOption`],
/// [`EnvError::InvalidArgument`] for a time limit of 0, errors of the constructor of a task of
/// your own, and for MuJoCo tasks [`EnvError::MujocoNotBuilt`], [`EnvError::MujocoVersion`],
/// [`EnvError::InvalidModel`] or [`EnvError::UnfitModel`].
pub fn make(name: &str, settings: &TaskSettings) -> Result<Box<dyn Env>, EnvError> {
    let (entry, construct) = registered(name)?;
    let options = TaskOptions::resolve(name, entry.options, &settings.options)?;
    let env = construct(&options)?;
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

#[cfg(feature = "mujoco")]
fn mujoco_env(spec: &'static MujocoSpec, options: &TaskOptions) -> Result<Box<dyn Env>, EnvError> {
    let task = crate::mujoco::MujocoTask::with_spec(spec, options)?;
    Ok(Box::new(crate::TaskEnv::new(task)))
}

#[cfg(not(feature = "mujoco"))]
fn mujoco_env(spec: &'static MujocoSpec, _options: &TaskOptions) -> Result<Box<dyn Env>, EnvError> {
    Err(EnvError::MujocoNotBuilt {
        name: spec.entry.name.to_owned(),
    })
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
