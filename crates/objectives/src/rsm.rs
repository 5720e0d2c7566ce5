//! Reweighted score matching (Ma et al., *Efficient Online Reinforcement Learning for Diffusion
//! Policy*, ICML 2025).
//!
//! Denoising score matching fits a denoiser to samples of the distribution one has. Weighting its
//! loss by `g(x)` fits it to the distribution proportional to `p(x) g(x)`. That gives two ways to
//! the optimal policy without having samples of it:
//!
//! * **DPMD**, policy mirror descent: samples of the current policy, weight `exp(Q / lambda)`; the
//!   result is proportional to `pi_old exp(Q / lambda)`.
//! * **SDAC**, maximum entropy: at a noisy action `x_t`, draw clean actions from the reverse
//!   kernel `N(x_t / sqrt(alpha_bar), (1 / alpha_bar - 1) I)` and weight each by the softmax of
//!   `Q / lambda`; the result is proportional to `exp(Q / lambda)`.

use burn::{
    backend::Autodiff,
    tensor::{Int, Tensor, activation::softmax, backend::Backend},
};
use rescore_diffusion::{Denoiser, NoiseSchedule};
use rescore_kernels::{RescoreBackend, flatten_particles, unflatten_particles};
use serde::{Deserialize, Serialize};

/// How DPMD brings Q values to a common scale before the exponential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QNormalization {
    /// `q - mean / std`, the precedence that the reference implementation has.
    Reference,
    /// `(q - mean) / std`, what is presumably meant.
    Standardize,
    /// `q` as it is.
    None,
}

/// Exponential moving averages of the mean and standard deviation of Q over batches.
#[derive(Debug, Clone)]
pub struct QStatistics<B: Backend> {
    /// Moving mean, `[1]`, from 0.
    pub mean: Tensor<B, 1>,
    /// Moving population standard deviation, `[1]`, from 1.
    pub std: Tensor<B, 1>,
}

impl<B: Backend> QStatistics<B> {
    /// Mean 0, standard deviation 1.
    pub fn new(device: &B::Device) -> Self {
        Self {
            mean: Tensor::zeros([1], device),
            std: Tensor::ones([1], device),
        }
    }

    /// The statistics after a batch of Q values, of any length, moved by `rate` towards it.
    #[must_use]
    pub fn updated(&self, q: Tensor<B, 1>, rate: f64) -> Self {
        let mean = q.clone().mean();
        let deviation = q - mean.clone();
        let std = (deviation.clone() * deviation).mean().sqrt();
        let toward = |old: &Tensor<B, 1>, new: Tensor<B, 1>| {
            old.clone() + (new - old.clone()).mul_scalar(rate)
        };
        Self {
            mean: toward(&self.mean, mean),
            std: toward(&self.std, std),
        }
    }
}

/// DPMD's weights `exp(clip(n, -limit, limit) / lambda)`, `[batch]`, of normalised Q values `n`
/// (paper: the mirror descent weights; normalisation and clipping as implemented).
///
/// `q` `[batch]`, `temperature` (lambda) `[1]`.
pub fn mirror_descent_weights<B: Backend>(
    q: Tensor<B, 1>,
    normalization: QNormalization,
    statistics: &QStatistics<B>,
    limit: f64,
    temperature: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let (mean, std) = (statistics.mean.clone(), statistics.std.clone());
    let normalized = match normalization {
        QNormalization::Reference => q - mean / std,
        QNormalization::Standardize => (q - mean) / std,
        QNormalization::None => q,
    };
    (normalized.clamp(-limit, limit) / temperature).exp()
}

/// What a denoising loss is taken over; all of it is constant.
#[derive(Debug, Clone)]
pub struct DenoisingRows<B: Backend> {
    /// Observations, `[batch, observation_dim]`.
    pub observations: Tensor<B, 2>,
    /// Clean actions, `[batch, action_dim]`.
    pub actions: Tensor<B, 2>,
    /// Denoising steps, `[batch]`.
    pub times: Tensor<B, 1, Int>,
    /// Unit normals, `[batch, action_dim]`.
    pub noise: Tensor<B, 2>,
    /// Weights, `[batch]`.
    pub weights: Tensor<B, 1>,
}

impl<B: Backend> DenoisingRows<B> {
    /// The same on the autodiff backend.
    pub fn lifted(self) -> DenoisingRows<Autodiff<B>> {
        DenoisingRows {
            observations: Tensor::from_inner(self.observations),
            actions: Tensor::from_inner(self.actions),
            times: Tensor::from_inner(self.times),
            noise: Tensor::from_inner(self.noise),
            weights: Tensor::from_inner(self.weights),
        }
    }
}

