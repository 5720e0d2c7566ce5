//! The losses and weights of reweighted score matching against naive evaluations in `f64`, by
//! hand, and against finite differences.

use burn::{
    backend::{Autodiff, Flex, flex::FlexDevice},
    tensor::{Int, Tensor},
};
use rescore_diffusion::{Denoiser, DenoiserShape, NoiseSchedule, ScheduleKind};
use rescore_kernels::{Activation, Noise, NoiseKey, total, unflatten_particles};
use rescore_nn::{Initializer, Shape, Tree, freeze, input_gradient, leaves, value_and_grad};
use rescore_objectives::rsm::{self, DenoisingRows, QNormalization, QStatistics};

type Differentiable = Autodiff<Flex>;

const BATCH: usize = 5;
const SAMPLES: usize = 64;
const DIM: usize = 3;

fn normal(name: &str, shape: [usize; 2]) -> Tensor<Flex, 2> {
    let key = NoiseKey::new(1, name);
    Noise { key, counter: 0 }.normal(shape, &FlexDevice)
}

fn values<const D: usize>(tensor: &Tensor<Flex, D>) -> Vec<f64> {
    tensor.to_data().iter::<f64>().collect()
}

fn assert_close(actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    for (a, b) in actual.iter().zip(expected) {
        assert!(
            (a - b).abs() <= tolerance * b.abs().max(1.0),
            "{a} is not {b}"
        );
    }
}

/// One pass a row must be worth the 64 passes of the definition, in value and gradient.
#[test]
fn the_reverse_sampling_loss_is_that_of_all_samples_evaluated_one_by_one() {
    let pred = normal("pred", [BATCH, DIM]);
    let noise = unflatten_particles(normal("noise", [BATCH * SAMPLES, DIM]), BATCH);
    let weights = rsm::max_entropy_weights(normal("q", [BATCH, SAMPLES]));

    let leaf = Tensor::<Differentiable, 2>::from_inner(pred.clone()).require_grad();
    let loss = rsm::noise_error(leaf.clone(), noise.clone(), weights.clone());
    let grads = loss.backward();
    let gradient = values(
        &leaf
            .grad(&grads)
            .expect("the loss depends on the prediction"),
    );

    let (e, n, w) = (values(&pred), values(&noise), values(&weights));
    let count = (BATCH * SAMPLES * DIM) as f64;
    let mut expected = 0.0;
    let mut expected_gradient = vec![0.0; BATCH * DIM];
    for row in 0..BATCH {
        for sample in 0..SAMPLES {
            let weight = w[row * SAMPLES + sample];
            for d in 0..DIM {
                let error = e[row * DIM + d] - n[(row * SAMPLES + sample) * DIM + d];
                expected += weight * error * error / count;
                expected_gradient[row * DIM + d] += 2.0 * weight * error / count;
            }
        }
    }
    // single precision: a few units of 1e-7 on sums of order 1, divided by 64
    assert_close(&values(&loss.inner()), &[expected], 1e-7);
    assert_close(&gradient, &expected_gradient, 1e-7);
}

#[test]
fn max_entropy_weights_are_a_softmax_over_the_samples_of_a_row() {
    let q = Tensor::<Flex, 2>::from_floats(
        [[0.0, 2.0_f32.ln(), 5.0_f32.ln()], [7.0, 7.0, 7.0]],
        &FlexDevice,
    );
    let third = 1.0 / 3.0;
    let expected = [0.125, 0.25, 0.625, third, third, third];
    assert_close(&values(&rsm::max_entropy_weights(q)), &expected, 1e-6);
}

/// Q 1 and -6 with mean 2, standard deviation 4, limit 3 and temperature 0.5, by hand.
#[test]
fn mirror_descent_weights_follow_the_normalization_and_the_limit() {
    let device = FlexDevice;
    let statistics = QStatistics::<Flex> {
        mean: Tensor::from_floats([2.0], &device),
        std: Tensor::from_floats([4.0], &device),
    };
    let cases = [
        // q - mean / std = 0.5, -6.5
        (QNormalization::Reference, [0.5, -3.0]),
        // (q - mean) / std = -0.25, -2
        (QNormalization::Standardize, [-0.25, -2.0]),
        (QNormalization::None, [1.0, -3.0]),
    ];
    for (normalization, clipped) in cases {
        let weights = rsm::mirror_descent_weights(
            Tensor::from_floats([1.0, -6.0], &device),
            normalization,
            &statistics,
            3.0,
            Tensor::from_floats([0.5], &device),
        );
        let expected = clipped.map(|q: f64| (q / 0.5).exp());
        assert_close(&values(&weights), &expected, 1e-6);
    }
}

/// Mean 3 and population standard deviation 2 of the batch, a tenth of the way from 0 and 1.
#[test]
fn statistics_move_towards_those_of_the_batch() {
    let device = FlexDevice;
    let q = Tensor::<Flex, 1>::from_floats([1.0, 5.0, 1.0, 5.0], &device);
    let moved = QStatistics::new(&device).updated(q, 0.1);
    assert_close(&values(&moved.mean), &[0.3], 1e-6);
    assert_close(&values(&moved.std), &[1.1], 1e-6);
}

