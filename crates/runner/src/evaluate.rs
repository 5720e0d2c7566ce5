//! Evaluation: the deterministic policy in environments of its own.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use rescore_agents::Agent;
use rescore_envs::{
    Env, EnvError, EnvState, RunningStatistics, TaskSettings, Throttle, WarningStreak, derive_seed,
    diverged, make, restore_or_reset, save_or_seed,
};
use rescore_kernels::{NoiseKey, RescoreBackend};

use crate::RunError;
use crate::interrupt::Interrupt;

/// Environments played at the same time; more episodes are played in turns.
const PARALLEL: usize = 64;

/// Steps of an evaluation episode at most, unless [`Evaluator::set_max_steps`] says otherwise.
pub const MAX_STEPS: u32 = 10_000;

/// Warnings about evaluations, of which each one may give the same.
static REPEATED: LazyLock<Throttle> = LazyLock::new(Throttle::default);

/// The episodes of one evaluation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    /// Undiscounted sum of raw rewards of each episode.
    pub returns: Vec<f64>,
    /// Steps of each episode.
    pub lengths: Vec<u32>,
    /// Whether each episode was cut off: by a time limit, by a warning of the simulator, or because
    /// it had as many steps as an evaluation episode can have.
    pub truncated: Vec<bool>,
}

impl Evaluation {
    /// Mean return.
    pub fn mean(&self) -> f64 {
        self.returns.iter().sum::<f64>() / self.returns.len() as f64
    }

    /// Population standard deviation of the returns.
    pub fn std(&self) -> f64 {
        let mean = self.mean();
        let squares: f64 = self.returns.iter().map(|r| (r - mean).powi(2)).sum();
        (squares / self.returns.len() as f64).sqrt()
    }
}

/// Environments for evaluation.
///
/// They are seeded once, from the stream "evaluation" of the run's seed, and their random streams
/// go on from evaluation to evaluation; nothing in here touches the randomness of training.
pub struct Evaluator {
    slots: Vec<Slot>,
    observation_dim: usize,
    action_dim: usize,
    episodes: usize,
    max_steps: u32,
    statistics: Option<RunningStatistics>,
    /// Of the environments, or of those that last began anew after a state was restored.
    seed: u64,
    /// Evaluations since.
    evaluations: usize,
}

struct Slot {
    env: Box<dyn Env>,
    total_reward: f64,
    length: u32,
    done: bool,
    truncated: bool,
    /// Whether it had as many steps as it can have.
    capped: bool,
    /// The last warning of the simulator, where one ended the episode.
    warning: Option<String>,
    streak: WarningStreak,
}

impl Evaluator {
    /// Environments of the task `name` for evaluations of `episodes` episodes. Where `settings`
    /// ask for normalised observations, [`Evaluator::set_statistics`] says by what.
    ///
    /// # Errors
    /// When the task cannot be made.
    pub fn new(
        name: &str,
        settings: &TaskSettings,
        episodes: usize,
        seed: u64,
    ) -> Result<Self, EnvError> {
        let raw = TaskSettings {
            normalize_observation: false,
            ..settings.clone()
        };
        Self::with(|| make(name, &raw), episodes, seed)
    }

    /// Any environments, which `make` gives, for evaluations of `episodes` episodes.
    ///
    /// # Errors
    /// When one of them cannot be made or has other dimensions than the first.
    pub fn with(
        mut make: impl FnMut() -> Result<Box<dyn Env>, EnvError>,
        episodes: usize,
        seed: u64,
    ) -> Result<Self, EnvError> {
        let base = NoiseKey::new(seed, "evaluation").seed();
        let slots = (0..episodes.min(PARALLEL))
            .map(|index| {
                let mut env = make()?;
                env.reset(Some(derive_seed(base, index)))?;
                Ok(Slot {
                    env,
                    total_reward: 0.0,
                    length: 0,
                    done: false,
                    truncated: false,
                    capped: false,
                    warning: None,
                    streak: WarningStreak::default(),
                })
            })
            .collect::<Result<Vec<Slot>, EnvError>>()?;
        let dims = |slot: &Slot| {
            let (observation, action) = (slot.env.observation_space(), slot.env.action_space());
            (observation.dim(), action.dim())
        };
        let (observation_dim, action_dim) = slots.first().map_or((0, 0), dims);
        if let Some(other) = (slots.iter()).find(|slot| dims(slot) != (observation_dim, action_dim))
        {
            let found = dims(other);
            return Err(EnvError::InvalidArgument(format!(
                "an evaluation environment (`{}`) has {} observation and {} action dimensions, \
                 but the first has {observation_dim} and {action_dim}",
                other.env.name(),
                found.0,
                found.1
            )));
        }
        Ok(Self {
            max_steps: MAX_STEPS,
            seed: base,
            evaluations: 0,
            slots,
            observation_dim,
            action_dim,
            episodes,
            statistics: None,
        })
    }

