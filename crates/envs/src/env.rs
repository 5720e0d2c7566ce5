//! The two central traits: [`Env`], what an agent acts upon, and [`Task`], what an author of a
//! new environment writes.

use crate::{EnvError, EnvRng, EnvState, Space, StateError, seeded_rng};

/// A named quantity of the last step, for logging: Gymnasium's `info`.
pub type Info = (&'static str, f64);

/// What one step gave. The new observation is read with [`Env::observation`].
///
/// `terminated` and `truncated` are Gymnasium's: *terminated* means that the task itself ended
/// (no future reward, so no bootstrapping), *truncated* that something outside of it, such as a
/// time limit, cut the episode off (the future goes on, so bootstrap). Both may be true, when a
/// task ends in the very step in which its time runs out; *terminated* then decides about
/// bootstrapping.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The reward.
    pub reward: f64,
    /// The task reached an end.
    pub terminated: bool,
    /// The episode was cut off.
    pub truncated: bool,
    /// Warnings of the simulator during the step, such as that it diverged and was reset. If
    /// there are any, nothing is known about where the step led: the episode is truncated, the
    /// reward is 0, and the transition must not be learned from.
    pub warnings: u32,
}

impl Step {
    /// Whether the episode is over, for either reason.
    pub fn done(&self) -> bool {
        self.terminated || self.truncated
    }
}

/// An episode.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Episode {
    /// Sum of the rewards, undiscounted.
    pub total_reward: f64,
    /// Number of steps.
    pub length: u32,
}

/// An environment, in Gymnasium's words and with its semantics.
///
/// ```
/// use rescore_envs::{TaskSettings, make};
/// let mut env = make("Pendulum-v1", &TaskSettings::default())?;
/// env.reset(Some(7))?;
/// let step = env.step(&[0.5])?;
/// assert_eq!(env.observation().len(), env.observation_space().dim());
/// assert!(step.reward <= 0.0 && !step.terminated && !step.truncated);
/// # Ok::<(), rescore_envs::EnvError>(())
/// ```
pub trait Env: Send {
    /// Name of the task, for messages.
    fn name(&self) -> &str;

    /// What observations may be.
    fn observation_space(&self) -> &Space;

    /// What actions may be.
    fn action_space(&self) -> &Space;

    /// Starts an episode; [`Env::observation`] then gives the first observation.
    ///
    /// A seed restarts the environment's random stream. `None` goes on with the stream, which
    /// begins as if seeded with 0: environments never draw from the clock or the system.
    ///
    /// # Errors
    /// Whatever keeps the task from starting; the built-in tasks never fail here.
    fn reset(&mut self, seed: Option<u64>) -> Result<(), EnvError>;

    /// Applies `action` (`[action_dim]`) for one step. Values outside the action space are not
    /// clipped here; each task documents what it does with them.
    ///
    /// # Errors
    /// [`EnvError::ResetNeeded`] before the first `reset` and after the end of an episode,
    /// [`EnvError::ActionLength`], [`EnvError::ActionNotFinite`]. After these errors the
    /// environment is as it was.
    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError>;

    /// The current observation, `[observation_dim]`.
    fn observation(&self) -> &[f64];

    /// Named quantities of the last step, such as the terms of the reward; empty where a task
    /// has none, and meaningless before the first step.
    fn info(&self) -> &[Info] {
        &[]
    }

    /// Which warning the simulator gave in the last step and about which model, in words, where
    /// [`Step::warnings`] counted one; meaningless after a reset.
    fn warning(&self) -> Option<String> {
        None
    }

    /// The complete state, at any moment: an environment that [`Env::restore`]s it goes on to the
    /// bit as this one does, resets included. (Only [`Env::info`] of the last step is not in it.)
    ///
    /// A run saves its environments before each evaluation and in each checkpoint. Where they
    /// cannot be saved it says so at its start and goes on, but not to the bit: when it is resumed,
    /// or an evaluation is interrupted, they begin new episodes with seeds that follow from the
    /// step (see [`save_or_seed`](crate::save_or_seed)).
    ///
    /// # Errors
    /// [`EnvError::StateUnsupported`] where the environment's author has not provided for it. Any
    /// other error ends a run.
    fn save(&self) -> Result<EnvState, EnvError> {
        Err(unsupported(self.name()))
    }