/// Of `noisy` 0.3 at a step where `alpha_bar` is known: the forward process undone, and clipped.
#[test]
fn reverse_samples_invert_the_forward_process_inside_the_box() {
    let schedule = NoiseSchedule::new(ScheduleKind::Cosine, 20, 0.8);
    let times = Tensor::<Flex, 1, Int>::from_ints([2, 19], &FlexDevice);
    let noise = unflatten_particles(normal("reverse", [2 * SAMPLES, DIM]), 2);
    let noisy = normal("noisy", [2, DIM]).mul_scalar(0.3);
    let clean = rsm::reverse_samples(&schedule, noisy.clone(), times, noise.clone());
    assert_eq!(clean.dims(), [2, SAMPLES, DIM]);

    let (noisy, noise) = (values(&noisy), values(&noise));
    let mut clipped = 0;
    let expected: Vec<f64> = (0..2 * SAMPLES * DIM)
        .map(|i| {
            let row = i / (SAMPLES * DIM);
            let alpha_bar = schedule.alpha_bars[[2, 19][row]];
            let x = noisy[row * DIM + i % DIM];
            let clean = (x - (1.0 - alpha_bar).sqrt() * noise[i]) / alpha_bar.sqrt();
            clipped += usize::from(clean.abs() > 1.0);
            clean.clamp(-1.0, 1.0)
        })
        .collect();
    assert_close(&values(&clean), &expected, 1e-5);
    assert!((SAMPLES..2 * SAMPLES * DIM).contains(&clipped), "{clipped}");
}

/// What the denoising loss takes besides the network.
struct Batch {
    schedule: NoiseSchedule,
    rows: DenoisingRows<Flex>,
}

impl Batch {
    fn new() -> Self {
        Self {
            schedule: NoiseSchedule::new(ScheduleKind::Linear, 20, 0.8),
            rows: DenoisingRows {
                observations: normal("observations", [BATCH, 2]),
                actions: normal("actions", [BATCH, DIM]).clamp(-1.0, 1.0),
                times: Tensor::from_ints([0, 3, 8, 13, 19], &FlexDevice),
                noise: normal("noise", [BATCH, DIM]),
                weights: Tensor::from_floats([0.1, 3.0, 1.0, 0.0, 20.0], &FlexDevice),
            },
        }
    }

    fn loss(&self, policy: &Denoiser<Flex>) -> f64 {
        let rows = self.rows.clone();
        let loss = rsm::weighted_denoising_loss(&freeze(policy), &self.schedule, rows);
        values(&loss.inner())[0]
    }

    /// Squared errors of every entry.
    fn errors(&self, policy: &Denoiser<Flex>) -> Vec<f64> {
        let rows = self.rows.clone();
        let noise = values(&rows.noise);
        let noisy = (self.schedule).add_noise(rows.actions, rows.times.clone(), rows.noise);
        let pred = policy.forward(rows.observations, noisy, rows.times, 20);
        let pairs = values(&pred).into_iter().zip(noise);
        pairs.map(|(e, n)| (e - n).powi(2)).collect()
    }
}

fn policy() -> Denoiser<Flex> {
    let shape = DenoiserShape {
        observation_dim: 2,
        action_dim: DIM,
        trunk: Shape::Mlp {
            hidden_dims: vec![8, 8],
            activation: Activation::Mish,
            initializer: Initializer::LecunNormal,
        },
    };
    let key = NoiseKey::new(0, "policy");
    Denoiser::init(&shape, Initializer::LecunNormal, key, &FlexDevice)
}

/// The definition, from the network's outputs; errors beyond a limit count as the limit.
#[test]
fn the_denoising_loss_is_the_weighted_mean_square() {
    let (batch, policy) = (Batch::new(), policy());
    let (errors, w) = (batch.errors(&policy), values(&batch.rows.weights));
    let mean = |limit: f64| {
        let errors = errors.iter().enumerate();
        let terms = errors.map(|(i, error)| w[i / DIM] * error.min(limit));
        terms.sum::<f64>() / (BATCH * DIM) as f64
    };
    assert_close(&[batch.loss(&policy)], &[mean(f64::INFINITY)], 1e-6);
    let limit = 0.5;
    let rows = batch.rows.clone();
    let clipped = rsm::clipped_denoising_loss(&freeze(&policy), &batch.schedule, rows, limit);
    assert_close(&values(&clipped.inner()), &[mean(limit)], 1e-6);
    assert!(mean(limit) < mean(f64::INFINITY), "the limit must be one");
}

