//! Several environments stepped together.

mod round;
mod state;

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::round::Round;
use crate::env::check_actions;
use crate::rng::derive_seed;
use crate::{Env, EnvError, Episode, Info, TaskSettings, WarningStreak, diverged, find, make};

/// What one step of all environments gave; `n` is their number. Buffers are reused from step to
/// step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VecStep {
    /// Rewards, `[n]`.
    pub rewards: Vec<f32>,
    /// Whether the task ended, `[n]`: the only flag that stops bootstrapping. See
    /// [`Step`](crate::Step) for its relation to `truncated`; both may be true.
    pub terminated: Vec<bool>,
    /// Whether the episode was cut off, `[n]`.
    pub truncated: Vec<bool>,
    /// Observations the step led to, row-major `[n, observation_dim]`. Where an episode ended this
    /// is its final observation, never that of the reset which follows.
    pub next_observations: Vec<f32>,
    /// Warnings of the simulator, `[n]`. A transition that has any must not be learned from; see
    /// [`Step::warnings`](crate::Step::warnings).
    pub warnings: Vec<u32>,
    /// The episodes that ended in this step, `[n]`.
    pub finished: Vec<Option<Episode>>,
    /// [`Env::info`](crate::Env::info) of this step, `[n]`; never that after a reset.
    pub info: Vec<Vec<Info>>,
}

impl VecStep {
    /// For `count` environments before their first step.
    fn new(count: usize, observation_dim: usize) -> Self {
        Self {
            rewards: vec![0.0; count],
            terminated: vec![false; count],
            truncated: vec![false; count],
            next_observations: vec![0.0; count * observation_dim],
            warnings: vec![0; count],
            finished: vec![None; count],
            info: (0..count).map(|_| room_for_info()).collect(),
        }
    }

    fn clear(&mut self) {
        let count = self.rewards.len();
        *self = Self::new(count, self.next_observations.len() / count);
    }
}

/// `n` environments of one task, stepped together and reset by themselves.
///
/// Each environment has its own random stream, derived from one seed, and the results do not
/// depend on the number of threads. Environments run on the rayon pool in which `step` is called
/// (the global pool unless inside of [`rayon::ThreadPool::install`]); tasks so cheap that handing
/// them to threads costs more than it gains are stepped in turn. Step within a thread of the pool
/// (`rayon::scope(|_| ...)` around the whole loop): from outside, each step puts the calling thread
/// to sleep and wakes it up again, which costs up to a tenth.
pub struct VecEnv {
    /// Locked by whichever thread steps the environment, never by two at once.
    slots: Vec<Mutex<Slot>>,
    round: Round,
    observation_dim: usize,
    action_dim: usize,
    parallel: bool,
    observations: Vec<f32>,
    step: VecStep,
    /// Of the last [`VecEnv::reseed`].
    seed: u64,
    /// Steps of each environment since.
    steps: u64,
    /// Whether some environment warned in the last step.
    warned: bool,
}

/// One environment with what its worker leaves for the gathering thread.
struct Slot {
    env: Box<dyn Env>,
    running: Episode,
    result: Result<(), EnvError>,
    reward: f64,
    terminated: bool,
    truncated: bool,
    warnings: u32,
    /// Which they are.
    warning: Option<String>,
    streak: WarningStreak,
    next_observation: Vec<f32>,
    observation: Vec<f32>,
    finished: Option<Episode>,
    info: Vec<Info>,
}

impl VecEnv {
    /// `count` environments of the registered task `name` with default settings: actions in
    /// `[-1, 1]` and the task's time limit.
    ///
    /// # Errors
    /// As [`VecEnv::with_settings`].
    pub fn new(name: &str, count: usize, seed: u64) -> Result<Self, EnvError> {
        Self::with_settings(name, &TaskSettings::default(), count, seed)
    }

    /// `count` environments of the registered task `name`.
    ///
    /// # Errors
    /// As [`make`] and [`VecEnv::from_envs`].
    pub fn with_settings(
        name: &str,
        settings: &TaskSettings,
        count: usize,
        seed: u64,
    ) -> Result<Self, EnvError> {
        let envs = (0..count)
            .map(|_| make(name, settings))
            .collect::<Result<Vec<_>, _>>()?;
        let mut this = Self::from_envs(envs, seed)?;
        this.parallel = find(name)?.parallel;
        Ok(this)
    }

