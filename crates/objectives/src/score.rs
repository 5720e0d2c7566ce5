//! Targets of denoisers that regress on a score: on the gradient of the critics instead of on samples.
//!
//! A denoiser predicts `e = -sigma score`, so that the score `gradient of Q / lambda` of the
//! distribution proportional to `exp(Q / lambda)` asks for the noise `-sigma gradient / lambda`.

use burn::tensor::{Int, Tensor, backend::Backend};
use rescore_diffusion::NoiseSchedule;
use rescore_kernels::{RescoreBackend, flatten_particles};

use crate::rsm::reverse_samples;

/// Mean absolute entry of a gradient, with `floor` added so that a flat critic divides nothing by
/// zero, `[1]`: with a temperature in units of it the scale of rewards does not matter (flow-rl).
pub fn gradient_scale<B: Backend, const D: usize>(
    gradient: Tensor<B, D>,
    floor: f64,
) -> Tensor<B, 1> {
    gradient.abs().mean().add_scalar(floor)
}

/// QSM's target (Psenka et al. 2024): `-sigma gradient / temperature`, `[batch, action_dim]`, for the
/// gradient of the critics at the noisy action, sigma `[batch, 1]` and the temperature `[1]`.
pub fn score_noise<B: Backend>(
    gradient: Tensor<B, 2>,
    sigma: Tensor<B, 2>,
    temperature: Tensor<B, 1>,
) -> Tensor<B, 2> {
    (gradient * sigma).neg() / temperature.unsqueeze()
}

/// Clean actions behind a noisy one, and where the bounds did not act.
#[derive(Debug, Clone)]
pub struct EnergySamples<B: Backend> {
    /// Clean actions, in [-1, 1], `[batch, samples, action_dim]`.
    pub clean: Tensor<B, 3>,
    /// 1 where a component was not clipped and 0 where it was, of that shape: the derivative of
    /// clipping.
    pub inside: Tensor<B, 3>,
}

impl<B: RescoreBackend> EnergySamples<B> {
    /// Of the reverse kernel at `noisy` `[batch, action_dim]` and `times` `[batch]`, by unit normals
    /// `noise` `[batch, samples, action_dim]`.
    pub fn new(
        schedule: &NoiseSchedule,
        noisy: Tensor<B, 2>,
        times: Tensor<B, 1, Int>,
        noise: Tensor<B, 3>,
    ) -> Self {
        let clean = reverse_samples(schedule, noisy, times, noise);
        let inside = clean.clone().abs().lower_elem(1.0).float();
        Self { clean, inside }
    }

    /// The clean actions as rows, `[batch * samples, action_dim]`.
    pub fn rows(&self) -> Tensor<B, 2> {
        flatten_particles(self.clean.clone())
    }

    /// iDEM's target (Akhound-Sadegh et al. 2024, equation 8), `[batch, action_dim]`: `-sigma` times
    /// the gradient by the noisy action of `log sum_k exp(Q(clean_k) / temperature)`.
    ///
    /// `gradient` is that of Q by the clean actions, `[batch, samples, action_dim]`, `weights` are the
    /// softmax of `Q / temperature`, `[batch, samples]`, `ratio` is `sqrt(alpha_bar / (1 - alpha_bar))`,
    /// `[batch, 1]`, `temperature` is `[1]`.
    pub fn noise(
        &self,
        gradient: Tensor<B, 3>,
        weights: Tensor<B, 2>,
        ratio: Tensor<B, 2>,
        temperature: Tensor<B, 1>,
    ) -> Tensor<B, 2> {
        let weighted = gradient * self.inside.clone() * weights.unsqueeze_dim::<3>(2);
        let sum = weighted.sum_dim(1).squeeze_dim::<2>(1);
        sum.neg() / (ratio * temperature.unsqueeze())
    }
}
