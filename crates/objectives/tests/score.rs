//! Noise that follows from gradients of critics, against differences of the densities that it is of.

use burn::backend::{Flex, flex::FlexDevice};
use burn::tensor::{Int, Tensor, TensorData};
use rescore_critics::{Critics, Head};
use rescore_diffusion::{NoiseSchedule, ScheduleKind};
use rescore_kernels::{Activation, Combine, NoiseKey, unflatten_particles};
use rescore_nn::{Initializer, Shape, freeze, input_gradient};
use rescore_objectives::particles::ParticleWeights;
use rescore_objectives::score::{EnergySamples, gradient_scale, score_noise};

const ROWS: usize = 10;
const DIM: usize = 3;
const SAMPLES: usize = 7;
const DEVICE: FlexDevice = FlexDevice;

fn critics() -> Critics<Flex> {
    let shape = Shape::Mlp {
        hidden_dims: vec![24, 24],
        activation: Activation::Mish,
        initializer: Initializer::LecunNormal,
    };
    let key = NoiseKey::new(3, "critics");
    Critics::init([4, DIM], 2, &shape, Head::Scalar, key, &DEVICE)
}

fn draw(name: &str, rows: usize, columns: usize) -> Tensor<Flex, 2> {
    let mut values = vec![0.0; rows * columns];
    NoiseKey::new(5, name).fill_normals(&mut values, columns, 0, 0, 0);
    Tensor::from_data(TensorData::new(values, [rows, columns]), &DEVICE)
}

fn numbers<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Every step of the schedule once.
fn times() -> Tensor<Flex, 1, Int> {
    Tensor::arange(0..ROWS as i64, &DEVICE)
}

fn schedule() -> NoiseSchedule {
    NoiseSchedule::new(ScheduleKind::Cosine, ROWS, 1.0)
}

/// `(f(x + h e) - f(x - h e)) / 2h` of every row's function along the direction `e`; none where the
/// slopes of both sides differ, which a bound that the step crosses makes.
fn slope(
    x: &Tensor<Flex, 2>,
    along: &Tensor<Flex, 2>,
    f: impl Fn(Tensor<Flex, 2>) -> Vec<f64>,
) -> Vec<Option<f64>> {
    let step = 2e-3;
    let at = |h: f64| f(x.clone() + along.clone().mul_scalar(h));
    let (up, here, down) = (at(step), at(0.0), at(-step));
    (0..here.len())
        .map(|i| {
            let (above, below) = ((up[i] - here[i]) / step, (here[i] - down[i]) / step);
            let smooth = (above - below).abs() < 0.02 * above.abs().max(0.5);
            smooth.then_some(0.5 * (above + below))
        })
        .collect()
}

fn along(noise: Tensor<Flex, 2>, direction: &Tensor<Flex, 2>) -> Vec<f64> {
    numbers((noise * direction.clone()).sum_dim(1))
}

/// The noise is `-sigma` times the derivative of `Q / lambda`, so that the density rises against it.
#[test]
fn score_noise_points_down_the_density() {
    let (critics, schedule) = (critics(), schedule());
    let observations = draw("observations", ROWS, 4);
    let noisy = draw("noisy", ROWS, DIM);
    let q = |x: Tensor<Flex, 2>| critics.combined(Combine::Mean, observations.clone(), x);
    let (_, gradient) = input_gradient(noisy.clone(), |x| {
        let states = Tensor::from_inner(observations.clone());
        freeze(&critics).combined(Combine::Mean, states, x)
    });
    let scale = gradient_scale(gradient.clone(), 1e-6);
    let mean = numbers(gradient.clone())
        .iter()
        .map(|g| g.abs())
        .sum::<f64>();
    let mean = mean / (ROWS * DIM) as f64;
    assert!((numbers(scale.clone())[0] - mean - 1e-6).abs() < 1e-7);

    let lambda = scale.mul_scalar(0.1);
    let sigma = schedule.noise_scale(times());
    let noise = score_noise(gradient, sigma.clone(), lambda.clone());
    let direction = draw("direction", ROWS, DIM);
    let slopes = slope(&noisy, &direction, |x| numbers(q(x)));
    let (found, sigma, lambda) = (along(noise, &direction), numbers(sigma), numbers(lambda)[0]);
    for row in 0..ROWS {
        let slope = slopes[row].expect("critics are smooth");
        let exact = -sigma[row] * slope / lambda;
        let error = (found[row] - exact).abs();
        assert!(
            error < 0.02 * exact.abs().max(1.0),
            "row {row}: {} {exact}",
            found[row]
        );
    }
}

/// iDEM's target is `-sigma` times the derivative by the noisy action of the log of the mean energy
/// over its clean actions, clipping included.
#[test]
fn energy_noise_is_the_derivative_of_the_smoothed_energy() {
    let (critics, schedule) = (critics(), schedule());
    let observations = draw("observations", ROWS, 4);
    let noisy = draw("noisy", ROWS, DIM).mul_scalar(0.5);
    let reverse = unflatten_particles(draw("reverse", ROWS * SAMPLES, DIM), ROWS);
    let lambda = Tensor::from_data([0.3], &DEVICE);
    let states = observations.unsqueeze_dim::<3>(1).repeat_dim(1, SAMPLES);
    let states: Tensor<Flex, 2> = states.flatten(0, 1);
    let samples = |x: Tensor<Flex, 2>| EnergySamples::new(&schedule, x, times(), reverse.clone());
    let scores = |x: Tensor<Flex, 2>| {
        let rows = samples(x).rows();
        critics
            .combined(Combine::Mean, states.clone(), rows)
            .reshape([ROWS, SAMPLES])
    };
    let energy = |x: Tensor<Flex, 2>| {
        let scaled = numbers(scores(x).div_scalar(0.3));
        let sum = |row: &[f64]| row.iter().map(|q| q.exp()).sum::<f64>().ln();
        scaled.chunks(SAMPLES).map(sum).collect()
    };

    let here = samples(noisy.clone());
    let (_, gradient) = input_gradient(here.rows(), |actions| {
        let states = Tensor::from_inner(states.clone());
        freeze(&critics).combined(Combine::Mean, states, actions)
    });
    let weights = ParticleWeights::softmax(scores(noisy.clone()), lambda.clone());
    let ratio = schedule.signal_to_noise(times());
    let gradient = unflatten_particles(gradient, ROWS);
    let noise = here.noise(gradient, weights.probabilities, ratio, lambda);

    let direction = draw("direction", ROWS, DIM);
    let slopes = slope(&noisy, &direction, energy);
    let sigma = numbers(schedule.noise_scale(times()));
    let found = along(noise, &direction);
    let inside = numbers(here.inside.clone());
    assert!(
        inside.contains(&0.0) && inside.contains(&1.0),
        "clipping is tested"
    );
    let mut compared = 0;
    for row in 0..ROWS {
        let Some(slope) = slopes[row] else {
            continue;
        };
        compared += 1;
        let exact = -sigma[row] * slope;
        let error = (found[row] - exact).abs();
        assert!(
            error < 0.02 * exact.abs().max(1.0),
            "row {row}: {} {exact}",
            found[row]
        );
    }
    assert!(compared >= 4, "{compared} rows");
}
