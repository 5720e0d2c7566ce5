//! Observations of mean 0 and standard deviation 1.

use crate::{Env, EnvError, EnvState, Info, Space, StateError, Step};

/// Added to the variance, so that dividing by the standard deviation of a constant stays finite.
const EPSILON: f64 = 1e-6;

/// Weight of the prior mean 0 and variance 1 against one observation.
const PRIOR_COUNT: f64 = 1e-4;

/// Mean and variance of each component of all observations so far, updated one observation at a
/// time (Chan, Golub and `LeVeque`, "Updating formulae and a pairwise algorithm for computing
/// sample variances", 1979), with the prior of Gymnasium's `NormalizeObservation`.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningStatistics {
    mean: Vec<f64>,
    /// Of the population.
    variance: Vec<f64>,
    count: f64,
}

impl RunningStatistics {
    /// Statistics of `dim` components of no observations: mean 0, variance 1.
    pub fn new(dim: usize) -> Self {
        Self {
            mean: vec![0.0; dim],
            variance: vec![1.0; dim],
            count: PRIOR_COUNT,
        }
    }

    /// Mean of each component, `[dim]`.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Variance of each component, `[dim]`.
    pub fn variance(&self) -> &[f64] {
        &self.variance
    }

    /// Takes one observation into account, `[dim]` values.
    pub fn update(&mut self, observation: impl IntoIterator<Item = f64>) {
        let total = self.count + 1.0;
        let components = self.mean.iter_mut().zip(&mut self.variance);
        for ((mean, variance), x) in components.zip(observation) {
            let delta = x - *mean;
            *mean += delta / total;
            *variance = (*variance * self.count + delta * (x - *mean)) / total;
        }
        self.count = total;
    }

    /// Component `index` of an observation in units of the standard deviation from the mean.
    pub fn normalize(&self, index: usize, x: f64) -> f64 {
        (x - self.mean[index]) / (self.variance[index] + EPSILON).sqrt()
    }

    /// Normalises observations of single precision, row-major `[n, dim]`, in place, and clips them
    /// to plus and minus `clip` (above 0; infinity does not clip) standard deviations.
    pub fn normalize_rows(&self, rows: &mut [f32], clip: f64) {
        let deviation = |variance: &f64| (variance + EPSILON).sqrt();
        let deviations: Vec<_> = self.variance.iter().map(deviation).collect();
        for row in rows.chunks_exact_mut(deviations.len()) {
            for ((x, mean), deviation) in row.iter_mut().zip(&self.mean).zip(&deviations) {
                *x = ((f64::from(*x) - mean) / deviation).clamp(-clip, clip) as f32;
            }
        }
    }

    /// The statistics as arrays.
    pub fn save(&self) -> EnvState {
        let mut state = EnvState::new();
        state.put_f64("mean", &self.mean);
        state.put_f64("variance", &self.variance);
        state.put_f64("observations", &[self.count]);
        state
    }

    /// The statistics of `dim` components that [`RunningStatistics::save`] gave.
    ///
    /// # Errors
    /// [`StateError`] if the arrays are of another form, or no statistics.
    pub fn restored(state: &EnvState, dim: usize) -> Result<Self, StateError> {
        let this = Self {
            mean: state.f64("mean", dim)?.to_vec(),
            variance: state.f64("variance", dim)?.to_vec(),
            count: state.f64("observations", 1)?[0],
        };
        let finite = |name, values: &[f64], least: f64, expected| {
            let sound = |value: &f64| value.is_finite() && *value >= least;
            match values.iter().find(|value| !sound(value)) {
                None => Ok(()),
                Some(value) => Err(StateError::Value {
                    name: String::from(name),
                    value: value.to_string(),
                    expected,
                }),
            }
        };
        finite("mean", &this.mean, f64::MIN, "finite numbers")?;
        finite(
            "variance",
            &this.variance,
            0.0,
            "finite numbers of at least 0",
        )?;
        let count = std::slice::from_ref(&this.count);
        finite(
            "observations",
            count,
            PRIOR_COUNT,
            "at least the prior's weight",
        )?;
        Ok(this)
    }
}

