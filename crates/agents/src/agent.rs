//! What the training loop needs of an algorithm.

use burn::tensor::{ElementConversion as _, Tensor, backend::Backend};
use rescore_kernels::RescoreBackend;

use crate::state::{StateDict, StateError};

/// A batch of transitions on the device.
#[derive(Debug, Clone)]
pub struct Batch<B: Backend> {
    /// Observations `s`, normalised as those that the agent acts on, `[batch, observation_dim]`.
    pub observations: Tensor<B, 2>,
    /// Actions `a` as the agent chose them (units of [-1, 1], noise included, not clipped),
    /// `[batch, action_dim]`.
    pub actions: Tensor<B, 2>,
    /// Rewards `r`, raw or divided by the run's reward normaliser, `[batch]`; the agent scales
    /// them.
    pub rewards: Tensor<B, 1>,
    /// True next observations `s'` (never the one after a reset), normalised as `s`,
    /// `[batch, observation_dim]`.
    pub next_observations: Tensor<B, 2>,
    /// 1 where the episode terminated in `s'`, else 0; `[batch]`. Truncation is not in here: a
    /// truncated episode bootstraps.
    pub terminated: Tensor<B, 1>,
}

/// Named scalar metrics of one update, still on the device.
///
/// Reading them synchronises the device, so the training loop does it only when it logs; and what
/// only a reader needs, such as a mean, is computed then: most updates are never read.
#[derive(Debug, Clone)]
pub struct Metrics<B: Backend> {
    entries: Vec<Entry<B>>,
}

#[derive(Debug, Clone)]
enum Entry<B: Backend> {
    /// A value of shape `[1]`.
    Value(&'static str, Tensor<B, 1>),
    /// The mean of values.
    Mean(&'static str, Tensor<B, 1>),
    /// Mean, population standard deviation, minimum and maximum of values.
    Distribution([&'static str; 4], Tensor<B, 1>),
}

impl<B: Backend> Entry<B> {
    /// The name of the entry, or of the first of its numbers.
    fn name(&self) -> &'static str {
        match self {
            Self::Value(name, _) | Self::Mean(name, _) | Self::Distribution([name, ..], _) => name,
        }
    }

    /// Its numbers, `[1]` each, by name.
    fn numbers(&self) -> Vec<(&'static str, Tensor<B, 1>)> {
        match self {
            Self::Value(name, value) => vec![(name, value.clone())],
            Self::Mean(name, values) => vec![(name, values.clone().mean())],
            Self::Distribution(names, values) => {
                let mean = values.clone().mean();
                let deviation = values.clone() - mean.clone();
                let std = (deviation.clone() * deviation).mean().sqrt();
                let numbers = [mean, std, values.clone().min(), values.clone().max()];
                names.iter().copied().zip(numbers).collect()
            }
        }
    }
}

impl<B: Backend> Default for Metrics<B> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

impl<B: Backend> Metrics<B> {
    /// Adds the metric `name`; `value` has shape `[1]`.
    pub fn push(&mut self, name: &'static str, value: Tensor<B, 1>) {
        self.entries.push(Entry::Value(name, value));
    }

    /// Adds the mean of `values` under `name`.
    pub fn push_mean(&mut self, name: &'static str, values: Tensor<B, 1>) {
        self.entries.push(Entry::Mean(name, values));
    }

    /// Adds mean, population standard deviation, minimum and maximum of `values` under `names`.
    pub fn push_distribution(&mut self, names: [&'static str; 4], values: Tensor<B, 1>) {
        self.entries.push(Entry::Distribution(names, values));
    }

    /// Takes over the values of `newer` and keeps what it does not have: an update on which the
    /// policy does not learn has no policy loss, for example.
    pub fn merge(&mut self, newer: Self) {
        for entry in newer.entries {
            let known = self.entries.iter_mut();
            match known.into_iter().find(|known| known.name() == entry.name()) {
                Some(old) => *old = entry,
                None => self.entries.push(entry),
            }
        }
    }

    /// Reads all values back from the device, in the order in which they were added.
    pub fn read(&self) -> Vec<(&'static str, f32)> {
        // All are computed before the first is waited for.
        let numbers: Vec<_> = self.entries.iter().flat_map(Entry::numbers).collect();
        numbers
            .into_iter()
            .map(|(name, value)| (name, value.into_scalar().elem()))
            .collect()
    }
}

/// An off-policy algorithm: acts, learns from batches, and can be stored and restored.
///
/// Randomness is a function of the seed given at construction and of counters (`act_counter`,
/// the number of updates done): an agent holds no generator state.
pub trait Agent<B: RescoreBackend>: Send {
    /// Actions for `observations` (`[n, observation_dim]`) with exploration, `[n, action_dim]` in
    /// units of [-1, 1] (they may exceed them). `act_counter` must differ from call to call
    /// within a run: it selects the random numbers.
    fn act(&self, observations: Tensor<B, 2>, act_counter: u32) -> Tensor<B, 2>;

    /// The actions that evaluation plays: no exploration noise, in [-1, 1], a deterministic
    /// function of each observation alone, not of its place in the batch (up to the rounding of
    /// matrix products, which may depend on the size of the batch).
    fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2>;

    /// One gradient update.
    fn update(&mut self, batch: &Batch<B>) -> Metrics<B>;

    /// Number of updates done so far.
    fn updates(&self) -> u64;

    /// Sum of the parameters of all networks, `[1]`, still on the device: not finite if one of them
    /// is not. Cheap enough for every update.
    fn parameter_sum(&self) -> Tensor<B, 1>;

    /// Everything that is learned or counted, by name: networks, targets, optimiser moments,
    /// temperature, statistics and counters.
    fn state(&self) -> StateDict;

    /// Restores what [`Agent::state`] gave.
    ///
    /// # Errors
    /// When a tensor is missing, unknown, or of another shape; the message names it.
    fn load_state(&mut self, state: &StateDict) -> Result<(), StateError>;
}
