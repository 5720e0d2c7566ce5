//! The best of several actions and how much better it is (Ding et al. 2024, QVPO).

use burn::tensor::{Tensor, backend::Backend};

/// What the scores of a state's actions say.
#[derive(Debug, Clone)]
pub struct BestAdvantage<B: Backend> {
    /// Mean of the scores, the value of the policy, `[states]`.
    pub value: Tensor<B, 1>,
    /// Largest score less the value, never negative, `[states]`.
    pub weight: Tensor<B, 1>,
}

/// Of scores `[states, samples]`.
pub fn best_advantage<B: Backend>(scores: Tensor<B, 2>) -> BestAdvantage<B> {
    let value = scores.clone().mean_dim(1).squeeze_dim::<1>(1);
    let best = scores.max_dim(1).squeeze_dim::<1>(1);
    BestAdvantage {
        weight: (best - value.clone()).clamp_min(0.0),
        value,
    }
}

/// Weight of uniform actions, which falls linearly from `start` to 0 over the run and not below `end`;
/// `progress` in [0, 1].
pub fn entropy_coefficient([start, end]: [f64; 2], progress: f64) -> f64 {
    (start * (1.0 - progress)).max(end)
}
