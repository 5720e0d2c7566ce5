//! Sampling: noise, the chain, scores and the choice among particles.

use burn::backend::Flex;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use rescore_kernels::{
    Activation, ChainNetwork, ChainNoise, Combine, Noise, NoiseKey, Precision, RescoreBackend,
    Sampled, StepCoefficients, chain, stack::Stack,
};

use super::{assert_close, layer, normals, tensor, values};

/// Sizes of a chain.
#[derive(Debug, Clone)]
struct Sizes {
    states: usize,
    particles: usize,
    steps: usize,
    hidden: Vec<usize>,
    dims: [usize; 2],
}

fn sizes(states: usize, particles: usize, hidden: &[usize], dims: [usize; 2]) -> Sizes {
    Sizes {
        states,
        particles,
        steps: 5,
        hidden: hidden.to_vec(),
        dims,
    }
}

impl Sizes {
    fn network<B: Backend>(&self, precision: Precision) -> ChainNetwork<B> {
        let scale = |fan_in: usize| 1.0 / (fan_in as f32).sqrt();
        let [observation_dim, action_dim] = self.dims;
        let first = self.hidden[0];
        let widths = [&self.hidden[..], &[action_dim]].concat();
        let rest = widths.windows(2).enumerate();
        let rest = rest.map(|(i, pair)| layer(&format!("layer {i}"), [1, pair[0], pair[1]]));
        let fan_in = observation_dim + action_dim;
        ChainNetwork {
            observation_weight: tensor("observation", [observation_dim, first], scale(fan_in)),
            action_weight: tensor("action", [action_dim, first], scale(fan_in)),
            step_bias: tensor("time", [self.steps, first], 0.5),
            rest: rest.collect(),
            activation: Activation::Mish,
            precision,
        }
    }

    fn observations<B: Backend>(&self) -> Tensor<B, 2> {
        tensor("observations", [self.states, self.dims[0]], 1.0)
    }

    fn given<B: Backend>(&self) -> ChainNoise<B> {
        let (states, particles, action_dim) = (self.states, self.particles, self.dims[1]);
        ChainNoise::Given {
            start: tensor("start", [states, particles, action_dim], 0.7),
            steps: tensor("steps", [self.steps, states, particles, action_dim], 1.0),
        }
    }

    /// Each kind of noise.
    fn noises<B: Backend>(&self) -> [ChainNoise<B>; 3] {
        let key = NoiseKey::new(3, "chain");
        [
            counter(),
            ChainNoise::CounterPerState {
                key,
                counters: (0..self.states as u32).map(|state| state * 7 + 1).collect(),
                start_scale: 0.5,
            },
            self.given(),
        ]
    }

    fn coefficients(&self) -> Vec<StepCoefficients> {
        let step = |t: usize| StepCoefficients {
            sqrt_recip_alpha_bar: 1.0 + 0.1 * t as f32,
            sqrt_recip_alpha_bar_minus_one: 0.1 + 0.2 * t as f32,
            posterior_x0: 0.6,
            posterior_xt: 0.4,
            sigma: 0.2,
        };
        (0..self.steps).map(step).collect()
    }

    fn supported<B: RescoreBackend>(&self, precision: Precision) -> bool {
        let device = B::Device::default();
        B::supports(precision, &self.hidden, self.dims[1], &device)
    }

    fn sampled<B: RescoreBackend>(&self, noise: &ChainNoise<B>, precision: Precision) -> Vec<f32> {
        self.sampled_for(self.observations(), noise, precision)
    }

    fn sampled_for<B: RescoreBackend>(
        &self,
        observations: Tensor<B, 2>,
        noise: &ChainNoise<B>,
        precision: Precision,
    ) -> Vec<f32> {
        let network = self.network(precision);
        let steps = self.coefficients();
        values(B::denoise_chain(
            &network,
            observations,
            self.particles,
            &steps,
            noise,
        ))
    }
}

fn counter<B: Backend>() -> ChainNoise<B> {
    ChainNoise::Counter {
        key: NoiseKey::new(2, "chain"),
        counter: 9,
        start_scale: 0.5,
    }
}

/// The numbers are those of the processor, but for the last bits.
pub fn normals_are_those_of_the_processor<B: RescoreBackend>() {
    for shape in [[1, 1], [300, 6], [7, 17], [5000, 4]] {
        let noise = Noise {
            key: NoiseKey::new(11, "device"),
            counter: 4_000_000_000,
        };
        let device = values(noise.normal::<B>(shape, &B::Device::default()));
        let processor = values(noise.normal::<Flex>(shape, &Default::default()));
        assert_close(&device, &processor, 1e-6, "normals");
    }
}

