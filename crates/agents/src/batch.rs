//! What an agent learns from.

use burn::tensor::{Tensor, backend::Backend};

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

impl<B: Backend> Batch<B> {
    /// How many transitions there are.
    pub fn size(&self) -> usize {
        self.rewards.dims()[0]
    }

    /// The first `count` observations, or all where there are fewer.
    pub fn first_observations(&self, count: usize) -> Tensor<B, 2> {
        self.observations
            .clone()
            .narrow(0, 0, count.min(self.size()))
    }

    /// The first `count` actions, or all where there are fewer.
    pub fn first_actions(&self, count: usize) -> Tensor<B, 2> {
        self.actions.clone().narrow(0, 0, count.min(self.size()))
    }
}