    /// Lengths of an observation and of an action.
    pub fn dims(&self) -> (usize, usize) {
        (self.observation_dim, self.action_dim)
    }

    /// Cuts an episode off when it has so many steps (at least 1), whatever the task says.
    pub fn set_max_steps(&mut self, max_steps: u64) {
        self.max_steps = u32::try_from(max_steps.max(1)).unwrap_or(u32::MAX);
    }

    /// Normalises observations by these statistics from now on: those of the training.
    pub fn set_statistics(&mut self, statistics: Option<&RunningStatistics>) {
        self.statistics = statistics.cloned();
    }

    /// Plays the episodes with the actions that `agent` calls deterministic, clipped to [-1, 1].
    /// Gives nothing when `interrupt` is set meanwhile; everything is then as it was before, so
    /// that the evaluation can be made later.
    ///
    /// # Errors
    /// When an environment fails, which it does on an action that is not finite, or when its
    /// simulator diverges in the first step of one episode after the other (see
    /// [`WarningStreak`]).
    pub fn run<B: RescoreBackend>(
        &mut self,
        agent: &dyn Agent<B>,
        device: &B::Device,
        interrupt: &Interrupt,
    ) -> Result<Option<Evaluation>, RunError> {
        let before = self.state()?;
        let evaluation = self.try_run(agent, device, interrupt)?;
        if evaluation.is_none() {
            self.restore(&before)?;
        }
        self.evaluations += usize::from(evaluation.is_some());
        Ok(evaluation)
    }

    /// The complete state of all environments; of those that cannot save it, seeds with which they
    /// begin anew.
    ///
    /// # Errors
    /// When saving a task fails in another way.
    pub fn state(&self) -> Result<EnvState, EnvError> {
        let mut state = EnvState::new();
        for (index, slot) in self.slots.iter().enumerate() {
            let saved = save_or_seed(&*slot.env, self.new_seed(index))?;
            state.put_state(&format!("env.{index}"), saved);
        }
        Ok(state)
    }

