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
use rescore_kernels::{
    RescoreBackend, flatten_particles, formula::Formula, supplied, unflatten_particles,
};
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

impl<B: RescoreBackend> QStatistics<B> {
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
        let deviation = Formula::column(q) - Formula::row(mean.clone());
        let variance = deviation.square().mean();
        let toward = |old: &Tensor<B, 1>, new: Formula<B>| {
            let old = Formula::column(old.clone());
            (old.clone() + (new - old) * rate).compute_column()
        };
        Self {
            mean: toward(&self.mean, Formula::column(mean)),
            std: toward(&self.std, Formula::column(variance).sqrt()),
        }
    }
}

/// DPMD's weights `exp(clip(n, -limit, limit) / lambda)`, `[batch]`, of normalised Q values `n`
/// (paper: the mirror descent weights; normalisation and clipping as implemented).
///
/// `q` `[batch]`, `temperature` (lambda) `[1]`.
pub fn mirror_descent_weights<B: RescoreBackend>(
    q: Tensor<B, 1>,
    normalization: QNormalization,
    statistics: &QStatistics<B>,
    limit: f64,
    temperature: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let q = Formula::column(q);
    let mean = Formula::row(statistics.mean.clone());
    let std = Formula::row(statistics.std.clone());
    let normalized = match normalization {
        QNormalization::Reference => q - mean / std,
        QNormalization::Standardize => (q - mean) / std,
        QNormalization::None => q,
    };
    let scaled = normalized.clamp(-limit, limit) / Formula::row(temperature);
    scaled.exp().compute_column()
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
    /// A row for each particle: observations `[states, observation_dim]`, particles and noise
    /// `[states, particles, action_dim]`, times `[states * particles]`, weights `[states,
    /// particles]`.
    pub fn of_particles(
        observations: Tensor<B, 2>,
        particles: Tensor<B, 3>,
        times: Tensor<B, 1, Int>,
        noise: Tensor<B, 3>,
        weights: Tensor<B, 2>,
    ) -> Self {
        let [states, count, _] = particles.dims();
        let [_, observation_dim] = observations.dims();
        let observations = observations.unsqueeze_dim::<3>(1);
        Self {
            observations: flatten_particles(observations.expand([states, count, observation_dim])),
            actions: flatten_particles(particles),
            times,
            noise: flatten_particles(noise),
            weights: weights.reshape([states * count]),
        }
    }
}

/// Weighted denoising score matching, DPMD's policy loss: `mean over batch and action dimensions
/// of w |epsilon(s, x_t, t) - noise|^2`, with `x_t` the noised `actions`. Shape `[1]`.
///
/// The weights are used as they are, not normalised. With all weights 1 this is ordinary denoising
/// score matching.
pub fn weighted_denoising_loss<B: RescoreBackend>(
    policy: &Denoiser<Autodiff<B>>,
    schedule: &NoiseSchedule,
    rows: DenoisingRows<B>,
) -> Tensor<Autodiff<B>, 1> {
    let (noise, weights) = (rows.noise.clone(), Formula::column(rows.weights.clone()));
    let noise_pred = predict(policy, schedule, rows);
    let errors = Formula::from(noise_pred.clone().inner()) - Formula::from(noise);
    let loss = (errors.clone().square() * weights.clone()).mean();
    let gradient = weights * share(&noise_pred) * errors * 2.0;
    supplied(noise_pred, loss, gradient)
}

/// One over the number of elements.
fn share<B: Backend>(x: &Tensor<B, 2>) -> f64 {
    f64::from((1.0 / x.shape().num_elements() as f64) as f32)
}

/// As [`weighted_denoising_loss`] with every squared error, of one action dimension of one row, at
/// most `limit`, before it is weighted: errors beyond it have no gradient (flow-rl).
pub fn clipped_denoising_loss<B: RescoreBackend>(
    policy: &Denoiser<Autodiff<B>>,
    schedule: &NoiseSchedule,
    rows: DenoisingRows<B>,
    limit: f64,
) -> Tensor<Autodiff<B>, 1> {
    let (noise, weights) = (rows.noise.clone(), Formula::column(rows.weights.clone()));
    let noise_pred = predict(policy, schedule, rows);
    let errors = Formula::from(noise_pred.clone().inner()) - Formula::from(noise);
    let squares = errors.clone().square();
    let loss = (squares.clone().clamp(0.0, limit) * weights.clone()).mean();
    let counts = -squares.above(limit) + 1.0;
    let gradient = weights * share(&noise_pred) * counts * errors * 2.0;
    supplied(noise_pred, loss, gradient)
}

