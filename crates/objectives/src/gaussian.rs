//! The squashed Gaussian policy of SAC (Haarnoja et al. 2018).

use burn::tensor::{Tensor, activation::relu, backend::Backend};

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
pub fn split_mean_log_std<B: Backend>(output: Tensor<B, 2>, log_std: LogStd) -> [Tensor<B, 2>; 2] {
    let [_, twice] = output.dims();
    let dim = twice / 2;
    let mean = output.clone().narrow(1, 0, dim);
    let output = output.narrow(1, dim, dim);
    let log_std = match log_std {
        LogStd::Clipped([low, high]) => output.clamp(low, high),
        LogStd::Squashed([low, high]) => output
            .tanh()
            .add_scalar(1.0)
            .mul_scalar(0.5 * (high - low))
            .add_scalar(low),
    };
    [mean, log_std]
}

/// The sample that the unit normals `noise` `[batch, action_dim]` select.
///
/// With `tanh_correction` the log-probability is that of the action, i.e. it contains the
/// Jacobian of tanh (Haarnoja et al. 2018, appendix C); without it, that of `u`, as the reference
/// implementation of DPMD computes it for its SAC.
pub fn squashed_sample<B: Backend>(
    [mean, log_std]: [Tensor<B, 2>; 2],
    noise: Tensor<B, 2>,
    tanh_correction: bool,
) -> SquashedSample<B> {
    let u = mean + log_std.clone().exp() * noise.clone();
    let half_log_tau = 0.5 * std::f64::consts::TAU.ln();
    let mut log_density = (noise.clone() * noise).mul_scalar(-0.5) - log_std;
    log_density = log_density.sub_scalar(half_log_tau);
    if tanh_correction {
        // log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)), without cancellation where tanh is
        // near 1
        let log_jacobian = (u.clone().neg() - softplus(u.clone().mul_scalar(-2.0)))
            .add_scalar(std::f64::consts::LN_2)
            .mul_scalar(2.0);
        log_density = log_density - log_jacobian;
    }
    SquashedSample {
        actions: u.tanh(),
        log_probabilities: log_density.sum_dim(1).squeeze_dim(1),
    }
}

/// `log(1 + e^x)` as `max(x, 0) + log(1 + e^-|x|)`: the exponential of a large argument would be
/// infinite, and its derivative not a number.
fn softplus<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    relu(x.clone()) + x.abs().neg().exp().log1p()
}