/// Beyond the limit there is no gradient: with a limit of 0 there is none at all.
#[test]
fn clipped_errors_have_no_gradient() {
    let (batch, policy) = (Batch::new(), policy());
    let gradient = |limit: f64| {
        let (_, gradient, ()) = value_and_grad(&policy, |policy| {
            let rows = batch.rows.clone();
            let loss = rsm::clipped_denoising_loss(policy, &batch.schedule, rows, limit);
            (loss, ())
        });
        gradient
    };
    assert!(dot(&gradient(0.0), &gradient(0.0)) == 0.0);
    let (_, whole, ()) = value_and_grad(&policy, |policy| {
        let rows = batch.rows.clone();
        (
            rsm::weighted_denoising_loss(policy, &batch.schedule, rows),
            (),
        )
    });
    let unlimited = gradient(1e6);
    let [a, b] = [dot(&whole, &unlimited), dot(&whole, &whole)];
    assert!((a / b - 1.0).abs() < 1e-6, "{a}, {b}");
}

/// A row for each particle, its state's observation with it.
#[test]
fn rows_of_particles_are_in_the_order_of_states() {
    let particles = 2;
    let all = normal("particles", [BATCH * particles, DIM]);
    let rows = DenoisingRows::of_particles(
        normal("observations", [BATCH, 2]),
        unflatten_particles(all.clone(), BATCH),
        Tensor::from_ints([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], &FlexDevice),
        unflatten_particles(all.clone(), BATCH),
        normal("weights", [BATCH, particles]),
    );
    assert_eq!(values(&rows.actions), values(&all));
    assert_eq!(values(&rows.noise), values(&all));
    let weights = values(&normal("weights", [BATCH, particles]));
    assert_eq!(values(&rows.weights), weights);
    let observations = values(&normal("observations", [BATCH, 2]));
    let of_rows = values(&rows.observations);
    for (row, observation) in of_rows.chunks(2).enumerate() {
        assert_eq!(observation, &observations[row / particles * 2..][..2]);
    }
}

/// The error of the mean of all samples' noise has the gradient of all samples' errors.
#[test]
fn the_regression_loss_has_the_gradient_of_all_samples() {
    let noise = unflatten_particles(normal("noise", [BATCH * SAMPLES, DIM]), BATCH);
    let weights = rsm::max_entropy_weights(normal("q", [BATCH, SAMPLES]));
    let target = rsm::mean_noise(noise.clone(), weights.clone());
    let (_, by_mean) = input_gradient(normal("pred", [BATCH, DIM]), |pred| {
        rsm::regression_loss(pred, target)
    });
    let (_, by_all) = input_gradient(normal("pred", [BATCH, DIM]), |pred| {
        rsm::noise_error(pred, noise, weights).mul_scalar(SAMPLES as f64)
    });
    assert_close(&values(&by_mean), &values(&by_all), 1e-6);
}

/// Along random directions in the space of all parameters. The difference quotient with a step of
/// 2e-3 is good to 1e-3: its truncation error is of order 1e-5, the rounding of two losses of
/// order 5 in single precision, divided by the step, of order 3e-4.
#[test]
fn the_gradient_of_the_denoising_loss_agrees_with_finite_differences() {
    let (batch, policy) = (Batch::new(), policy());
    let (_, gradient, ()) = value_and_grad(&policy, |policy| {
        let rows = batch.rows.clone();
        let loss = rsm::weighted_denoising_loss(policy, &batch.schedule, rows);
        (loss, ())
    });
    for direction in 0..5 {
        let along = |step: f64| moved(&policy, direction, step);
        let step = 2e-3;
        let quotient = (batch.loss(&along(step)) - batch.loss(&along(-step))) / (2.0 * step);
        let unit = moved(&zeros(&policy), direction, 1.0);
        let exact = dot(&gradient, &unit);
        assert!(exact.abs() > 1e-2, "direction {direction} shows nothing");
        assert!(
            (quotient - exact).abs() < 1e-3 * exact.abs().max(1.0),
            "direction {direction}: {quotient} is not {exact}"
        );
    }
}

/// `policy` moved by `step` along a random direction, by 0.1 a parameter and unit of `step`.
fn moved(policy: &Denoiser<Flex>, direction: u32, step: f64) -> Denoiser<Flex> {
    policy.map::<Flex>("", &mut |leaf, tensor| {
        let [_, rows, columns] = tensor.dims();
        let key = NoiseKey::new(2, leaf.name);
        let noise = Noise {
            key,
            counter: direction,
        };
        let random: Tensor<Flex, 2> = noise.normal([rows, columns], &FlexDevice);
        tensor.clone() + random.mul_scalar(step * 0.1).unsqueeze_dim(0)
    })
}

fn zeros(policy: &Denoiser<Flex>) -> Denoiser<Flex> {
    policy.map::<Flex>("", &mut |_, tensor| tensor.zeros_like())
}

fn dot(a: &Denoiser<Flex>, b: &Denoiser<Flex>) -> f64 {
    let pairs = leaves(a).into_iter().zip(leaves(b));
    let products = pairs.map(|((.., a), (.., b))| total(a * b));
    products.map(|product| values(&product)[0]).sum()
}
