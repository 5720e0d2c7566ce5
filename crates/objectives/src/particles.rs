//! The particles of a state: their noise, their weights by score, and the temperature that sets how
//! peaked the weights are.

use burn::tensor::{Tensor, activation::relu, backend::Backend};
use rescore_kernels::{
    RescoreBackend, flatten_particles,
    formula::Formula,
    unflatten_particles,
    weights::{measures, softmax_weights},
};
use serde::{Deserialize, Serialize};

/// Temperatures do not fall below it.
pub const TEMPERATURE_FLOOR: f64 = 1e-4;

/// `particles` `[states, count, action_dim]` with noise, clipped to [-1, 1]; `normals` are unit normals
/// of that shape. The noise of an action dimension has the standard deviation `noise`, and more where
/// the particles' own falls short of `spread`: `sqrt(spread^2 - variance)`, so that together they have
/// `spread`. The variance is that over the particles of a state, mean over states; one particle has
/// none. A `spread` of 0 leaves `noise` alone.
pub fn add_noise<B: RescoreBackend>(
    particles: Tensor<B, 3>,
    normals: Tensor<B, 3>,
    (noise, spread): (f64, f64),
) -> Tensor<B, 3> {
    let [states, count, _] = particles.dims();
    let rows = |x| Formula::from(flatten_particles(x));
    let noise = if spread > 0.0 {
        let deviation = particles.clone() - particles.clone().mean_dim(1);
        let squares = (deviation.clone() * deviation).sum_dim(1).mean_dim(0);
        let variance = squares.div_scalar(count.saturating_sub(1).max(1) as f64);
        let missing = variance.neg().add_scalar(spread * spread);
        rows(normals * missing.clamp_min(0.0).sqrt().clamp_min(noise))
    } else {
        rows(normals) * noise
    };
    let noisy = (rows(particles) + noise).clamp(-1.0, 1.0);
    unflatten_particles(noisy.compute(), states)
}

/// How the scores of a state's particles become weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightRule {
    /// See [`ParticleWeights::softmax`].
    Softmax,
    /// See [`ParticleWeights::linear`].
    Linear,
    /// See [`ParticleWeights::advantage`].
    Advantage,
}

impl WeightRule {
    /// Weights of `scores` `[states, particles]` at `temperature` `[1]`.
    pub fn weights<B: RescoreBackend>(
        self,
        scores: Tensor<B, 2>,
        temperature: Tensor<B, 1>,
    ) -> ParticleWeights<B> {
        match self {
            Self::Softmax => ParticleWeights::softmax(scores, temperature),
            Self::Linear => ParticleWeights::linear(scores, temperature).0,
            Self::Advantage => ParticleWeights::advantage(scores),
        }
    }
}

/// Weights of the particles of each state.
#[derive(Debug, Clone)]
pub struct ParticleWeights<B: Backend> {
    /// Probabilities, `[states, particles]`; those of a state sum to 1.
    pub probabilities: Tensor<B, 2>,
    /// Divergence of a state's probabilities from equal ones, `sum p log(p K)` for `K` particles, in
    /// `[0, log K]`, `[states]`.
    pub kl: Tensor<B, 1>,
    /// Effective number of particles, `1 / sum p^2`, in `[1, K]`, `[states]`.
    pub effective: Tensor<B, 1>,
}

impl<B: RescoreBackend> ParticleWeights<B> {
    /// Softmax of `scores / temperature`: the policy that maximises the expected score less
    /// `temperature` times the divergence from equal weights (Ma et al. 2025, DPMD).
    ///
    /// `scores` `[states, particles]`, `temperature` `[1]`.
    pub fn softmax(scores: Tensor<B, 2>, temperature: Tensor<B, 1>) -> Self {
        let (probabilities, kl, effective) = softmax_weights(scores, temperature);
        Self {
            probabilities,
            kl,
            effective,
        }
    }
}

impl<B: Backend> ParticleWeights<B> {
    /// `max((score - nu) / temperature, 0)` with the `nu` for which they sum to 1, the projection of
    /// `score / temperature` onto the simplex (Martins and Astudillo 2016, sparsemax; as flow-rl's
    /// `GeMPO` weights particles). With the weights `nu`, `[states]`.
    ///
    /// The particles that keep a weight are those whose excesses, `sum_j max(score_j - score, 0)`,
    /// are at most the temperature: all particles are compared with all, which for tens of them
    /// costs less than sorting.
    pub fn linear(scores: Tensor<B, 2>, temperature: Tensor<B, 1>) -> (Self, Tensor<B, 1>) {
        let [states, particles] = scores.dims();
        let temperature = temperature.reshape([1, 1]);
        let largest = scores.clone().max_dim(1);
        let shifted = scores - largest.clone();
        let others = shifted.clone().reshape([states, 1, particles]);
        let own = shifted.clone().reshape([states, particles, 1]);
        let excess = relu(others - own).sum_dim(2).squeeze_dim::<2>(2);
        let kept = excess.lower_equal(temperature.clone().expand([states, particles]));
        let kept = kept.float();
        let count = kept.clone().sum_dim(1);
        let nu = ((shifted.clone() * kept).sum_dim(1) - temperature.clone()) / count;
        let probabilities = relu((shifted - nu.clone()) / temperature);
        (Self::of(probabilities), (nu + largest).squeeze_dim(1))
    }

    /// Proportional to how far a score is above the mean of its state's; equal where none is by more
    /// than rounding.
    pub fn advantage(scores: Tensor<B, 2>) -> Self {
        let [states, particles] = scores.dims();
        let mean = scores.clone().mean_dim(1);
        let advantage = relu(scores - mean.clone());
        let sum = advantage.clone().sum_dim(1);
        let none = sum
            .clone()
            .lower_equal(mean.abs().clamp_min(1.0).mul_scalar(1e-6));
        let equal = none.expand([states, particles]);
        Self::of((advantage / sum).mask_fill(equal, 1.0 / particles as f64))
    }

    fn of(probabilities: Tensor<B, 2>) -> Self {
        // 0 log 0 = 0
        let logarithms = probabilities.clone().clamp_min(f32::MIN_POSITIVE).log();
        let [kl, effective] = measures(probabilities.clone(), logarithms);
        Self {
            kl: kl.squeeze_dim(1),
            effective: effective.squeeze_dim(1),
            probabilities,
        }
    }

    /// Weights `[states, particles]` whose mean over the particles of a state is 1.
    pub fn mean_one(&self) -> Tensor<B, 2> {
        let [_, particles] = self.probabilities.dims();
        self.probabilities.clone().mul_scalar(particles as f64)
    }
}

/// What Adam steps the log temperature against so that the mean of the divergences `kl` `[states]`
/// reaches `target`: `target - mean kl`, `[1]`. Weights that are too peaked raise the temperature.
///
/// The target must lie below the logarithm of the number of particles. After the step the
/// temperature is kept at [`TEMPERATURE_FLOOR`] or above.
pub fn kl_temperature_gradient<B: Backend>(kl: Tensor<B, 1>, target: f64) -> Tensor<B, 1> {
    kl.mean().neg().add_scalar(target)
}
