//! The denoising chain against a naive f64 one, on sizes that fit no register and no tile.

use burn::{
    backend::{Flex, NdArray},
    tensor::{Tensor, backend::Backend},
};
use proptest::prelude::*;
use rescore_kernels::{
    Activation, ChainNetwork, ChainNoise, Layer, NoiseKey, RescoreBackend, StepCoefficients,
};

use crate::{
    ACTIVATIONS,
    ancestral::{self, Noise},
    assert_close, bits, normals, on_both_backends, tensor, to_vec,
};

/// Deviation allowed, relative to max(1, value): about a hundred roundings of an f32.
const TOLERANCE: f64 = 1e-5;

/// Sizes of a chain.
#[derive(Debug, Clone)]
pub struct Sizes {
    pub states: usize,
    pub particles: usize,
    pub steps: usize,
    pub hidden: Vec<usize>,
    pub observation_dim: usize,
    pub action_dim: usize,
}

impl Sizes {
    fn rows(&self) -> usize {
        self.states * self.particles
    }

    /// A network with random weights and biases, scaled so that activations stay near 1.
    pub fn network<B: Backend>(&self, activation: Activation) -> ChainNetwork<B> {
        let matrix = |name: &str, dims: [usize; 2], fan_in: usize| {
            let scale = 1.0 / (fan_in as f32).sqrt();
            tensor(normals(name, dims[0] * dims[1], scale), dims)
        };
        let (hidden, dims) = (self.hidden[0], [self.observation_dim, self.action_dim]);
        let fan_in = dims[0] + dims[1];
        let mut widths = self.hidden.clone();
        widths.push(self.action_dim);
        ChainNetwork {
            observation_weight: matrix("observation", [dims[0], hidden], fan_in),
            action_weight: matrix("action", [dims[1], hidden], fan_in),
            step_bias: matrix("time", [self.steps, hidden], 4),
            rest: widths
                .windows(2)
                .enumerate()
                .map(|(i, pair)| Layer {
                    weight: matrix(&format!("weight {i}"), [pair[0], pair[1]], pair[0])
                        .unsqueeze_dim(0),
                    bias: tensor(normals(&format!("bias {i}"), pair[1], 0.3), [1, 1, pair[1]]),
                })
                .collect(),
            activation,
            precision: rescore_kernels::Precision::F32,
        }
    }

    pub fn observations<B: Backend>(&self) -> Tensor<B, 2> {
        let shape = [self.states, self.observation_dim];
        tensor(normals("observations", shape[0] * shape[1], 1.0), shape)
    }

    /// Random numbers that no counter made.
    fn explicit_noise(&self) -> Noise {
        let count = self.rows() * self.action_dim;
        Noise {
            start: normals("start", count, 0.7),
            steps: normals("steps", self.steps * count, 1.0),
        }
    }

    /// The numbers that `counter(state)`, `row(state, particle)` select, drawn one by one.
    fn drawn_noise(
        &self,
        key: NoiseKey,
        start_scale: f32,
        place: impl Fn(usize, usize) -> (usize, u32),
    ) -> Noise {
        let draw = |step: usize| -> Vec<f32> {
            let mut values = Vec::new();
            for state in 0..self.states {
                for particle in 0..self.particles {
                    let (row, counter) = place(state, particle);
                    values.extend((0..self.action_dim).map(|column| {
                        let block = (column / 4) as u32;
                        key.normals(row as u32, block, step as u32, counter)[column % 4]
                    }));
                }
            }
            values
        };
        Noise {
            start: draw(self.steps)
                .into_iter()
                .map(|z| z * start_scale)
                .collect(),
            steps: (0..self.steps).rev().flat_map(draw).collect(),
        }
    }

    pub fn given<B: Backend>(&self, noise: &Noise) -> ChainNoise<B> {
        let shape = [self.states, self.particles, self.action_dim];
        ChainNoise::Given {
            start: tensor(noise.start.clone(), shape),
            steps: tensor(
                noise.steps.clone(),
                [self.steps, shape[0], shape[1], shape[2]],
            ),
        }
    }
}

