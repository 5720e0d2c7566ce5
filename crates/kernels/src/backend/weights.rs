//! Softmax weights of the particles of a state, and the temperature at which they have a given divergence
//! from equal ones.

use burn::tensor::{
    Tensor, TensorPrimitive, activation::log_softmax, backend::Backend, ops::FloatTensor,
};

use crate::{RescoreBackend, upload};

/// Where a temperature is looked for.
pub const RANGE: [f64; 2] = [1e-6, 1e2];

/// Halvings of the logarithm of that range in 64 bits: its width, 18.4 and more, becomes 2e-11.
const HALVINGS: usize = 40;

/// Probabilities `[states, particles]`, and `[states]` each their divergence from equal ones, `sum p
/// log(p K)` for `K` particles, and their effective number, `1 / sum p^2`.
pub type Weights<B> = (Tensor<B, 2>, Tensor<B, 1>, Tensor<B, 1>);

fn tensor<B: Backend, const D: usize>(x: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

/// Softmax of `scores / temperature`: `[states, particles]`, `[1]`.
pub fn softmax_weights<B: RescoreBackend>(
    scores: Tensor<B, 2>,
    temperature: Tensor<B, 1>,
) -> Weights<B> {
    let (scores, temperature) = (scores.into_primitive(), temperature.into_primitive());
    let [probabilities, kl, effective] =
        B::softmax_weights(scores.tensor(), temperature.tensor()).map(tensor::<B, 2>);
    let [states, _] = probabilities.dims();
    (
        probabilities,
        kl.reshape([states]),
        effective.reshape([states]),
    )
}

/// The default body of [`RescoreBackend::softmax_weights`].
pub(crate) fn reference<B: Backend>(
    scores: FloatTensor<B>,
    temperature: FloatTensor<B>,
) -> [FloatTensor<B>; 3] {
    let (scores, temperature): (Tensor<B, 2>, Tensor<B, 1>) = (tensor(scores), tensor(temperature));
    let logarithms = log_softmax(scores / temperature.unsqueeze(), 1);
    let probabilities = logarithms.clone().exp();
    let [kl, effective] = measures(probabilities.clone(), logarithms);
    [probabilities, kl, effective].map(|x| x.into_primitive().tensor())
}

/// Divergences and effective numbers, `[states, 1]` each, of probabilities and their logarithms.
pub fn measures<B: Backend>(
    probabilities: Tensor<B, 2>,
    logarithms: Tensor<B, 2>,
) -> [Tensor<B, 2>; 2] {
    let [_, particles] = probabilities.dims();
    let logarithms = logarithms.add_scalar((particles as f64).ln());
    let kl = (probabilities.clone() * logarithms).sum_dim(1);
    let squares = probabilities.clone() * probabilities;
    [kl, squares.sum_dim(1).recip()]
}

/// The logarithm of the temperature, `[1]`, at which the mean over states of the divergence of the
/// softmax weights of `scores` `[states, particles]` from equal ones is `target`, which must lie between
/// 0 and the logarithm of the number of particles. The nearer end of [`RANGE`] where it is not reached.
pub fn softmax_temperature<B: RescoreBackend>(scores: Tensor<B, 2>, target: f64) -> Tensor<B, 1> {
    tensor(B::softmax_temperature(
        scores.into_primitive().tensor(),
        target,
    ))
}

/// The default body of [`RescoreBackend::softmax_temperature`]: in 64 bits, on the host.
pub(crate) fn temperature_reference<B: Backend>(
    scores: FloatTensor<B>,
    target: f64,
) -> FloatTensor<B> {
    let scores: Tensor<B, 2> = tensor(scores);
    let (device, [_, particles]) = (scores.device(), scores.dims());
    let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
    let divergence = |row: &[f64], temperature: f64| softmax_divergence(row, temperature);
    let logarithm = solve(&scores, particles, (target, 1.0), divergence);
    upload::<B, 1>(vec![logarithm as f32], [1], &device)
        .into_primitive()
        .tensor()
}

/// The logarithm of the temperature at which the mean of `divergence` over the rows of `scores`, of
/// `samples` each and less their largest, is `target`, in 64 bits. `widened` is a factor of the upper end
/// of [`RANGE`].
///
/// Divergences fall with the temperature, so that bisection of its logarithm finds it. Where no temperature
/// of the range has that divergence, the nearer end of the range is the result.
///
/// # Panics
/// Without samples.
pub fn solve(
    scores: &[f32],
    samples: usize,
    (target, widened): (f64, f64),
    divergence: impl Fn(&[f64], f64) -> f64,
) -> f64 {
    let shifted = below_largest(scores, samples);
    let states = shifted.len() / samples;
    let [mut low, mut high] = [RANGE[0], RANGE[1] * widened].map(f64::ln);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        let temperature = middle.exp();
        let rows = shifted.chunks_exact(samples);
        let sum: f64 = rows.map(|row| divergence(row, temperature)).sum();
        if sum < target * states as f64 {
            high = middle;
        } else {
            low = middle;
        }
    }
    0.5 * (low + high)
}

/// Every score less the largest of its row.
pub fn below_largest(scores: &[f32], samples: usize) -> Vec<f64> {
    let rows = scores.chunks_exact(samples);
    rows.flat_map(|row| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter()
            .map(move |score| f64::from(*score) - f64::from(largest))
    })
    .collect()
}

/// `sum p log(p K)` of the softmax of `row / temperature`: with `e = exp(row / temperature)` it is
/// `sum e row / (temperature sum e) - log(sum e / K)`.
pub fn softmax_divergence(row: &[f64], temperature: f64) -> f64 {
    let (mut sum, mut weighted) = (0.0, 0.0);
    for score in row {
        let scaled = score / temperature;
        let e = scaled.exp();
        sum += e;
        weighted += e * scaled.max(f64::MIN);
    }
    weighted / sum - (sum / row.len() as f64).ln()
}
