//! Denoisers trained on the same samples of the uniform distribution; only the weights differ, and
//! for SDAC the kernel that clean actions are drawn from.

use burn::{
    backend::{Flex, flex::FlexDevice},
    tensor::{Int, Tensor, TensorData},
};
use rescore_diffusion::{Denoiser, DenoiserShape, NoiseSchedule, Sampler, ScheduleKind};
use rescore_kernels::{
    Activation, Noise, NoiseKey, Precision, flatten_particles, unflatten_particles,
};
use rescore_nn::{Adam, AdamSettings, Initializer, Shape, value_and_grad};
use rescore_objectives::reverse::truncated_reverse_samples;
use rescore_objectives::rsm::{
    self, DenoisingRows, NoiseRows, QNormalization, QStatistics, ReverseRows,
};

use crate::mixture::{self, Point};

/// Temperature lambda, in units of Q. Q is `lambda` times the log-density of the target, so that
/// `exp(Q / lambda)` is the target's density at any `lambda`, and a loss that forgot the temperature
/// would miss it.
pub const TEMPERATURE: f64 = 0.5;

/// Q is clipped to plus or minus this, in units of Q, for DPMD's weights. The log-density (times
/// lambda) is at most 0.95; the lower bound leaves a density of `exp(-5 / 0.5) = 5e-5` between the
/// modes.
const Q_LIMIT: f64 = 5.0;

/// Samples of the reverse kernel for each noisy point, as many as the reference implementation has.
/// At the noisy end of the chain few of them fall on a mode, and the softmax over few is biased
/// towards equal weights, which lead to the uniform distribution: with 4, 16, 64 and 256 samples of
/// the truncated kernel training ends at energy distances of some 0.016, 0.006, 0.002 and 0.001 from
/// the target.
pub const REVERSE_SAMPLES: usize = 64;

/// Points a batch of the denoising losses.
const BATCH: usize = 256;

/// Points a batch of SDAC's loss, whose targets are averages over many samples already.
const MAX_ENTROPY_BATCH: usize = 32;

/// Learning rate at the first update; it falls linearly to a hundredth of this.
const LEARNING_RATE: f64 = 1e-2;

/// Which weights the samples get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// All the same: ordinary denoising score matching.
    Unweighted,
    /// DPMD's.
    MirrorDescent,
    /// SDAC's, with so many samples of the reverse kernel.
    MaxEntropy(Kernel, usize),
}

/// How SDAC keeps clean actions of the reverse kernel inside the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Samples of the normal kernel are clipped; their noise is not changed.
    Clipped,
    /// The kernel is restricted to the box, so that noise and clean action belong together.
    Truncated,
}

/// 20 steps of the cosine schedule. The linear one spends fewer of its steps at noise as small as
/// the modes: with a perfect denoiser the chain ends at an energy distance of 0.006 from the
/// target, with this one at 0.002. What remains are modes inside the box narrower by a tenth to a
/// quarter, the price of 20 steps.
fn schedule() -> NoiseSchedule {
    NoiseSchedule::new(ScheduleKind::Cosine, 20, 0.8)
}

/// `count` points, uniform on `(0, 1]^2`.
fn uniforms(count: usize, noise: Noise) -> Vec<Point> {
    let coordinate = |row, column| noise.key.uniform(row, column, noise.counter);
    (0..count as u32)
        .map(|row| [0, 1].map(|column| coordinate(row, column)))
        .collect()
}

/// `count` points, uniform on `[-1, 1]^2`: all that training sees of the plane.
pub fn proposal(count: usize, noise: Noise) -> Vec<Point> {
    let points = uniforms(count, noise).into_iter();
    points.map(|point| point.map(|x| 2.0 * x - 1.0)).collect()
}

/// Updates after which models with the right weights are far nearer to the target than others; with
/// more of them distances still fall, slowly.
pub const UPDATES: u32 = 7000;

/// A denoiser after `updates` updates with `objective`. Equal seeds give equal samples, times and
/// noise for all objectives.
pub fn train(objective: Objective, updates: u32, seed: u64) -> Denoiser<Flex> {
    let device = FlexDevice;
    let shape = DenoiserShape {
        observation_dim: 1,
        action_dim: 2,
        trunk: Shape::Mlp {
            hidden_dims: vec![64, 64, 64],
            activation: Activation::Mish,
            initializer: Initializer::LecunNormal,
        },
    };
    let init = NoiseKey::new(seed, "init");
    let mut policy = Denoiser::init(&shape, Initializer::LecunNormal, init, &device);
    let mut optimizer = Adam::new(&policy, AdamSettings::default());
    for update in 0..updates {
        let gradient = gradient(&policy, objective, seed, update);
        let progress = f64::from(update) / f64::from(updates);
        let rate = LEARNING_RATE * (1.0 - 0.99 * progress);
        optimizer.step(&mut policy, &gradient, rate);
    }
    policy
}