    /// Takes over a state that an environment built in the same way has saved, whatever this one
    /// has done before.
    ///
    /// # Errors
    /// [`EnvError::InvalidState`] if the state is of another form, and
    /// [`EnvError::StateUnsupported`]; after both the environment is as it was.
    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        let _ = state;
        Err(unsupported(self.name()))
    }
}

fn unsupported(task: &str) -> EnvError {
    EnvError::StateUnsupported {
        task: task.to_owned(),
    }
}

impl<E: Env + ?Sized> Env for Box<E> {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn observation_space(&self) -> &Space {
        (**self).observation_space()
    }
    fn action_space(&self) -> &Space {
        (**self).action_space()
    }
    fn reset(&mut self, seed: Option<u64>) -> Result<(), EnvError> {
        (**self).reset(seed)
    }
    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        (**self).step(action)
    }
    fn observation(&self) -> &[f64] {
        (**self).observation()
    }
    fn info(&self) -> &[Info] {
        (**self).info()
    }
    fn warning(&self) -> Option<String> {
        (**self).warning()
    }
    fn save(&self) -> Result<EnvState, EnvError> {
        (**self).save()
    }
    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        (**self).restore(state)
    }
}

/// What one step of a [`Task`] gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The reward.
    pub reward: f64,
    /// The task reached an end.
    pub terminated: bool,
}

/// The dynamics of a task, without the bookkeeping of episodes.
///
/// Implement this for an environment of your own and wrap it in [`TaskEnv`], which checks actions,
/// refuses to step a finished episode and keeps the random stream. A task itself may be stepped
/// past its end; time limits are none of its business.
pub trait Task: Send {
    /// Name of the task, for messages.
    fn name(&self) -> &str;

    /// What observations may be.
    fn observation_space(&self) -> &Space;

    /// What actions may be.
    fn action_space(&self) -> &Space;

    /// Draws a first state from `rng`, the only source of randomness a task has.
    ///
    /// # Errors
    /// Whatever keeps the task from starting.
    fn reset(&mut self, rng: &mut EnvRng) -> Result<(), EnvError>;

    /// Applies `action` (`[action_dim]`, finite).
    ///
    /// # Errors
    /// [`EnvError::ActionLength`], or whatever keeps the task from going on.
    fn step(&mut self, action: &[f32]) -> Result<Outcome, EnvError>;

    /// The current observation, `[observation_dim]`.
    fn observation(&self) -> &[f64];

    /// As [`Env::info`].
    fn info(&self) -> &[Info] {
        &[]
    }

    /// Number of warnings that a simulator gave during the last step; see [`Step::warnings`].
    fn warnings(&self) -> u32 {
        0
    }

    /// As [`Env::warning`].
    fn warning(&self) -> Option<String> {
        None
    }

    /// Adds everything to `state` that [`Task::step`] and [`Task::observation`] depend on and
    /// that changes from step to step. Names, kinds and lengths of the arrays must always be the
    /// same. ([`TaskEnv`] saves the random stream and whether an episode is under way.)
    ///
    /// # Errors
    /// [`EnvError::StateUnsupported`], unless implemented. A run in such a task can be resumed, but
    /// not to the bit; see [`Env::save`].
    fn save(&self, state: &mut EnvState) -> Result<(), EnvError> {
        let _ = state;
        Err(unsupported(self.name()))
    }

    /// Takes over what [`Task::save`] has added. [`TaskEnv`] has made sure that the arrays are
    /// those that `save` adds.
    ///
    /// # Errors
    /// [`EnvError::InvalidState`], leaving the task as it was, if `state` holds what it cannot
    /// hold; [`EnvError::StateUnsupported`], unless implemented.
    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        let _ = state;
        Err(unsupported(self.name()))
    }
}

