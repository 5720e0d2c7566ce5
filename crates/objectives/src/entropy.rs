//! Entropy of the exploration noise, which drives the temperature of the diffusion policies.

use burn::tensor::{Tensor, backend::Backend};

/// Entropy in nats of a Gaussian with `action_dim` independent components of standard deviation
/// `noise_scale * temperature`: `A / 2 log(2 pi e (noise_scale temperature)^2)`. `log_temperature`
/// has shape `[1]`, and so has the result.
///
/// The diffusion policy's own entropy is not tractable; the reference implementation regulates
/// the additive exploration noise instead.
pub fn exploration_entropy<B: Backend>(
    log_temperature: Tensor<B, 1>,
    noise_scale: f64,
    action_dim: usize,
) -> Tensor<B, 1> {
    let per_component = 0.5 * (std::f64::consts::TAU * std::f64::consts::E).ln() + noise_scale.ln();
    log_temperature
        .add_scalar(per_component)
        .mul_scalar(action_dim as f64)
}

/// Gradient with respect to the log temperature of `log_temperature (entropy - target)`, entropy
/// held constant; the temperature falls while the entropy is above its target.
pub fn temperature_gradient<B: Backend>(
    entropy: Tensor<B, 1>,
    target_entropy: f64,
) -> Tensor<B, 1> {
    entropy.sub_scalar(target_entropy)
}