    /// Any environments with equal observation and action dimensions, stepped in parallel.
    ///
    /// # Errors
    /// [`EnvError::InvalidArgument`] if there are none or their dimensions differ,
    /// [`EnvError::InVector`] if one of them cannot be reset.
    pub fn from_envs(envs: Vec<Box<dyn Env>>, seed: u64) -> Result<Self, EnvError> {
        let dims = |env: &dyn Env| (env.observation_space().dim(), env.action_space().dim());
        let Some((observation_dim, action_dim)) = envs.first().map(|e| dims(e)) else {
            return Err(EnvError::InvalidArgument(
                "a vector environment needs at least one environment".to_owned(),
            ));
        };
        if let Some(index) = envs
            .iter()
            .position(|e| dims(e) != (observation_dim, action_dim))
        {
            let other = dims(&*envs[index]);
            return Err(EnvError::InvalidArgument(format!(
                "environment {index} (`{}`) has other observation or action dimensions than \
                 environment 0 (`{}`): {} and {} instead of {observation_dim} and {action_dim}",
                envs[index].name(),
                envs[0].name(),
                other.0,
                other.1,
            )));
        }
        let count = envs.len();
        let slots = envs
            .into_iter()
            .map(|env| {
                Mutex::new(Slot {
                    env,
                    running: Episode::default(),
                    result: Ok(()),
                    reward: 0.0,
                    terminated: false,
                    truncated: false,
                    warnings: 0,
                    warning: None,
                    streak: WarningStreak::default(),
                    next_observation: vec![0.0; observation_dim],
                    observation: vec![0.0; observation_dim],
                    finished: None,
                    info: room_for_info(),
                })
            })
            .collect();
        let mut this = Self {
            slots,
            round: Round::default(),
            observation_dim,
            action_dim,
            parallel: true,
            observations: vec![0.0; count * observation_dim],
            step: VecStep::new(count, observation_dim),
            seed,
            steps: 0,
            warned: false,
        };
        this.reseed(seed)?;
        Ok(this)
    }

    /// Whether to step the environments on the thread pool or one after the other. The results
    /// are the same.
    pub fn set_parallel(&mut self, parallel: bool) {
        self.parallel = parallel;
    }

    /// Number of environments.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Number of values in one observation.
    pub fn observation_dim(&self) -> usize {
        self.observation_dim
    }

    /// Number of values in one action.
    pub fn action_dim(&self) -> usize {
        self.action_dim
    }

    /// The observations to act on, row-major `[n, observation_dim]`: where an episode has ended,
    /// that of the new episode.
    pub fn observations(&self) -> &[f32] {
        &self.observations
    }

    /// What the last [`VecEnv::step`] gave; zeros before the first.
    pub fn last_step(&self) -> &VecStep {
        &self.step
    }

    /// The environments, in order.
    pub fn envs(&self) -> impl ExactSizeIterator<Item = impl Deref<Target = dyn Env>> {
        self.slots.iter().map(|slot| EnvRef(lock(slot)))
    }

    /// Starts every environment anew as if just constructed with `seed`.
    ///
    /// # Errors
    /// [`EnvError::InVector`] if an environment cannot be reset.
    pub fn reseed(&mut self, seed: u64) -> Result<&[f32], EnvError> {
        (self.seed, self.steps) = (seed, 0);
        self.reset_all(|index| Some(derive_seed(seed, index)))
    }

    /// Starts new episodes everywhere, dropping those under way; random streams go on.
    ///
    /// # Errors
    /// [`EnvError::InVector`] if an environment cannot be reset.
    pub fn reset(&mut self) -> Result<&[f32], EnvError> {
        self.reset_all(|_| None)
    }

    fn reset_all(&mut self, seed: impl Fn(usize) -> Option<u64>) -> Result<&[f32], EnvError> {
        let rows = self.observations.chunks_exact_mut(self.observation_dim);
        for (index, (slot, row)) in self.slots.iter_mut().zip(rows).enumerate() {
            let slot = get_mut(slot);
            slot.env
                .reset(seed(index))
                .map_err(|e| in_vector(index, e))?;
            slot.running = Episode::default();
            write_row(row, &*slot.env).map_err(|e| in_vector(index, e))?;
        }
        Ok(&self.observations)
    }

