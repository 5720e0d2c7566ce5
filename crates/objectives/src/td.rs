//! Temporal-difference targets and critic losses.

use burn::tensor::{Tensor, backend::Backend};
use rescore_critics::Critics;
use rescore_kernels::RescoreBackend;

/// `r + gamma (1 - terminated) V(s')`, all `[batch]`. Truncated episodes bootstrap, so
/// `terminated` must not contain them.
pub fn td_target<B: Backend>(
    rewards: Tensor<B, 1>,
    terminated: Tensor<B, 1>,
    next_values: Tensor<B, 1>,
    gamma: f64,
) -> Tensor<B, 1> {
    let continues = terminated.neg().add_scalar(1.0);
    rewards + continues * next_values.mul_scalar(gamma)
}

/// Mean squared errors (no factor 1/2) of all critics against `targets` `[batch]`, `[members]`.
pub fn critic_losses<B: RescoreBackend>(
    critics: &Critics<B>,
    observations: Tensor<B, 2>,
    actions: Tensor<B, 2>,
    targets: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let error = critics.values(observations, actions) - targets.unsqueeze_dim(0);
    (error.clone() * error).mean_dim(1).squeeze_dim(1)
}