    /// Takes over a state of an evaluator that was made in the same way.
    ///
    /// # Errors
    /// When it is of another form. Some environments may have taken over theirs then.
    pub fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        state.check_form(&self.state()?)?;
        let mut begun_anew = None;
        for index in 0..self.slots.len() {
            let (seed, saved) = (self.new_seed(index), state.state(&format!("env.{index}")));
            let env = &mut *self.slots[index].env;
            begun_anew = restore_or_reset(env, &saved, seed)?.or(begun_anew);
        }
        if let Some(seed) = begun_anew {
            (self.seed, self.evaluations) = (seed, 0);
        }
        Ok(())
    }

    /// For environment `index`, where it has to begin anew at this moment.
    fn new_seed(&self, index: usize) -> u64 {
        derive_seed(derive_seed(self.seed, index), self.evaluations)
    }

    fn try_run<B: RescoreBackend>(
        &mut self,
        agent: &dyn Agent<B>,
        device: &B::Device,
        interrupt: &Interrupt,
    ) -> Result<Option<Evaluation>, RunError> {
        let mut evaluation = Evaluation::default();
        while evaluation.returns.len() < self.episodes {
            let count = (self.episodes - evaluation.returns.len()).min(self.slots.len());
            if !self.play(count, agent, device, interrupt)? {
                return Ok(None);
            }
            for slot in &self.slots[..count] {
                evaluation.returns.push(slot.total_reward);
                evaluation.lengths.push(slot.length);
                evaluation.truncated.push(slot.truncated);
            }
        }
        Ok(Some(evaluation))
    }

    /// Says so where episodes have not ended as the task has them end.
    fn report(&self, count: usize) {
        let slots = &self.slots[..count];
        let repeated = |text: String| {
            if let Some(text) = REPEATED.admit(&text, Instant::now()) {
                tracing::warn!("{text}");
            }
        };
        if let Some(slot) = slots.iter().find(|slot| slot.capped) {
            repeated(format!(
                "evaluation episodes of `{}` are cut off after {} steps (training.eval_max_steps)",
                slot.env.name(),
                self.max_steps
            ));
        }
        let warned = slots.iter().filter_map(|slot| slot.warning.as_ref());
        if let Some(warning) = warned.clone().next() {
            repeated(format!(
                "{} of {count} evaluation episodes ended with a warning of the simulator, {warning}",
                warned.count()
            ));
        }
    }

    /// Plays one episode in each of the first `count` environments; whether to the end.
    fn play<B: RescoreBackend>(
        &mut self,
        count: usize,
        agent: &dyn Agent<B>,
        device: &B::Device,
        interrupt: &Interrupt,
    ) -> Result<bool, RunError> {
        for slot in &mut self.slots[..count] {
            slot.begin()?;
        }
        let mut took = Duration::ZERO;
        loop {
            let mut active: Vec<_> = self.slots[..count].iter_mut().filter(|s| !s.done).collect();
            if interrupt.requested() && !active.is_empty() {
                return Ok(false);
            }
            if active.is_empty() {
                self.report(count);
                return Ok(true);
            }
            let mut observations: Vec<f32> = active
                .iter()
                .flat_map(|slot| slot.env.observation().iter().map(|x| *x as f32))
                .collect();
            if let Some(statistics) = &self.statistics {
                for row in observations.chunks_exact_mut(self.observation_dim) {
                    statistics.normalize_row(row);
                }
            }
            let shape = [active.len(), self.observation_dim];
            if let Some(slot) =
                (active.iter()).find(|slot| slot.env.observation().len() != self.observation_dim)
            {
                return Err(RunError::Env(EnvError::ObservationLength {
                    task: slot.env.name().to_owned(),
                    expected: self.observation_dim,
                    got: slot.env.observation().len(),
                }));
            }
            let observations = Tensor::from_data(TensorData::new(observations, shape), device);
            let actions = to_vec(agent.act_deterministic(observations).clamp(-1.0, 1.0));
            let began = Instant::now();
            active
                .par_iter_mut()
                .zip(actions.par_chunks_exact(self.action_dim))
                .try_for_each(|(slot, action)| slot.step(action, self.max_steps, took))?;
            took = began.elapsed();
        }
    }
}

impl Slot {
    fn begin(&mut self) -> Result<(), EnvError> {
        self.env.reset(None)?;
        (self.total_reward, self.length, self.done) = (0.0, 0, false);
        (self.truncated, self.capped, self.warning) = (false, false, None);
        Ok(())
    }

    /// Makes a step of at most `max_steps`. The step of all environments before it took the time
    /// `took`.
    fn step(&mut self, action: &[f32], max_steps: u32, took: Duration) -> Result<(), EnvError> {
        let step = self.env.step(action)?;
        if step.warnings == 0 {
            self.streak.end();
        } else {
            self.warning = self.env.warning();
            let added = self.streak.add(1, took);
            added.map_err(|steps| diverged(&*self.env, steps, self.warning.take()))?;
            if self.length == 0 {
                // Nothing was played.
                return self.begin();
            }
        }
        self.total_reward += step.reward;
        self.length += 1;
        self.capped = self.length >= max_steps && !step.done();
        self.truncated = step.truncated || self.capped;
        self.done = step.done() || self.capped;
        Ok(())
    }
}

/// The values of a tensor in row-major order as `f32`, whatever the backend computes in.
pub fn to_vec<B: RescoreBackend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_deviation_is_that_of_the_population() {
        let evaluation = Evaluation {
            returns: vec![1.0, 3.0],
            lengths: vec![1, 1],
            truncated: vec![false, false],
        };
        assert_eq!((evaluation.mean(), evaluation.std()), (2.0, 1.0));
    }
}