/// Coefficients of a chain whose noise variances grow linearly from 1e-4 to 0.8.
pub fn coefficients(steps: usize) -> Vec<StepCoefficients> {
    let mut alpha_bar_prev = 1.0_f64;
    (0..steps)
        .map(|t| {
            let beta = 1e-4 + (0.8 - 1e-4) * (t + 1) as f64 / steps as f64;
            let alpha_bar = alpha_bar_prev * (1.0 - beta);
            let noise = 1.0 - alpha_bar;
            let coefficients = StepCoefficients {
                sqrt_recip_alpha_bar: (1.0 / alpha_bar).sqrt() as f32,
                sqrt_recip_alpha_bar_minus_one: (1.0 / alpha_bar - 1.0).sqrt() as f32,
                posterior_x0: (beta * alpha_bar_prev.sqrt() / noise) as f32,
                posterior_xt: ((1.0 - alpha_bar_prev) * (1.0 - beta).sqrt() / noise) as f32,
                sigma: (beta * (1.0 - alpha_bar_prev) / noise).sqrt() as f32,
            };
            alpha_bar_prev = alpha_bar;
            coefficients
        })
        .collect()
}

fn run<B: RescoreBackend>(
    network: &ChainNetwork<B>,
    observations: Tensor<B, 2>,
    sizes: &Sizes,
    noise: &ChainNoise<B>,
) -> Vec<f32> {
    let steps = coefficients(sizes.steps);
    let actions = B::denoise_chain(network, observations, sizes.particles, &steps, noise);
    let shape = [actions.dims()[0], sizes.particles, sizes.action_dim];
    assert_eq!(actions.dims(), shape);
    to_vec(actions)
}

const KEY: &str = "chain";
const COUNTER: u32 = 7;

/// One counter a state; the place of the state must not matter.
fn state_counter(state: usize) -> u32 {
    1000 + 17 * state as u32
}

/// Compares all three kinds of noise.
fn check<B: RescoreBackend>(sizes: &Sizes, activation: Activation) {
    let network = sizes.network::<B>(activation);
    let observations = sizes.observations::<B>();
    let steps = coefficients(sizes.steps);
    let (key, start_scale) = (NoiseKey::new(2, KEY), 0.5);
    let explicit = sizes.explicit_noise();
    let particles = sizes.particles;
    let cases = [
        ("given", sizes.given(&explicit), explicit),
        (
            "counter",
            ChainNoise::Counter {
                key,
                counter: COUNTER,
                start_scale,
            },
            sizes.drawn_noise(key, start_scale, |s, p| (s * particles + p, COUNTER)),
        ),
        (
            "counter per state",
            ChainNoise::CounterPerState {
                key,
                counters: (0..sizes.states).map(state_counter).collect(),
                start_scale,
            },
            sizes.drawn_noise(key, start_scale, |s, p| (p, state_counter(s))),
        ),
    ];
    for (name, noise, explicit) in cases {
        let actual = run(&network, observations.clone(), sizes, &noise);
        let expected = ancestral::denoise(&network, &observations, particles, &steps, &explicit);
        assert_close(&actual, &expected, TOLERANCE, name);
    }
}

prop_compose! {
    fn sizes()(
        states in 1_usize..=6,
        particles in 1_usize..=5,
        steps in 1_usize..=8,
        hidden in prop::collection::vec(1_usize..=40, 1..=3),
        observation_dim in 1_usize..=7,
        action_dim in 1_usize..=7,
    ) -> Sizes {
        Sizes { states, particles, steps, hidden, observation_dim, action_dim }
    }
}

proptest! {
    #[test]
    fn flex_agrees_with_f64(sizes in sizes()) {
        for activation in ACTIVATIONS {
            check::<Flex>(&sizes, activation);
        }
    }

    #[test]
    fn ndarray_agrees_with_f64(sizes in sizes()) {
        for activation in ACTIVATIONS {
            check::<NdArray>(&sizes, activation);
        }
    }
}

/// Several tiles of rows, the last one not full; widths that are no multiple of a register.
fn large() -> Sizes {
    Sizes {
        states: 107,
        particles: 3,
        steps: 5,
        hidden: vec![50, 33, 67],
        observation_dim: 17,
        action_dim: 6,
    }
}

fn many_rows_agree_with_f64<B: RescoreBackend>() {
    check::<B>(&large(), Activation::Mish);
}