/// Makes an [`Env`] of a [`Task`].
#[derive(Debug, Clone)]
pub struct TaskEnv<T> {
    task: T,
    rng: EnvRng,
    running: bool,
}

impl<T: Task> TaskEnv<T> {
    /// Wraps `task`; `reset` must come before the first `step`.
    pub fn new(task: T) -> Self {
        Self {
            task,
            rng: seeded_rng(0),
            running: false,
        }
    }

    /// The task inside.
    pub fn task(&self) -> &T {
        &self.task
    }
}

impl<T: Task> Env for TaskEnv<T> {
    fn name(&self) -> &str {
        self.task.name()
    }

    fn observation_space(&self) -> &Space {
        self.task.observation_space()
    }

    fn action_space(&self) -> &Space {
        self.task.action_space()
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<(), EnvError> {
        if let Some(seed) = seed {
            self.rng = seeded_rng(seed);
        }
        self.running = false;
        self.task.reset(&mut self.rng)?;
        self.running = true;
        Ok(())
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        if !self.running {
            return Err(EnvError::ResetNeeded {
                task: self.name().to_owned(),
            });
        }
        check_actions(self.name(), action, self.action_space().dim())?;
        let Outcome { reward, terminated } = self.task.step(action)?;
        let warnings = self.task.warnings();
        let step = if warnings == 0 {
            Step {
                reward,
                terminated,
                truncated: false,
                warnings,
            }
        } else {
            Step {
                reward: 0.0,
                terminated: false,
                truncated: true,
                warnings,
            }
        };
        self.running = !step.done();
        Ok(step)
    }

    fn observation(&self) -> &[f64] {
        self.task.observation()
    }

    fn info(&self) -> &[Info] {
        self.task.info()
    }

    fn warning(&self) -> Option<String> {
        self.task.warning()
    }

    fn save(&self) -> Result<EnvState, EnvError> {
        let mut task = EnvState::new();
        self.task.save(&mut task)?;
        let mut state = EnvState::new();
        state.put_format();
        state.put_bytes("name", self.name().as_bytes());
        state.put_u64("rng", &self.rng.position());
        state.put_u64("running", &[u64::from(self.running)]);
        state.put_state("task", task);
        Ok(state)
    }

    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        state.check_format()?;
        let name = state.bytes("name")?;
        if name != self.name().as_bytes() {
            return Err(EnvError::InvalidState(StateError::Task {
                expected: self.name().to_owned(),
                found: String::from_utf8_lossy(name).into_owned(),
            }));
        }
        state.check_form(&self.save()?)?;
        let running = state.flag("running")?;
        let [seed, drawn] = [0, 1].map(|i| state.u64("rng", 2).map(|rng| rng[i]));
        let rng = EnvRng::at(seed?, drawn?);
        self.task.restore(&state.state("task"))?;
        self.rng = rng;
        self.running = running;
        Ok(())
    }
}

/// Refuses actions of the wrong length and such that hold NaN or an infinity.
pub(crate) fn check_actions(task: &str, actions: &[f32], expected: usize) -> Result<(), EnvError> {
    check_action_length(task, actions, expected)?;
    match actions.iter().position(|a| !a.is_finite()) {
        None => Ok(()),
        Some(index) => Err(EnvError::ActionNotFinite {
            task: task.to_owned(),
            index,
            value: actions[index],
        }),
    }
}

/// Refuses actions of the wrong length.
pub(crate) fn check_action_length(
    task: &str,
    actions: &[f32],
    expected: usize,
) -> Result<(), EnvError> {
    if actions.len() == expected {
        Ok(())
    } else {
        Err(EnvError::ActionLength {
            task: task.to_owned(),
            expected,
            got: actions.len(),
        })
    }
}
