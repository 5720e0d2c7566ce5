//! How the agent's view of observations and rewards is normalised.
//!
//! The replay buffer holds raw numbers. They are normalised when a batch is drawn and when the
//! agent acts or is evaluated, with the statistics of that moment: those at which they were stored
//! would put the same observation in many places.

#[cfg(test)]
mod tests;

use rescore_envs::{EnvState, RunningStatistics, StateError, VecEnv, VecStep};

use crate::config::Config;
use crate::replay::Transitions;

/// Added to the variance of returns, so that constant ones do not divide by zero.
const EPSILON: f64 = 1e-8;

/// Observations in standard deviations from their mean.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservationNormalizer {
    statistics: RunningStatistics,
    clip: f64,
}

impl ObservationNormalizer {
    fn new(dim: usize, clip: f64) -> Self {
        Self {
            statistics: RunningStatistics::new(dim),
            clip,
        }
    }

    /// The normaliser of observations of `dim` values that a checkpoint holds.
    ///
    /// # Errors
    /// [`StateError`] if the arrays are of another form, or no statistics.
    pub fn restored(state: &EnvState, dim: usize, clip: f64) -> Result<Self, StateError> {
        let statistics = RunningStatistics::restored(state, dim)?;
        Ok(Self { statistics, clip })
    }

    /// The same for an exported policy.
    pub fn describe(&self) -> rescore_policy::description::Normalizer {
        rescore_policy::description::Normalizer {
            mean: self.statistics.mean().to_vec(),
            var: self.statistics.variance().to_vec(),
            epsilon: 1e-6,
            clip: self.clip.is_finite().then_some(self.clip),
        }
    }

    /// Normalises raw observations, `[n, observation_dim]`, in place.
    pub fn apply(&self, observations: &mut [f32]) {
        self.statistics.normalize_rows(observations, self.clip);
    }

    fn learn(&mut self, observation: &[f32]) {
        // One that is not finite ends the run elsewhere, and must not get into its checkpoint.
        if observation.iter().all(|x| x.is_finite()) {
            let observation = observation.iter().map(|x| f64::from(*x));
            self.statistics.update(observation);
        }
    }
}

/// Rewards divided by the standard deviation of the discounted return so far, but not shifted, and
/// by so much that no return seen so far exceeds a bound.
///
/// The discounted return of each environment, `G <- gamma G + r`, is one observation of the
/// statistics in every step; it begins at 0 in every episode.
#[derive(Debug, Clone, PartialEq)]
pub struct RewardNormalizer {
    gamma: f64,
    return_max: f64,
    /// Of the episodes under way, `[num_envs]`.
    returns: Vec<f64>,
    /// The largest absolute return so far.
    largest: f64,
    statistics: RunningStatistics,
}

impl RewardNormalizer {
    /// A normaliser that has seen nothing, for returns of at most `return_max` in size.
    pub fn new(num_envs: usize, gamma: f64, return_max: f64) -> Self {
        Self {
            gamma,
            return_max,
            returns: vec![0.0; num_envs],
            largest: 0.0,
            statistics: RunningStatistics::new(1),
        }
    }

    /// What raw rewards are divided by.
    pub fn divisor(&self) -> f64 {
        let deviation = (self.statistics.variance()[0] + EPSILON).sqrt();
        deviation.max(self.largest / self.return_max)
    }

    /// Normalises raw rewards in place.
    pub fn apply(&self, rewards: &mut [f32]) {
        let divisor = self.divisor();
        for reward in rewards {
            *reward = (f64::from(*reward) / divisor) as f32;
        }
    }

    /// Takes the reward of a step of environment `index` into account; the return that enters the
    /// statistics.
    pub fn learn(&mut self, index: usize, reward: f32, episode_ended: bool) -> f64 {
        let discounted = self.gamma * self.returns[index] + f64::from(reward);
        self.statistics.update([discounted]);
        self.largest = self.largest.max(discounted.abs());
        self.returns[index] = if episode_ended { 0.0 } else { discounted };
        discounted
    }

    /// Mean and variance of returns, and the largest in size.
    pub fn returns(&self) -> [f64; 3] {
        let statistics = &self.statistics;
        [statistics.mean()[0], statistics.variance()[0], self.largest]
    }

    fn state(&self) -> EnvState {
        let mut state = self.statistics.save();
        state.put_f64("returns", &self.returns);
        state.put_f64("largest", &[self.largest]);
        state
    }