/// Shifts and scales each component of the observation by the running mean and standard deviation
/// of all observations so far, over all episodes: no reset makes it forget them, with a seed or
/// without.
///
/// For a single environment, or (frozen) to act with a policy that was trained on normalised
/// observations. A learner that replays observations has to keep them raw and to normalise them
/// when it draws them, because the statistics go on changing; [`VecEnv`](crate::VecEnv) therefore
/// gives raw ones.
#[derive(Debug, Clone)]
pub struct NormalizeObservation<E> {
    env: E,
    space: Space,
    statistics: RunningStatistics,
    frozen: bool,
    observation: Vec<f64>,
}

impl<E: Env> NormalizeObservation<E> {
    /// Normalises the observations of `env`, learning the statistics from them.
    ///
    /// # Errors
    /// None in practice: the space has as many dimensions as that of `env`.
    pub fn new(env: E) -> Result<Self, EnvError> {
        let dim = env.observation_space().dim();
        Self::with(env, RunningStatistics::new(dim), false)
    }

    /// Normalises the observations of `env` by statistics that stay as they are, for evaluation.
    ///
    /// # Errors
    /// [`EnvError::InvalidArgument`] if they are of another number of components.
    pub fn frozen(env: E, statistics: RunningStatistics) -> Result<Self, EnvError> {
        Self::with(env, statistics, true)
    }

    fn with(env: E, statistics: RunningStatistics, frozen: bool) -> Result<Self, EnvError> {
        let dim = env.observation_space().dim();
        if statistics.mean.len() != dim {
            return Err(EnvError::InvalidArgument(format!(
                "statistics of {} components cannot normalise the {dim} of `{}`",
                statistics.mean.len(),
                env.name()
            )));
        }
        Ok(Self {
            space: Space::uniform(dim, f64::NEG_INFINITY, f64::INFINITY)?,
            observation: vec![0.0; dim],
            env,
            statistics,
            frozen,
        })
    }

    /// The statistics so far.
    pub fn statistics(&self) -> &RunningStatistics {
        &self.statistics
    }

    fn observe(&mut self) {
        if !self.frozen {
            let observation = self.env.observation().iter().copied();
            self.statistics.update(observation);
        }
        self.normalize();
    }

    fn normalize(&mut self) {
        let raw = self.env.observation().iter().enumerate();
        for (to, (index, x)) in self.observation.iter_mut().zip(raw) {
            *to = self.statistics.normalize(index, *x);
        }
    }
}

impl<E: Env> Env for NormalizeObservation<E> {
    forward_env!(env: name, action_space, info, warning);

    fn observation_space(&self) -> &Space {
        &self.space
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<(), EnvError> {
        self.env.reset(seed)?;
        self.observe();
        Ok(())
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        let step = self.env.step(action)?;
        // What a diverged simulator shows would spoil the statistics for ever.
        if step.warnings == 0 {
            self.observe();
        } else {
            self.normalize();
        }
        Ok(step)
    }

    fn observation(&self) -> &[f64] {
        &self.observation
    }

    fn save(&self) -> Result<EnvState, EnvError> {
        let mut state = EnvState::new();
        state.put_state("statistics", self.statistics.save());
        state.put_state("normalized", self.env.save()?);
        // Not that of the environment inside in terms of the statistics before its first reset.
        state.put_f64("observation", &self.observation);
        Ok(state)
    }

    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        state.check_form(&self.save()?)?;
        let dim = self.space.dim();
        let statistics = RunningStatistics::restored(&state.state("statistics"), dim)?;
        let observation = state.f64("observation", dim)?;
        self.env.restore(&state.state("normalized"))?;
        self.statistics = statistics;
        self.observation.copy_from_slice(observation);
        Ok(())
    }
}
