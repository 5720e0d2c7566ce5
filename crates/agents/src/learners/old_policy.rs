//! The policy that particles are sampled from.

use burn::tensor::Tensor;
use rescore_diffusion::Denoiser;
use rescore_kernels::RescoreBackend;
use rescore_nn::{StateDict, StateError, parameter_sum};

use super::DiffusionActor;
use crate::Stateful;

/// The old policy of mirror descent: a copy of the policy that is held for a number of updates, or
/// the policy as it is.
#[derive(Debug, Clone)]
pub struct OldPolicy<B: RescoreBackend> {
    /// The copy, where one is held.
    pub held: Option<Denoiser<B>>,
    /// Updates from one copy to the next.
    refresh: u64,
}

impl<B: RescoreBackend> OldPolicy<B> {
    /// A copy of the policy of `actor` that is renewed after `refresh` updates; none without it.
    pub fn new(refresh: Option<u64>, actor: &DiffusionActor<B>) -> Self {
        Self {
            held: refresh.map(|_| actor.policy.clone()),
            refresh: refresh.unwrap_or(1),
        }
    }

    /// The policy to sample.
    pub fn policy<'a>(&'a self, actor: &'a DiffusionActor<B>) -> &'a Denoiser<B> {
        self.held.as_ref().unwrap_or(&actor.policy)
    }

    /// Renews the copy where that is due in the update numbered `updates`.
    pub fn follow(&mut self, actor: &DiffusionActor<B>, updates: u64) {
        if let Some(held) = &mut self.held
            && updates.is_multiple_of(self.refresh)
        {
            held.clone_from(&actor.policy);
        }
    }
}

impl<B: RescoreBackend> Stateful<B> for OldPolicy<B> {
    fn save(&self, state: &mut StateDict) {
        if let Some(held) = &self.held {
            state.insert_tree("old_policy", held);
        }
    }

    fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        if let Some(held) = &mut self.held {
            *held = state.tree("old_policy", held)?;
        }
        Ok(())
    }

    fn parameter_sum(&self) -> Option<Tensor<B, 1>> {
        self.held.as_ref().map(parameter_sum)
    }
}