/// Weighted denoising score matching, DPMD's policy loss: `mean over batch and action dimensions
/// of w |epsilon(s, x_t, t) - noise|^2`, with `x_t` the noised `actions`. Shape `[1]`.
///
/// The weights are used as they are, not normalised. With all weights 1 this is ordinary denoising
/// score matching.
pub fn weighted_denoising_loss<B: RescoreBackend>(
    policy: &Denoiser<B>,
    schedule: &NoiseSchedule,
    rows: DenoisingRows<B>,
) -> Tensor<B, 1> {
    let DenoisingRows {
        observations,
        actions,
        times,
        noise,
        weights,
    } = rows;
    let noisy = schedule.add_noise(actions, times.clone(), noise.clone());
    let noise_pred = policy.forward(observations, noisy, times, schedule.num_steps());
    let error = noise_pred - noise;
    (error.clone() * error * weights.unsqueeze_dim(1)).mean()
}

/// Clean actions from the reverse kernel at `noisy` `[batch, action_dim]`, clipped to [-1, 1]:
/// `[batch, samples, action_dim]` for `noise` of that shape and `times` `[batch]`.
pub fn reverse_samples<B: Backend>(
    schedule: &NoiseSchedule,
    noisy: Tensor<B, 2>,
    times: Tensor<B, 1, Int>,
    noise: Tensor<B, 3>,
) -> Tensor<B, 3> {
    let [batch, samples, dim] = noise.dims();
    let noisy = noisy.unsqueeze_dim::<3>(1).expand([batch, samples, dim]);
    let times = times
        .unsqueeze_dim::<2>(1)
        .expand([batch, samples])
        .reshape([batch * samples]);
    let clean = schedule.remove_noise(flatten_particles(noisy), times, flatten_particles(noise));
    unflatten_particles(clean, batch)
}

/// SDAC's weights: the softmax of `scaled_q = Q / lambda` over the samples of each row, `[batch,
/// samples]`.
pub fn max_entropy_weights<B: Backend>(scaled_q: Tensor<B, 2>) -> Tensor<B, 2> {
    softmax(scaled_q, 1)
}

/// What SDAC's policy loss is taken over; all of it is constant.
#[derive(Debug, Clone)]
pub struct ReverseRows<B: Backend> {
    /// Observations, `[batch, observation_dim]`.
    pub observations: Tensor<B, 2>,
    /// Noisy actions `x_t`, `[batch, action_dim]`.
    pub noisy: Tensor<B, 2>,
    /// Denoising steps, `[batch]`.
    pub times: Tensor<B, 1, Int>,
    /// Unit normals of the reverse kernel, `[batch, samples, action_dim]`.
    pub noise: Tensor<B, 3>,
    /// Weights that sum to 1 over the samples of a row, `[batch, samples]`.
    pub weights: Tensor<B, 2>,
}

impl<B: Backend> ReverseRows<B> {
    /// The same on the autodiff backend.
    pub fn lifted(self) -> ReverseRows<Autodiff<B>> {
        ReverseRows {
            observations: Tensor::from_inner(self.observations),
            noisy: Tensor::from_inner(self.noisy),
            times: Tensor::from_inner(self.times),
            noise: Tensor::from_inner(self.noise),
            weights: Tensor::from_inner(self.weights),
        }
    }
}

/// SDAC's policy loss at the network's prediction for `rows`; see [`noise_error`].
pub fn reverse_sampling_loss<B: RescoreBackend>(
    policy: &Denoiser<B>,
    schedule: &NoiseSchedule,
    rows: ReverseRows<B>,
) -> Tensor<B, 1> {
    let steps = schedule.num_steps();
    let noise_pred = policy.forward(rows.observations, rows.noisy, rows.times, steps);
    noise_error(noise_pred, rows.noise, rows.weights)
}

/// SDAC's policy loss: `mean over batch, samples and action dimensions of w |epsilon(s, x_t, t) -
/// noise|^2`. Shape `[1]`.
///
/// All samples of a row share the network's input, so the network runs once a row: with weights
/// that sum to 1, `sum_m w_m |e - n_m|^2 = |e - sum_m w_m n_m|^2 + sum_m w_m n_m^2 -
/// |sum_m w_m n_m|^2`, where the last two terms do not depend on the network.
///
/// `noise_pred` `[batch, action_dim]`; `noise` `[batch, samples, action_dim]`; `weights` `[batch,
/// samples]`.
pub fn noise_error<B: Backend>(
    noise_pred: Tensor<B, 2>,
    noise: Tensor<B, 3>,
    weights: Tensor<B, 2>,
) -> Tensor<B, 1> {
    let [_, samples, _] = noise.dims();
    let weights = weights.unsqueeze_dim::<3>(2);
    let mean_noise = (noise.clone() * weights.clone())
        .sum_dim(1)
        .squeeze_dim::<2>(1);
    let mean_square = (noise.clone() * noise * weights)
        .sum_dim(1)
        .squeeze_dim::<2>(1);
    let spread = mean_square - mean_noise.clone() * mean_noise.clone();
    let error = noise_pred - mean_noise;
    (error.clone() * error + spread)
        .mean()
        .div_scalar(samples as f64)
}