/// Sizes that fit no tile and no group of threads; one and many layers; narrow and wide ones.
pub fn the_chain_agrees_with_its_default_body<B: RescoreBackend>() {
    for sizes in [
        sizes(3, 5, &[37, 19], [7, 5]),
        sizes(70, 32, &[64, 64], [17, 6]),
        sizes(1, 1, &[8], [3, 1]),
        sizes(9, 4, &[300, 24, 129], [4, 17]),
        sizes(300, 16, &[32, 32, 32], [11, 3]),
    ] {
        let network = sizes.network::<B>(Precision::F32);
        let steps = sizes.coefficients();
        let on_processor = sizes.noises::<Flex>();
        for (noise, on_processor) in sizes.noises::<B>().iter().zip(&on_processor) {
            let fused = sizes.sampled(noise, Precision::F32);
            let observations = sizes.observations();
            let plain = chain::denoise(
                &network,
                observations,
                sizes.particles,
                &steps,
                noise,
                |_, _, _| {},
            );
            assert_close(
                &fused,
                &values(plain),
                2e-5,
                &format!("{sizes:?}, default body"),
            );
            let processor = sizes.sampled::<Flex>(on_processor, Precision::F32);
            assert_close(&fused, &processor, 2e-5, &format!("{sizes:?}, processor"));
            assert!(fused.iter().any(|x| x.abs() > 0.1), "all is zero");
        }
    }
}

/// The tile is chosen by the number of rows; the bits must not be.
pub fn the_head_of_a_batch_is_the_batch_of_the_head<B: RescoreBackend>() {
    let many = sizes(600, 8, &[48, 40], [7, 5]);
    for precision in [Precision::F32, Precision::Bf16] {
        if !many.supported::<B>(precision) {
            continue;
        }
        let all = many.sampled::<B>(&counter(), precision);
        for states in [1, 90, 200] {
            let few = Sizes {
                states,
                ..many.clone()
            };
            let observations = many.observations().slice([0..states]);
            let head = few.sampled_for::<B>(observations, &counter(), precision);
            assert!(head == all[..head.len()], "{states} states, {precision:?}");
        }
    }
}

/// NaN and infinity stay visible, in their own state alone.
pub fn a_bad_observation_spoils_its_own_state<B: RescoreBackend>() {
    let sizes = sizes(20, 3, &[16, 16], [4, 2]);
    let good = sizes.sampled::<B>(&counter(), Precision::F32);
    for bad in [f32::NAN, f32::NEG_INFINITY] {
        let mut row = normals("observations", 20 * 4, 1.0);
        row[7 * 4 + 1] = bad;
        let data = TensorData::new(row, [20, 4]);
        let observations = Tensor::<B, 2>::from_data(data, &B::Device::default());
        let spoilt = sizes.sampled_for(observations, &counter(), Precision::F32);
        for (state, (a, b)) in good.chunks(6).zip(spoilt.chunks(6)).enumerate() {
            if state == 7 {
                assert!(b.iter().all(|x| x.is_nan()), "{bad}: {b:?}");
            } else {
                assert_eq!(a, b, "{bad}, state {state}");
            }
        }
    }
}

/// What does not fit the shared memory of any device runs in the default body.
pub fn a_network_too_wide_for_the_kernel_is_sampled_all_the_same<B: RescoreBackend>() {
    let sizes = Sizes {
        steps: 1,
        ..sizes(2, 2, &[16_384], [3, 2])
    };
    let device = sizes.sampled::<B>(&counter(), Precision::F32);
    let processor = sizes.sampled::<Flex>(&counter(), Precision::F32);
    assert_close(&device, &processor, 1e-4, "wide");
    // Not in another precision than was asked for.
    assert!(!sizes.supported::<B>(Precision::Bf16));
}

/// Scores are the processor's, and the best particle by them is taken.
pub fn the_best_particles_are_chosen<B: RescoreBackend>() {
    fn best<B: RescoreBackend>(
        sizes: &Sizes,
        hidden: &[usize],
        (members, combine): (usize, Combine),
    ) -> Sampled<B> {
        B::denoise_best(
            &sizes.network(Precision::F32),
            &critics(sizes, hidden, members),
            combine,
            sizes.observations(),
            sizes.particles,
            &sizes.coefficients(),
            &counter(),
        )
    }
    let few_steps = |sizes| Sizes { steps: 2, ..sizes };
    let twins = (2, Combine::Min);
    for (sizes, hidden, of) in [
        (sizes(40, 8, &[32, 32], [5, 3]), &[32, 32][..], twins),
        // An input wider than the hidden layers, and rows that fill no tile.
        (few_steps(sizes(3, 7, &[16], [90, 17])), &[24, 40], twins),
        // Other ensembles.
        (
            few_steps(sizes(5, 7, &[16], [9, 4])),
            &[24, 40],
            (1, Combine::Min),
        ),
        (
            few_steps(sizes(5, 7, &[16], [9, 4])),
            &[24, 40],
            (3, Combine::Min),
        ),
        (
            few_steps(sizes(5, 7, &[16], [9, 4])),
            &[24, 40],
            (2, Combine::Mean),
        ),
        (
            few_steps(sizes(5, 7, &[16], [9, 4])),
            &[24, 40],
            (5, Combine::Mean),
        ),
        // Tiles of eight and of sixteen rows; one particle.
        (few_steps(sizes(1500, 1, &[16], [11, 3])), &[64], twins),
        (
            few_steps(sizes(129, 32, &[16], [17, 6])),
            &[256, 256, 256],
            twins,
        ),
        // No hidden layer: the default body.
        (few_steps(sizes(5, 4, &[16], [3, 2])), &[], twins),
    ] {
        let sampled = best::<B>(&sizes, hidden, of);
        let expected = values(best::<Flex>(&sizes, hidden, of).scores);
        let scores = values(sampled.scores);
        assert_close(
            &scores,
            &expected,
            2e-5,
            &format!("scores, {hidden:?}, {of:?}"),
        );

        let particles = sizes.sampled::<B>(&counter(), Precision::F32);
        let indices: Vec<_> = sampled.indices.into_data().iter::<i64>().collect();
        let mut taken = Vec::new();
        for (state, scores) in scores.chunks(sizes.particles).enumerate() {
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let index = scores
                .iter()
                .position(|score| score.to_bits() == largest.to_bits());
            let index = index.expect("the largest is one of them");
            assert_eq!(indices[state], index as i64, "{hidden:?}, state {state}");
            let row = (state * sizes.particles + index) * sizes.dims[1];
            let particle = &particles[row..row + sizes.dims[1]];
            taken.extend(particle.iter().map(|x| x.clamp(-1.0, 1.0)));
        }
        assert_eq!(values(sampled.actions), taken, "{hidden:?}");
    }
}

