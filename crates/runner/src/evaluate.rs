//! Evaluation: the deterministic policy in environments of its own.

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use rescore_agents::Agent;
use rescore_envs::{Env, EnvError, EnvState, RunningStatistics, TaskSettings, derive_seed, make};
use rescore_kernels::{NoiseKey, RescoreBackend};

use crate::RunError;
use crate::interrupt::Interrupt;

/// Environments played at the same time; more episodes are played in turns.
pub const PARALLEL: usize = 64;

/// The episodes of one evaluation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    /// Undiscounted sum of raw rewards of each episode.
    pub returns: Vec<f64>,
    /// Steps of each episode.
    pub lengths: Vec<u32>,
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
    /// From which the environments' seeds are derived.
    seed: u64,
    statistics: Option<RunningStatistics>,
}

struct Slot {
    env: Box<dyn Env>,
    total_reward: f64,
    length: u32,
    done: bool,
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
    /// When one of them cannot be made.
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
                })
            })
            .collect::<Result<Vec<_>, EnvError>>()?;
        let dims = |slot: &Slot| {
            let (observation, action) = (slot.env.observation_space(), slot.env.action_space());
            (observation.dim(), action.dim())
        };
        let (observation_dim, action_dim) = slots.first().map_or((0, 0), dims);
        Ok(Self {
            slots,
            observation_dim,
            action_dim,
            episodes,
            seed: base,
            statistics: None,
        })
    }

    /// Lengths of an observation and of an action.
    pub fn dims(&self) -> (usize, usize) {
        (self.observation_dim, self.action_dim)
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
    /// When an environment fails, which it does on an action that is not finite.
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
        Ok(evaluation)
    }

    /// The complete state of all environments.
    ///
    /// # Errors
    /// When a task cannot be saved.
    pub fn state(&self) -> Result<EnvState, EnvError> {
        let mut state = EnvState::new();
        for (index, slot) in self.slots.iter().enumerate() {
            state.put_state(&format!("env.{index}"), slot.env.save()?);
        }
        Ok(state)
    }

    /// A state of the form that it has with `count` environments.
    ///
    /// # Errors
    /// When a task cannot be saved.
    pub fn form(&self, count: usize) -> Result<EnvState, EnvError> {
        let mut state = EnvState::new();
        // More than there are have the form of the first.
        let first = self.slots.iter().take(1).cycle();
        for (index, slot) in self.slots.iter().chain(first).take(count).enumerate() {
            state.put_state(&format!("env.{index}"), slot.env.save()?);
        }
        Ok(state)
    }

    /// The environments in `state`, 1 to [`PARALLEL`].
    pub fn count(state: &EnvState) -> usize {
        let is_there = |index: &usize| state.state(&format!("env.{index}")).arrays().len() > 0;
        (1..PARALLEL).take_while(is_there).count() + 1
    }

    /// Takes over a state of an evaluator that was made in the same way, but for the number of
    /// episodes: where it had more environments, the states of the last are dropped; where it had
    /// fewer, ours without a state are at the beginning of their streams.
    ///
    /// # Errors
    /// When it is of another form. Some environments may have taken over theirs then.
    pub fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        let count = Self::count(state);
        state.check_form(&self.form(count)?)?;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if index < count {
                slot.env.restore(&state.state(&format!("env.{index}")))?;
            } else {
                slot.env.reset(Some(derive_seed(self.seed, index)))?;
            }
        }
        Ok(())
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
            }
        }
        Ok(Some(evaluation))
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
            slot.env.reset(None)?;
            (slot.total_reward, slot.length, slot.done) = (0.0, 0, false);
        }
        loop {
            let mut active: Vec<_> = self.slots[..count].iter_mut().filter(|s| !s.done).collect();
            if active.is_empty() || interrupt.requested() {
                return Ok(active.is_empty());
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
            let observations = Tensor::from_data(TensorData::new(observations, shape), device);
            let actions = to_vec(agent.act_deterministic(observations).clamp(-1.0, 1.0));
            active
                .par_iter_mut()
                .zip(actions.par_chunks_exact(self.action_dim))
                .try_for_each(|(slot, action)| slot.step(action))?;
        }
    }
}

impl Slot {
    fn step(&mut self, action: &[f32]) -> Result<(), EnvError> {
        let step = self.env.step(action)?;
        self.total_reward += step.reward;
        self.length += 1;
        self.done = step.done();
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
    fn more_or_fewer_environments_take_over_a_state() {
        let settings = TaskSettings::default();
        let evaluator =
            |episodes| Evaluator::new("Pendulum-v1", &settings, episodes, 7).expect("a task");
        let (mut two, mut three) = (evaluator(2), evaluator(3));
        for slot in &mut two.slots {
            slot.step(&[0.5]).expect("a step");
        }
        let state = two.state().expect("it can be saved");
        // One that was elsewhere before goes back to its beginning.
        three.slots[2].step(&[0.5]).expect("a step");
        three.restore(&state).expect("the same task");
        let of = |state: &EnvState, index| state.state(&format!("env.{index}"));
        let found = three.state().expect("it can be saved");
        assert_eq!(of(&found, 0), of(&state, 0));
        assert_eq!(of(&found, 1), of(&state, 1));
        let fresh = evaluator(3).state().expect("it can be saved");
        assert_eq!(of(&found, 2), of(&fresh, 2));
        let mut one = evaluator(1);
        one.restore(&found).expect("the same task");
        let one = one.state().expect("it can be saved");
        assert_eq!(of(&one, 0), of(&state, 0));
        // Another task is still no guess.
        let other = Evaluator::new("MultiGoal-v0", &settings, 1, 7).expect("a task");
        assert!(
            two.restore(&other.state().expect("it can be saved"))
                .is_err()
        );
        assert!(two.restore(&EnvState::new()).is_err());
    }

    #[test]
    fn the_standard_deviation_is_that_of_the_population() {
        let evaluation = Evaluation {
            returns: vec![1.0, 3.0],
            lengths: vec![1, 1],
        };
        assert_eq!((evaluation.mean(), evaluation.std()), (2.0, 1.0));
    }
}
