//! The squashed Gaussian policy of SAC (Haarnoja et al. 2018).

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{RescoreBackend, formula::Formula};

/// An action `tanh(u)`, `u ~ N(mean, std)`, and its log-probability.
#[derive(Debug, Clone)]
pub struct SquashedSample<B: Backend> {
    /// `[batch, action_dim]`, in (-1, 1).
    pub actions: Tensor<B, 2>,
    /// `[batch]`, nats.
    pub log_probabilities: Tensor<B, 1>,
}

/// Bounds of the log standard deviation, and how a network's output is brought between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LogStd {
    /// Clipped: no derivative beyond a bound.
    Clipped([f64; 2]),
    /// `low + (high - low) (tanh(x) + 1) / 2`, which has one everywhere.
    Squashed([f64; 2]),
}

/// Mean and log standard deviation, `[batch, action_dim]` each, from a network's output `[batch, 2
/// action_dim]`.
pub fn split_mean_log_std<B: RescoreBackend>(
    output: Tensor<B, 2>,
    log_std: LogStd,
) -> [Formula<B>; 2] {
    let [mean, output] = Formula::halves(output);
    let log_std = match log_std {
        LogStd::Clipped([low, high]) => output.clamp(low, high),
        LogStd::Squashed([low, high]) => (output.tanh() + 1.0) * (0.5 * (high - low)) + low,
    };
    [mean, log_std]
}

/// The sample that the unit normals `noise` `[batch, action_dim]` select.
///
/// With `tanh_correction` the log-probability is that of the action, i.e. it contains the
/// Jacobian of tanh (Haarnoja et al. 2018, appendix C); without it, that of `u`, as the reference
/// implementation of DPMD computes it for its SAC.
pub fn squashed_sample<B: RescoreBackend>(
    [mean, log_std]: [Formula<B>; 2],
    noise: Tensor<B, 2>,
    tanh_correction: bool,
) -> SquashedSample<B> {
    let noise = Formula::from(noise);
    let u = mean + log_std.clone().exp() * noise.clone();
    let half_log_tau = 0.5 * std::f64::consts::TAU.ln();
    let mut log_density = noise.square() * -0.5 - log_std - half_log_tau;
    if tanh_correction {
        // log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)), without cancellation where tanh is
        // near 1
        let softplus = (u.clone() * -2.0).softplus();
        let log_jacobian = (-u.clone() - softplus + std::f64::consts::LN_2) * 2.0;
        log_density = log_density - log_jacobian;
    }
    SquashedSample {
        actions: u.tanh().compute(),
        log_probabilities: log_density.sum_of_rows(),
    }
}
