//! Evaluation: a policy in environments of its own, by episodes that can be played again.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use rayon::prelude::*;
use rescore_agents::Agent;
use rescore_envs::{
    Env, EnvError, TaskSettings, Throttle, WarningStreak, derive_seed, diverged, make,
};
use rescore_kernels::{NoiseKey, RescoreBackend, upload};

use crate::RunError;
use crate::config::MAX_STEPS;
use crate::interrupt::Interrupt;
use crate::normalize::ObservationNormalizer;

/// Environments played at the same time; more episodes are played in turns.
const PARALLEL: usize = 64;

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
/// Every episode begins with a seed that follows from the seed of the evaluator, the step of the
/// evaluation and the number of the episode. So an evaluation needs nothing that was before it: it
/// can be repeated from a checkpoint, and nothing of it is stored. Nothing in here touches the
/// randomness of training.
pub struct Evaluator {
    slots: Vec<Slot>,
    observation_dim: usize,
    action_dim: usize,
    episodes: usize,
    max_steps: u32,
    normalizer: Option<ObservationNormalizer>,
    stochastic: bool,
    best_of: usize,
    seed: u64,
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
    /// Environments of the task `name` for evaluations of `episodes` episodes.
    ///
    /// # Errors
    /// When the task cannot be made.
    pub fn new(
        name: &str,
        settings: &TaskSettings,
        episodes: usize,
        seed: u64,
    ) -> Result<Self, EnvError> {
        Self::with(|| make(name, settings), episodes, seed)
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
        let slots = (0..episodes.min(PARALLEL))
            .map(|_| {
                Ok(Slot {
                    env: make()?,
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
            stochastic: false,
            best_of: 0,
            seed: NoiseKey::new(seed, "evaluation").seed(),
            slots,
            observation_dim,
            action_dim,
            episodes,
            normalizer: None,
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

    /// Normalises the observations that the agent acts on as training does, from now on.
    pub fn set_normalizer(&mut self, normalizer: Option<ObservationNormalizer>) {
        self.normalizer = normalizer;
    }

    /// Whether the agent acts as in training, with exploration, instead of deterministically.
    pub fn set_stochastic(&mut self, stochastic: bool) {
        self.stochastic = stochastic;
    }

    /// Of how many samples of the policy the critics choose, from now on; 0 leaves it to the agent.
    pub fn set_best_of(&mut self, best_of: usize) {
        self.best_of = best_of;
    }

    /// Plays the episodes of the evaluation at `step` with the actions of `agent`: those that it
    /// calls deterministic, clipped to [-1, 1], unless [`Evaluator::set_stochastic`] says otherwise.
    /// Gives nothing when `interrupt` is set meanwhile.
    ///
    /// # Errors
    /// When an environment fails, which it does on an action that is not finite, or when its
    /// simulator diverges in the first step of one episode after the other (see
    /// [`WarningStreak`]).
    pub fn run<B: RescoreBackend>(
        &mut self,
        agent: &dyn Agent<B>,
        device: &B::Device,
        step: u64,
        interrupt: &Interrupt,
    ) -> Result<Option<Evaluation>, RunError> {
        let seed = derive_seed(self.seed, step as usize);
        let mut evaluation = Evaluation::default();
        // Of the calls of the agent; it wraps after 2^32 of them.
        let mut counter = 0;
        while evaluation.returns.len() < self.episodes {
            let played = evaluation.returns.len();
            let count = (self.episodes - played).min(self.slots.len());
            for (index, slot) in self.slots[..count].iter_mut().enumerate() {
                slot.begin(Some(derive_seed(seed, played + index)))?;
            }
            if !self.play(count, agent, device, &mut counter, interrupt)? {
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
                "evaluation episodes of `{}` are cut off after {} steps (evaluation.max_steps)",
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

    /// Plays the episodes that the first `count` environments have begun; whether to the end.
    fn play<B: RescoreBackend>(
        &mut self,
        count: usize,
        agent: &dyn Agent<B>,
        device: &B::Device,
        counter: &mut u32,
        interrupt: &Interrupt,
    ) -> Result<bool, RunError> {
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
            if let Some(normalizer) = &self.normalizer {
                normalizer.apply(&mut observations);
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
            let observations = upload(observations, shape, device);
            let actions = to_vec(if self.stochastic {
                agent.act(observations, *counter)
            } else {
                play(agent, observations, self.best_of)?
            });
            *counter = counter.wrapping_add(1);
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
    /// Begins an episode: with a seed, or going on with the random stream.
    fn begin(&mut self, seed: Option<u64>) -> Result<(), EnvError> {
        self.env.reset(seed)?;
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
                return self.begin(None);
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

/// The actions that evaluation plays, in [-1, 1]: what the agent calls deterministic, or of `best_of`
/// samples of its policy, where that is not 0, the one that its critics value most.
///
/// # Errors
/// When the agent has no samples to choose from.
pub fn play<B: RescoreBackend>(
    agent: &dyn Agent<B>,
    observations: Tensor<B, 2>,
    best_of: usize,
) -> Result<Tensor<B, 2>, RunError> {
    let actions = match best_of {
        0 => Some(agent.act_deterministic(observations)),
        count => agent.act_best_of(observations, count),
    };
    let actions = actions.ok_or_else(|| {
        RunError::usage(
            format!(
                "`evaluation.best_of` is {best_of}, but the policy has no samples to choose from"
            ),
            "`evaluation.best_of = 0` plays the action that the algorithm calls deterministic",
        )
    })?;
    Ok(actions.clamp(-1.0, 1.0))
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
