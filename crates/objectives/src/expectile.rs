//! Expectiles, and the choice among candidates that follows them (Hansen-Estruch et al. 2023, IDQL).

use burn::tensor::{Int, Tensor, backend::Backend};

/// `expectile` where `advantage` is above 0, `1 - expectile` elsewhere.
pub fn expectile_weights<B: Backend, const D: usize>(
    advantage: Tensor<B, D>,
    expectile: f64,
) -> Tensor<B, D> {
    let gain = advantage.greater_elem(0.0).float();
    gain.mul_scalar(2.0 * expectile - 1.0)
        .add_scalar(1.0 - expectile)
}

/// `mean of c(w) w^2` of the differences `w` `[batch]` of targets to values, with [`expectile_weights`]
/// `c`, `[1]`: its minimum is the expectile of the targets (Kostrikov et al. 2022, equation 5).
pub fn expectile_loss<B: Backend>(difference: Tensor<B, 1>, expectile: f64) -> Tensor<B, 1> {
    let weights = expectile_weights(difference.clone().detach(), expectile);
    (weights * difference.clone() * difference).mean()
}

/// Of each row the index that a uniform number selects in proportion to positive `weights` `[rows,
/// columns]`, `[rows]`: the number of partial sums up to `uniform` `[rows, 1]` times their last.
pub fn choose_by_weight<B: Backend>(
    weights: Tensor<B, 2>,
    uniform: Tensor<B, 2>,
) -> Tensor<B, 1, Int> {
    let [rows, columns] = weights.dims();
    let sums = weights.cumsum(1);
    let threshold = sums.clone().narrow(1, columns - 1, 1) * uniform;
    let below = sums.lower_equal(threshold.expand([rows, columns]));
    // The last sum is never below the threshold, but for rounding.
    let below = below.int().sum_dim(1).squeeze_dim::<1>(1);
    below.clamp_max(columns as i64 - 1)
}
