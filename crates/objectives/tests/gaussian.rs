//! SAC's squashed Gaussian against numerical integration and finite differences.

use burn::{
    backend::{Autodiff, Flex, flex::FlexDevice},
    tensor::{Tensor, TensorData},
};
use rescore_kernels::{formula::Formula, total};
use rescore_objectives::gaussian::{LogStd, split_mean_log_std, squashed_sample};

const MEAN: f32 = 0.4;
const LOG_STD: f32 = -0.3;

fn column(values: Vec<f32>) -> Tensor<Flex, 2> {
    let rows = values.len();
    Tensor::from_data(TensorData::new(values, [rows, 1]), &FlexDevice)
}

fn values<const D: usize>(tensor: &Tensor<Flex, D>) -> Vec<f64> {
    tensor.to_data().iter::<f64>().collect()
}

/// Actions and log-probabilities of one-dimensional samples at the unit normals `noise`.
fn sample(noise: Vec<f32>, tanh_correction: bool) -> (Vec<f64>, Vec<f64>) {
    let rows = noise.len();
    let parameters = [MEAN, LOG_STD].map(|x| Formula::from(column(vec![x; rows])));
    let sample = squashed_sample(parameters, column(noise), tanh_correction);
    (values(&sample.actions), values(&sample.log_probabilities))
}

/// Unit normals from -6 to 6; 5e-9 of the mass lies outside.
fn grid() -> Vec<f32> {
    (0..=4000).map(|i| (i as f32 - 2000.0) * 0.003).collect()
}

/// Integral by the trapezoid rule of the density `exp(log_density)` over `x`.
fn integral(x: &[f64], log_density: &[f64]) -> f64 {
    let pairs = x.windows(2).zip(log_density.windows(2));
    pairs
        .map(|(x, l)| (x[1] - x[0]) * (l[0].exp() + l[1].exp()) / 2.0)
        .sum()
}

#[test]
fn with_the_correction_the_density_of_actions_integrates_to_one() {
    let (actions, log_probabilities) = sample(grid(), true);
    let total = integral(&actions, &log_probabilities);
    // rounding of actions near 1 in single precision
    assert!((total - 1.0).abs() < 1e-4, "{total}");
}

#[test]
fn without_it_the_density_before_tanh_does() {
    let (actions, log_probabilities) = sample(grid(), false);
    let u: Vec<f64> = grid()
        .iter()
        .map(|z| f64::from(MEAN) + f64::from(LOG_STD).exp() * f64::from(*z))
        .collect();
    assert!((integral(&u, &log_probabilities) - 1.0).abs() < 1e-5);
    assert!((integral(&actions, &log_probabilities) - 1.0).abs() > 0.1);
}

/// The correction is the logarithm of the derivative of tanh, here as a difference quotient in
/// `f64`, and stays finite where `1 - tanh(u)^2` underflows in single precision.
#[test]
fn the_correction_is_the_logarithm_of_the_slope_of_tanh() {
    let noise = vec![-2.0, -0.5, 0.0, 1.0, 2.5, 40.0];
    let (_, with) = sample(noise.clone(), true);
    let (_, without) = sample(noise.clone(), false);
    for (i, z) in noise.iter().enumerate() {
        let u = f64::from(MEAN) + f64::from(LOG_STD).exp() * f64::from(*z);
        let log_slope = if u < 10.0 {
            let step = 1e-5;
            (((u + step).tanh() - (u - step).tanh()) / (2.0 * step)).ln()
        } else {
            // 1 - tanh(u)^2 = 4 exp(-2 u) (1 + O(exp(-2 u)))
            4.0_f64.ln() - 2.0 * u
        };
        let correction = without[i] - with[i];
        // log-probabilities of order 1000 at the last sample, in single precision
        assert!(
            (correction - log_slope).abs() < 1e-5 * without[i].abs().max(1.0),
            "at {u}: {correction} is not {log_slope}"
        );
    }
}

/// A diagonal Gaussian: the log-probability of a vector is the sum of those of its components.
#[test]
fn components_add_up() {
    let parameters = || {
        [
            Tensor::<Flex, 2>::from_floats([[0.1, -0.7]], &FlexDevice),
            Tensor::<Flex, 2>::from_floats([[-1.0, 0.2]], &FlexDevice),
        ]
    };
    let noise = Tensor::from_floats([[0.9, -1.3]], &FlexDevice);
    let joint = squashed_sample(parameters().map(Formula::from), noise, true);
    let expected: f64 = [(0.1_f64, -1.0_f64, 0.9_f64), (-0.7, 0.2, -1.3)]
        .iter()
        .map(|(mean, log_std, z)| {
            let action = (mean + log_std.exp() * z).tanh();
            let normal = -0.5 * z * z - log_std - 0.5 * std::f64::consts::TAU.ln();
            normal - (1.0 - action * action).ln()
        })
        .sum();
    let actual = values(&joint.log_probabilities);
    assert_eq!(actual.len(), 1);
    assert!(
        (actual[0] - expected).abs() < 1e-5,
        "{actual:?} is not {expected}"
    );
}

/// What SAC differentiates: the log-probability of a reparameterised sample, with respect to mean
/// and log standard deviation.
#[test]
fn the_derivatives_of_the_log_probability_are_those_of_the_formula() {
    let z = 0.8_f32;
    let leaf =
        |value: f32| Tensor::<Autodiff<Flex>, 2>::from_inner(column(vec![value])).require_grad();
    let (mean, log_std) = (leaf(MEAN), leaf(LOG_STD));
    let noise = Tensor::from_inner(column(vec![z]));
    let parameters = [&mean, &log_std].map(|x| Formula::from(x.clone()));
    let sample = squashed_sample(parameters, noise, true);
    let grads = total(sample.log_probabilities).backward();
    let derivative = |leaf: Tensor<Autodiff<Flex>, 2>| {
        values(
            &leaf
                .grad(&grads)
                .expect("the log-probability depends on it"),
        )[0]
    };

    let log_probability = |mean: f64, log_std: f64| {
        let action = (mean + log_std.exp() * f64::from(z)).tanh();
        -log_std - (1.0 - action * action).ln()
    };
    let (m, s, step) = (f64::from(MEAN), f64::from(LOG_STD), 1e-5);
    let by_mean = (log_probability(m + step, s) - log_probability(m - step, s)) / (2.0 * step);
    let by_std = (log_probability(m, s + step) - log_probability(m, s - step)) / (2.0 * step);
    assert!((derivative(mean) - by_mean).abs() < 1e-5);
    assert!((derivative(log_std) - by_std).abs() < 1e-5);
}

#[test]
fn the_network_output_splits_into_mean_and_clipped_log_std() {
    let output = Tensor::<Flex, 2>::from_floats([[1.0, 2.0, 9.0, -30.0]], &FlexDevice);
    let halves = split_mean_log_std(output, LogStd::Clipped([-20.0, 0.5]));
    let [mean, log_std] = halves.map(Formula::compute);
    assert_eq!(values(&mean), [1.0, 2.0]);
    assert_eq!(values(&log_std), [0.5, -20.0]);
}