    /// Steps every environment with its row of `actions` (row-major `[n, action_dim]`, unclipped;
    /// in units of `[-1, 1]` unless the environments were built otherwise) and resets those whose
    /// episode ended.
    ///
    /// # Errors
    /// [`EnvError::ActionLength`] or [`EnvError::ActionNotFinite`]: nothing was stepped.
    /// [`EnvError::InVector`] if an environment fails, or diverges in one step after the other
    /// (see [`WarningStreak`]); the other environments have then been stepped, so start over with
    /// [`VecEnv::reset`] or give up.
    pub fn step(&mut self, actions: &[f32]) -> Result<&VecStep, EnvError> {
        let dim = self.action_dim;
        let expected = self.count() * dim;
        check_actions(get_mut(&mut self.slots[0]).env.name(), actions, expected)?;
        let began = self.warned.then(Instant::now);
        if self.parallel {
            let slots = &self.slots;
            self.round.run(slots.len(), |index| {
                lock(&slots[index]).step(&actions[index * dim..][..dim]);
            });
        } else {
            for (slot, action) in self.slots.iter_mut().zip(actions.chunks_exact(dim)) {
                get_mut(slot).step(action);
            }
        }
        self.steps += 1;
        self.gather(began.map_or(Duration::ZERO, |began| began.elapsed()))
    }

    /// Copies what the workers left in their slots into the arrays of [`VecStep`]. The step took
    /// the time `took`, which counts where environments had warned before.
    fn gather(&mut self, took: Duration) -> Result<&VecStep, EnvError> {
        self.warned = false;
        let dim = self.observation_dim;
        let next_rows = self.step.next_observations.chunks_exact_mut(dim);
        let rows = self.observations.chunks_exact_mut(dim).zip(next_rows);
        for (index, (slot, (row, next_row))) in self.slots.iter_mut().zip(rows).enumerate() {
            let slot = get_mut(slot);
            std::mem::replace(&mut slot.result, Ok(())).map_err(|e| in_vector(index, e))?;
            self.step.rewards[index] = slot.reward as f32;
            self.step.terminated[index] = slot.terminated;
            self.step.truncated[index] = slot.truncated;
            self.step.warnings[index] = slot.warnings;
            self.step.finished[index] = slot.finished;
            self.step.info[index].clone_from(&slot.info);
            if slot.warnings > 0 {
                self.warned = true;
                let warning = slot.warning.take();
                let added = slot.streak.add(1, took);
                added.map_err(|steps| in_vector(index, diverged(&*slot.env, steps, warning)))?;
            } else {
                slot.streak.end();
            }
            next_row.copy_from_slice(&slot.next_observation);
            row.copy_from_slice(&slot.observation);
        }
        Ok(&self.step)
    }
}

impl Slot {
    /// Steps the environment, resets it if its episode ended, and leaves here what came of it.
    fn step(&mut self, action: &[f32]) {
        self.result = self.try_step(action);
    }

    fn try_step(&mut self, action: &[f32]) -> Result<(), EnvError> {
        let step = self.env.step(action)?;
        self.reward = step.reward;
        self.terminated = step.terminated;
        self.truncated = step.truncated;
        self.warnings = step.warnings;
        if step.warnings > 0 {
            // The reset below forgets it.
            self.warning = self.env.warning();
        }
        self.running.total_reward += step.reward;
        self.running.length += 1;
        write_row(&mut self.next_observation, &*self.env)?;
        self.info.clear();
        self.info.extend_from_slice(self.env.info());
        self.finished = step.done().then_some(self.running);
        if step.done() {
            self.running = Episode::default();
            self.env.reset(None)?;
        }
        write_row(&mut self.observation, &*self.env)
    }
}

/// Steps of the tasks here, which give fewer quantities, then allocate nothing.
fn room_for_info() -> Vec<Info> {
    Vec::with_capacity(16)
}

/// An environment that nobody else can step meanwhile.
struct EnvRef<'a>(MutexGuard<'a, Slot>);

impl Deref for EnvRef<'_> {
    type Target = dyn Env;

    fn deref(&self) -> &Self::Target {
        &*self.0.env
    }
}

/// After a panic of an environment, which the caller of [`VecEnv::step`] has seen, the lock tells
/// nothing more.
fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`lock`], where nobody else can hold it.
fn get_mut(slot: &mut Mutex<Slot>) -> &mut Slot {
    slot.get_mut().unwrap_or_else(PoisonError::into_inner)
}

fn write_row(row: &mut [f32], env: &dyn Env) -> Result<(), EnvError> {
    let observation = env.observation();
    if observation.len() != row.len() {
        return Err(EnvError::ObservationLength {
            task: env.name().to_owned(),
            expected: row.len(),
            got: observation.len(),
        });
    }
    for (to, from) in row.iter_mut().zip(observation) {
        *to = *from as f32;
    }
    Ok(())
}

fn in_vector(index: usize, source: EnvError) -> EnvError {
    EnvError::InVector {
        index,
        source: Box::new(source),
    }
}