/// `epsilon(s, x_t, t)` at the noised actions of `rows`, `[batch, action_dim]`.
fn predict<B: RescoreBackend>(
    policy: &Denoiser<Autodiff<B>>,
    schedule: &NoiseSchedule,
    rows: DenoisingRows<B>,
) -> Tensor<Autodiff<B>, 2> {
    let noisy = schedule.add_noise(rows.actions, rows.times.clone(), rows.noise);
    policy.forward(
        Tensor::from_inner(rows.observations),
        Tensor::from_inner(noisy),
        Tensor::from_inner(rows.times),
        schedule.num_steps(),
    )
}

/// Clean actions from the reverse kernel at `noisy` `[batch, action_dim]`, clipped to [-1, 1]:
/// `[batch, samples, action_dim]` for `noise` of that shape and `times` `[batch]`.
pub fn reverse_samples<B: RescoreBackend>(
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

/// What the loss of a policy that predicts a mean noise is taken over; all of it is constant.
#[derive(Debug, Clone)]
pub struct NoiseRows<B: Backend> {
    /// Observations, `[batch, observation_dim]`.
    pub observations: Tensor<B, 2>,
    /// Noisy actions `x_t`, `[batch, action_dim]`.
    pub noisy: Tensor<B, 2>,
    /// Denoising steps, `[batch]`.
    pub times: Tensor<B, 1, Int>,
    /// The noise to predict, `[batch, action_dim]`; see [`mean_noise`].
    pub noise: Tensor<B, 2>,
}

/// [`regression_loss`] of the network's prediction for `rows`.
pub fn noise_regression_loss<B: RescoreBackend>(
    policy: &Denoiser<Autodiff<B>>,
    schedule: &NoiseSchedule,
    rows: NoiseRows<B>,
) -> Tensor<Autodiff<B>, 1> {
    let at = [rows.observations, rows.noisy];
    regression_loss(predict_at(policy, schedule, at, rows.times), rows.noise)
}

/// SDAC's policy loss at the network's prediction for `rows`; see [`noise_error`].
pub fn reverse_sampling_loss<B: RescoreBackend>(
    policy: &Denoiser<Autodiff<B>>,
    schedule: &NoiseSchedule,
    rows: ReverseRows<B>,
) -> Tensor<Autodiff<B>, 1> {
    let at = [rows.observations, rows.noisy];
    let noise_pred = predict_at(policy, schedule, at, rows.times);
    noise_error(noise_pred, rows.noise, rows.weights)
}

/// `epsilon(s, x_t, t)`, `[batch, action_dim]`.
fn predict_at<B: RescoreBackend>(
    policy: &Denoiser<Autodiff<B>>,
    schedule: &NoiseSchedule,
    [observations, noisy]: [Tensor<B, 2>; 2],
    times: Tensor<B, 1, Int>,
) -> Tensor<Autodiff<B>, 2> {
    policy.forward(
        Tensor::from_inner(observations),
        Tensor::from_inner(noisy),
        Tensor::from_inner(times),
        schedule.num_steps(),
    )
}

/// The mean of `noise` `[batch, samples, action_dim]` with `weights` `[batch, samples]` that sum to 1
/// over the samples, `[batch, action_dim]`: what the network is to predict.
pub fn mean_noise<B: Backend>(noise: Tensor<B, 3>, weights: Tensor<B, 2>) -> Tensor<B, 2> {
    (noise * weights.unsqueeze_dim::<3>(2))
        .sum_dim(1)
        .squeeze_dim(1)
}

/// `mean over batch and action dimensions of (prediction - target)^2`, both `[batch, action_dim]`,
/// shape `[1]`. With [`mean_noise`] as its target it has the gradient of the weighted error of all
/// samples, and a value that does not grow with their spread.
pub fn regression_loss<B: RescoreBackend>(
    noise_pred: Tensor<Autodiff<B>, 2>,
    target: Tensor<B, 2>,
) -> Tensor<Autodiff<B>, 1> {
    let errors = Formula::from(noise_pred.clone().inner()) - Formula::from(target);
    let loss = errors.clone().square().mean();
    let gradient = errors * share(&noise_pred) * 2.0;
    supplied(noise_pred, loss, gradient)
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
pub fn noise_error<B: RescoreBackend>(
    noise_pred: Tensor<Autodiff<B>, 2>,
    noise: Tensor<B, 3>,
    weights: Tensor<B, 2>,
) -> Tensor<Autodiff<B>, 1> {
    let [_, samples, _] = noise.dims();
    let mean = mean_noise(noise.clone(), weights.clone());
    let mean_square = mean_noise(noise.clone() * noise, weights);
    let errors = Formula::from(noise_pred.clone().inner()) - Formula::from(mean.clone());
    let spread = Formula::from(mean_square) - Formula::from(mean).square();
    let loss = (errors.clone().square() + spread)
        .mean()
        .div_scalar(samples as f64);
    let each = f64::from((share(&noise_pred) as f32) * (1.0 / samples as f32));
    supplied(noise_pred, loss, errors * each * 2.0)
}