    fn restore(&mut self, state: &EnvState) -> Result<(), StateError> {
        let statistics = RunningStatistics::restored(state, 1)?;
        let returns = state.f64("returns", self.returns.len())?;
        let largest = state.f64("largest", 1)?[0];
        let unsound = returns.iter().find(|x| !x.is_finite());
        let sound = largest.is_finite() && largest >= 0.0;
        if let Some(value) = unsound.or((!sound).then_some(&largest)) {
            return Err(StateError::Value {
                name: if sound { "returns" } else { "largest" }.to_owned(),
                value: value.to_string(),
                expected: "finite numbers, the largest of at least 0",
            });
        }
        self.statistics = statistics;
        self.returns.copy_from_slice(returns);
        self.largest = largest;
        Ok(())
    }
}

/// The normalisers of a run, those that it asks for.
///
/// They learn from the training environments alone: from every observation once, those of resets
/// and those that a step led to (in warm-up, too), and from every reward. Steps in which the
/// simulator warned are left out, as they are from the replay buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalizers {
    observation: Option<ObservationNormalizer>,
    reward: Option<RewardNormalizer>,
}

impl Normalizers {
    /// The normalisers that `config` asks for, which have seen the first observations of `envs`.
    pub fn new(config: &Config, envs: &VecEnv) -> Self {
        let settings = &config.training;
        let (dim, count, gamma) = (
            envs.observation_dim(),
            envs.count(),
            config.agent.settings.outline().gamma,
        );
        let mut observation = settings
            .normalize_observation
            .then(|| ObservationNormalizer::new(dim, settings.observation_clip));
        if let Some(normalizer) = &mut observation {
            for row in envs.observations().chunks_exact(dim) {
                normalizer.learn(row);
            }
        }
        let reward = settings
            .normalize_reward
            .then(|| RewardNormalizer::new(count, gamma, settings.normalized_return_max));
        Self {
            observation,
            reward,
        }
    }

    /// How observations are normalised, if they are.
    pub const fn observation(&self) -> Option<&ObservationNormalizer> {
        self.observation.as_ref()
    }

    /// How rewards are normalised, if they are.
    pub const fn reward(&self) -> Option<&RewardNormalizer> {
        self.reward.as_ref()
    }

    /// Normalises a batch of raw transitions in place.
    pub fn apply(&self, batch: &mut Transitions) {
        if let Some(normalizer) = &self.observation {
            normalizer.apply(&mut batch.observations);
            normalizer.apply(&mut batch.next_observations);
        }
        if let Some(normalizer) = &self.reward {
            normalizer.apply(&mut batch.rewards);
        }
    }

    /// Takes a step of all environments into account, after which `observations`
    /// (`[num_envs, observation_dim]`) are those to act on.
    pub fn learn(&mut self, step: &VecStep, observations: &[f32]) {
        let dim = observations.len() / step.rewards.len();
        for index in 0..step.rewards.len() {
            let row = index * dim..(index + 1) * dim;
            let (known, ended) = (step.warnings[index] == 0, step.finished[index].is_some());
            if let Some(normalizer) = &mut self.observation {
                if known {
                    normalizer.learn(&step.next_observations[row.clone()]);
                }
                if ended {
                    normalizer.learn(&observations[row]);
                }
            }
            match &mut self.reward {
                Some(normalizer) if known => {
                    normalizer.learn(index, step.rewards[index], ended);
                }
                Some(normalizer) => normalizer.returns[index] = 0.0,
                None => {}
            }
        }
    }

    /// Everything that they have learned, as arrays; none where nothing is normalised.
    pub fn state(&self) -> EnvState {
        let mut state = EnvState::new();
        if let Some(normalizer) = &self.observation {
            state.put_state("observation", normalizer.statistics.save());
        }
        if let Some(normalizer) = &self.reward {
            state.put_state("reward", normalizer.state());
        }
        state
    }

    /// Takes over what [`Normalizers::state`] gave.
    ///
    /// # Errors
    /// [`StateError`] if an array is missing, of another form or not sound. One of the two may have
    /// taken over its own then.
    pub fn restore(&mut self, state: &EnvState) -> Result<(), StateError> {
        if let Some(normalizer) = &mut self.observation {
            let dim = normalizer.statistics.mean().len();
            let saved = state.state("observation");
            *normalizer = ObservationNormalizer::restored(&saved, dim, normalizer.clip)?;
        }
        if let Some(normalizer) = &mut self.reward {
            normalizer.restore(&state.state("reward"))?;
        }
        Ok(())
    }
}