/// Critics for the observations and actions of `sizes`.
fn critics<B: Backend>(sizes: &Sizes, hidden: &[usize], members: usize) -> Stack<B> {
    let mut dims = vec![sizes.dims.iter().sum()];
    dims.extend(hidden);
    dims.push(1);
    let layers = dims.windows(2).enumerate();
    let layers = layers.map(|(i, pair)| layer(&format!("critic {i}"), [members, pair[0], pair[1]]));
    Stack {
        layers: layers.collect(),
        activation: Activation::Mish,
    }
}

/// A score that is not finite shows, and chooses the last particle; equal ones the lowest.
pub fn scores_that_are_no_numbers_show<B: RescoreBackend>() {
    let sizes = sizes(5, 3, &[16], [4, 2]);
    let mut critics = critics::<B>(&sizes, &[16], 2);
    let device = B::Device::default();
    let mut actions: Vec<f32> = (0..5 * 3 * 2).map(|i| (i as f32).sin()).collect();
    // State 1 cannot be scored with its second particle, state 2 has two equal ones.
    actions[6 + 2] = f32::NAN;
    actions.copy_within(12..14, 14);
    let actions = Tensor::<B, 3>::from_data(TensorData::new(actions, [5, 3, 2]), &device);
    let scores = |critics: &Stack<B>| {
        let observations = sizes.observations();
        values(B::score(
            critics,
            Combine::Min,
            observations,
            actions.clone(),
        ))
    };
    let found = scores(&critics);
    let unknown: Vec<_> = (0..15).filter(|i| found[*i].is_nan()).collect();
    assert_eq!(unknown, [4]);
    assert_eq!(found[6].to_bits(), found[7].to_bits());
    // Either critic alone can spoil a score.
    let last = critics.layers.len() - 1;
    for bias in [[0.3, f32::NAN], [f32::NAN, 0.3]] {
        let bias = TensorData::new(bias.to_vec(), [2, 1, 1]);
        critics.layers[last].bias = Tensor::from_data(bias, &device);
        assert!(scores(&critics).iter().all(|score| score.is_nan()));
    }
}

/// More tiles than one dimension of a grid holds on some devices.
pub fn a_very_long_chain_is_sampled_to_its_end<B: RescoreBackend>() {
    let sizes = Sizes {
        steps: 1,
        ..sizes(65_537, 17, &[4], [2, 1])
    };
    let device = sizes.sampled::<B>(&counter(), Precision::F32);
    let processor = sizes.sampled::<Flex>(&counter(), Precision::F32);
    assert_close(&device, &processor, 2e-5, "long");
}

/// In bf16, where the device has it, actions move by about as much as on the processor.
pub fn bf16_is_near_f32<B: RescoreBackend>() {
    for sizes in [
        sizes(70, 32, &[256, 256, 256], [17, 6]),
        sizes(9, 7, &[300, 40], [5, 17]),
    ] {
        if !sizes.supported::<B>(Precision::Bf16) {
            continue;
        }
        let distance = |a: &[f32], b: &[f32]| {
            let sum: f32 = a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum();
            sum / a.len() as f32
        };
        let exact = sizes.sampled::<B>(&counter(), Precision::F32);
        let rounded = sizes.sampled::<B>(&counter(), Precision::Bf16);
        let processor = sizes.sampled::<Flex>(&counter(), Precision::Bf16);
        let (moved, apart) = (distance(&rounded, &exact), distance(&rounded, &processor));
        assert!((1e-5..1e-2).contains(&moved), "{sizes:?}: {moved}");
        assert!(apart < moved, "{sizes:?}: {apart} of {moved}");
    }
}