/// Gradient of the objective on the batch that `seed` and `update` select.
fn gradient(
    policy: &Denoiser<Flex>,
    objective: Objective,
    seed: u64,
    update: u32,
) -> Denoiser<Flex> {
    let device = FlexDevice;
    let stream = |name: &str| Noise {
        key: NoiseKey::new(seed, name),
        counter: update,
    };
    let batch = match objective {
        Objective::Unweighted | Objective::MirrorDescent => BATCH,
        Objective::MaxEntropy(..) => MAX_ENTROPY_BATCH,
    };
    let schedule = schedule();
    let actions = tensor(&proposal(batch, stream("actions")));
    let times: Tensor<Flex, 1, Int> =
        stream("times").integers(batch, schedule.num_steps(), &device);
    let noise = stream("noise").normal::<Flex>([batch, 2], &device);

    let denoising = |weights: Tensor<Flex, 1>| {
        let rows = DenoisingRows {
            observations: observations(batch),
            actions: actions.clone(),
            times: times.clone(),
            noise: noise.clone(),
            weights,
        };
        let (_, gradient, ()) = value_and_grad(policy, |policy| {
            let loss = rsm::weighted_denoising_loss(policy, &schedule, rows);
            (loss, ())
        });
        gradient
    };
    match objective {
        Objective::Unweighted => denoising(Tensor::ones([batch], &device)),
        Objective::MirrorDescent => denoising(rsm::mirror_descent_weights(
            q(actions.clone()),
            QNormalization::None,
            &QStatistics::new(&device),
            Q_LIMIT,
            Tensor::from_floats([TEMPERATURE], &device),
        )),
        Objective::MaxEntropy(Kernel::Clipped, count) => {
            let noisy = schedule.add_noise(actions, times.clone(), noise);
            let reverse = stream("reverse").normal::<Flex>([batch * count, 2], &device);
            let reverse = unflatten_particles(reverse, batch);
            let clean =
                rsm::reverse_samples(&schedule, noisy.clone(), times.clone(), reverse.clone());
            let rows = ReverseRows {
                observations: observations(batch),
                noisy,
                times,
                noise: reverse,
                weights: max_entropy_weights(clean),
            };
            let (_, gradient, ()) = value_and_grad(policy, |policy| {
                let loss = rsm::reverse_sampling_loss(policy, &schedule, rows);
                (loss, ())
            });
            gradient
        }
        Objective::MaxEntropy(Kernel::Truncated, count) => {
            let noisy = schedule.add_noise(actions.clone(), times.clone(), noise.clone());
            let ratio = schedule.signal_to_noise(times.clone());
            let uniforms = tensor(&uniforms(batch * count, stream("reverse")));
            let uniforms = unflatten_particles(uniforms, batch);
            let reverse = truncated_reverse_samples(actions, noise, ratio, uniforms);
            let rows = NoiseRows {
                observations: observations(batch),
                noisy,
                times,
                noise: rsm::mean_noise(reverse.noise, max_entropy_weights(reverse.clean)),
            };
            let (_, gradient, ()) = value_and_grad(policy, |policy| {
                let loss = rsm::noise_regression_loss(policy, &schedule, rows);
                (loss, ())
            });
            gradient
        }
    }
}

/// SDAC's weights of clean actions `[batch, samples, 2]`: `[batch, samples]`.
fn max_entropy_weights(clean: Tensor<Flex, 3>) -> Tensor<Flex, 2> {
    let [batch, samples, _] = clean.dims();
    let scaled_q = q(flatten_particles(clean)).div_scalar(TEMPERATURE);
    rsm::max_entropy_weights(scaled_q.reshape([batch, samples]))
}

/// `count` samples of the trained model: the denoising chain from unit normals.
pub fn samples(policy: &Denoiser<Flex>, count: usize, key: NoiseKey) -> Vec<Point> {
    let sampler = Sampler::ddpm(&schedule(), 1.0, Precision::F32);
    let chain = sampler.sample(policy, observations(count), 1, &sampler.noise(key, 0));
    let values: Vec<f32> = chain.to_data().iter::<f32>().collect();
    values.chunks_exact(2).map(|p| [p[0], p[1]]).collect()
}

/// The action value whose optimal policy is the target, `[rows]` at actions `[rows, 2]`.
fn q(actions: Tensor<Flex, 2>) -> Tensor<Flex, 1> {
    mixture::log_density(actions).mul_scalar(TEMPERATURE)
}

/// There is one state only.
fn observations(count: usize) -> Tensor<Flex, 2> {
    Tensor::zeros([count, 1], &FlexDevice)
}

fn tensor(points: &[Point]) -> Tensor<Flex, 2> {
    let values = points.as_flattened().to_vec();
    Tensor::from_data(TensorData::new(values, [points.len(), 2]), &FlexDevice)
}