/// A state alone gives what it gives among others. Bit for bit where the kernel is fused; library
/// matrix products may sum in another order for another number of rows.
fn rows_do_not_depend_on_their_neighbours<B: RescoreBackend>(exact: bool) {
    let sizes = large();
    let network = sizes.network::<B>(Activation::Mish);
    let observations = sizes.observations::<B>();
    let noise = |counters: Vec<u32>| ChainNoise::CounterPerState {
        key: NoiseKey::new(2, KEY),
        counters,
        start_scale: 0.5,
    };
    let counters = (0..sizes.states).map(state_counter).collect();
    let all = run(&network, observations.clone(), &sizes, &noise(counters));
    let width = sizes.particles * sizes.action_dim;
    for range in [0..1, 5..6, 20..43, 64..107] {
        let some = observations.clone().slice([range.clone()]);
        let counters = range.clone().map(state_counter).collect();
        let alone = run(&network, some, &sizes, &noise(counters));
        let among = &all[range.start * width..range.end * width];
        if exact {
            assert_eq!(bits(&alone), bits(among), "{range:?}");
        } else {
            let among: Vec<f64> = among.iter().map(|x| f64::from(*x)).collect();
            assert_close(&alone, &among, 1e-6, "alone");
        }
    }
}

#[test]
fn on_flex_rows_do_not_depend_on_their_neighbours() {
    rows_do_not_depend_on_their_neighbours::<Flex>(true);
}

#[test]
fn on_ndarray_rows_do_not_depend_on_their_neighbours() {
    rows_do_not_depend_on_their_neighbours::<NdArray>(false);
}

/// With one counter for all, the numbers of a row are those of its index, so the head of a batch
/// is the batch of the head.
fn the_head_of_a_batch_is_the_batch_of_the_head<B: RescoreBackend>() {
    let sizes = large();
    let network = sizes.network::<B>(Activation::Mish);
    let noise = ChainNoise::Counter {
        key: NoiseKey::new(2, KEY),
        counter: COUNTER,
        start_scale: 0.5,
    };
    let all = run(&network, sizes.observations::<B>(), &sizes, &noise);
    let head = sizes.observations::<B>().narrow(0, 0, 41);
    let head = run(&network, head, &sizes, &noise);
    let expected: Vec<f64> = all.iter().map(|x| f64::from(*x)).collect();
    assert_close(&head, &expected[..head.len()], 1e-6, "head");
}

/// NaN in an observation reaches every action of its state and no other state's.
fn a_bad_observation_spoils_its_own_state_alone<B: RescoreBackend>() {
    let sizes = large();
    let network = sizes.network::<B>(Activation::Mish);
    let noise = sizes.given(&sizes.explicit_noise());
    let good = run(&network, sizes.observations::<B>(), &sizes, &noise);
    let mut observations = to_vec(sizes.observations::<B>());
    observations[64 * sizes.observation_dim + 3] = f32::NAN;
    let observations = tensor(observations, [sizes.states, sizes.observation_dim]);
    let bad = run(&network, observations, &sizes, &noise);
    let width = sizes.particles * sizes.action_dim;
    for (state, (good, bad)) in good.chunks(width).zip(bad.chunks(width)).enumerate() {
        if state == 64 {
            assert!(bad.iter().all(|x| x.is_nan()), "NaN became {bad:?}");
        } else {
            assert_eq!(bits(good), bits(bad), "state {state}");
        }
    }
}

/// Weights and observations may be views whose values do not lie in order.
fn views_are_read_in_order<B: RescoreBackend>() {
    let sizes = Sizes {
        states: 11,
        ..large()
    };
    let plain = sizes.network::<B>(Activation::Mish);
    let view = |x: &Tensor<B, 2>| {
        let [rows, columns] = x.dims();
        let transposed = to_vec(x.clone().transpose());
        tensor::<B, 2>(transposed, [columns, rows]).transpose()
    };
    let viewed = ChainNetwork {
        observation_weight: view(&plain.observation_weight),
        action_weight: view(&plain.action_weight),
        step_bias: view(&plain.step_bias),
        rest: plain
            .rest
            .iter()
            .map(|layer| Layer {
                weight: view(&layer.weight.clone().squeeze_dim(0)).unsqueeze_dim(0),
                bias: layer.bias.clone(),
            })
            .collect(),
        activation: plain.activation,
        precision: plain.precision,
    };
    let noise = sizes.given(&sizes.explicit_noise());
    let observations = sizes.observations::<B>();
    let expected = run(&plain, observations.clone(), &sizes, &noise);
    let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
    let actual = run(&viewed, view(&observations), &sizes, &noise);
    assert_close(&actual, &expected, 1e-6, "views");
}

on_both_backends!(
    many_rows_agree_with_f64,
    the_head_of_a_batch_is_the_batch_of_the_head,
    a_bad_observation_spoils_its_own_state_alone,
    views_are_read_in_order,
);
