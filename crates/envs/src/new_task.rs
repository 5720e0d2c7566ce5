//! A task that a user brings.

use std::sync::Arc;

use crate::{Env, EnvError, TaskEntry, TaskOption, TaskOptions};

/// Makes one environment of a task, without time limit and in the task's own units.
pub(crate) type Constructor = dyn Fn(&TaskOptions) -> Result<Box<dyn Env>, EnvError> + Send + Sync;

/// A task of your own for [`register`](crate::register).
///
/// ```
/// use rescore_envs::{NewTask, OptionDefault, Pendulum, TaskEnv, TaskOption, VecEnv};
///
/// const OPTIONS: &[TaskOption] = &[TaskOption::new("angle", OptionDefault::Number(0.5))];
///
/// let task = NewTask::new("Upright-v0", |options| {
///     let mut pendulum = Pendulum::new()?;
///     pendulum.set_state(options.number("angle"), 0.0);
///     Ok(TaskEnv::new(pendulum))
/// });
/// rescore_envs::register(task.description("hold a pendulum").time_limit(50).options(OPTIONS))?;
///
/// let envs = VecEnv::new("Upright-v0", 4, 0)?;
/// assert_eq!(envs.observation_dim(), 3);
/// # Ok::<(), rescore_envs::EnvError>(())
/// ```
#[derive(Clone)]
pub struct NewTask {
    name: &'static str,
    description: &'static str,
    time_limit: Option<u32>,
    parallel: bool,
    options: &'static [TaskOption],
    construct: Arc<Constructor>,
}

impl NewTask {
    /// The task `name`, one environment of which `construct` makes from the task's options (all of
    /// them, with their defaults where nobody has set them).
    ///
    /// The time limit and the rescaling of actions come from [`TaskSettings`](crate::TaskSettings)
    /// and are put around the environment: `construct` leaves both out.
    pub fn new<E: Env + 'static>(
        name: &'static str,
        construct: impl Fn(&TaskOptions) -> Result<E, EnvError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            description: "",
            time_limit: None,
            parallel: true,
            options: &[],
            construct: Arc::new(move |options| Ok(Box::new(construct(options)?))),
        }
    }

    /// What the task is about, in one line, for lists.
    #[must_use]
    pub fn description(self, description: &'static str) -> Self {
        Self {
            description,
            ..self
        }
    }

    /// Truncates episodes after `steps` steps. A task without must terminate by itself.
    #[must_use]
    pub fn time_limit(self, steps: u32) -> Self {
        Self {
            time_limit: Some(steps),
            ..self
        }
    }

    /// The options that a user may set.
    #[must_use]
    pub fn options(self, options: &'static [TaskOption]) -> Self {
        Self { options, ..self }
    }

    /// Steps the environments of a [`VecEnv`](crate::VecEnv) one after the other: faster where a
    /// step takes less than some ten microseconds. Results are the same.
    #[must_use]
    pub fn sequential(self) -> Self {
        Self {
            parallel: false,
            ..self
        }
    }

    /// The entry, with the spaces of an environment that is made for this, and the constructor.
    ///
    /// # Errors
    /// [`EnvError::InvalidArgument`] for a name or a time limit that cannot be, and errors of the
    /// constructor.
    pub(crate) fn into_entry(self) -> Result<(TaskEntry, Arc<Constructor>), EnvError> {
        let name = self.name;
        // The name becomes a part of the names of folders.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(allowed) {
            return Err(EnvError::InvalidArgument(format!(
                "a task cannot be called `{name}`: names consist of letters, digits, `-`, `_` and \
                 `.`, as `Pendulum-v1` does"
            )));
        }
        if self.time_limit == Some(0) {
            return Err(EnvError::InvalidArgument(format!(
                "the time limit of `{name}` must be at least 1 step"
            )));
        }
        let options = TaskOptions::resolve(name, self.options, &Default::default())?;
        let env = (self.construct)(&options)?;
        let actions = env.action_space();
        let entry = TaskEntry {
            name,
            description: self.description,
            observation_dim: env.observation_space().dim(),
            action_dim: actions.dim(),
            action_low: actions.low().iter().fold(f64::INFINITY, |a, b| a.min(*b)) as f32,
            action_high: actions
                .high()
                .iter()
                .fold(f64::NEG_INFINITY, |a, b| a.max(*b)) as f32,
            time_limit: self.time_limit,
            needs_mujoco: false,
            parallel: self.parallel,
            options: self.options,
        };
        Ok((entry, self.construct))
    }
}
