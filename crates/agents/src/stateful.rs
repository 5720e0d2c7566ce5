//! What is saved, restored and guarded of an agent.

use burn::tensor::Tensor;
use rescore_kernels::RescoreBackend;
use rescore_nn::{Array, StateDict, StateError};
use rescore_objectives::rsm::QStatistics;

/// A part of an agent that learns or counts.
pub trait Stateful<B: RescoreBackend> {
    /// Adds everything to `state`.
    fn save(&self, state: &mut StateDict);

    /// Takes everything from `state`.
    ///
    /// # Errors
    /// When an array is missing or has another shape; some may have been taken over then.
    fn load(&mut self, state: &StateDict) -> Result<(), StateError>;

    /// Sum of all parameters, `[1]`, where there are any: not finite if one of them is not.
    fn parameter_sum(&self) -> Option<Tensor<B, 1>> {
        None
    }

    /// Euclidean norms of trained parameters and of the gradient of the last step, by the names they
    /// are logged under, `[1]` each.
    fn norms(&self) -> Vec<(&'static str, Tensor<B, 1>)> {
        Vec::new()
    }
}

/// The number of updates done.
impl<B: RescoreBackend> Stateful<B> for u64 {
    fn save(&self, state: &mut StateDict) {
        state.insert("updates", Array::U64(*self));
    }

    fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        *self = state.counter("updates")?;
        Ok(())
    }
}

impl<B: RescoreBackend> Stateful<B> for QStatistics<B> {
    fn save(&self, state: &mut StateDict) {
        state.insert_tensor("q_statistics.mean", &self.mean);
        state.insert_tensor("q_statistics.std", &self.std);
    }

    fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        let device = self.mean.device();
        self.mean = state.tensor("q_statistics.mean", [1], &device)?;
        self.std = state.tensor("q_statistics.std", [1], &device)?;
        Ok(())
    }
}
