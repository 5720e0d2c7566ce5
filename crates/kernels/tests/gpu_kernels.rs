//! The kernels for GPUs against the default bodies on the same device and against the processor.
//!
//! No gradients here: the fixtures have them.
#![cfg(any(feature = "cuda", feature = "wgpu"))]

use burn::backend::Flex;
use burn::tensor::{Int, Tensor, TensorData, TensorPrimitive, backend::Backend};
use rescore_kernels::{
    Activation, ChainNetwork, ChainNoise, Combine, Layer, Noise, NoiseKey, Precision,
    RescoreBackend, Sampled, StepCoefficients,
    adam::{AdamStep, Optimized},
    categorical::{Atoms, Returns, target_distribution},
    chain,
    dense::Wanted,
    formula::Formula,
    join::{join, join_chosen},
    stack::{Stack, StackWanted},
    total,
};

/// `count` normals times `scale`, a function of `name` alone.
fn normals(name: &str, count: usize, scale: f32) -> Vec<f32> {
    let mut values = vec![0.0; count];
    NoiseKey::new(0, name).fill_normals(&mut values, count.max(1), 0, 0, 0);
    values.iter().map(|value| value * scale).collect()
}

fn tensor<B: Backend, const D: usize>(name: &str, shape: [usize; D], scale: f32) -> Tensor<B, D> {
    let values = normals(name, shape.iter().product(), scale);
    Tensor::from_data(TensorData::new(values, shape), &B::Device::default())
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Requires `|a - b| <= tolerance * max(1, |b|)` of every pair; NaN never passes.
#[track_caller]
fn assert_close(actual: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: number of values");
    for (i, (a, b)) in actual.iter().zip(expected).enumerate() {
        let error = (a - b).abs() / b.abs().max(1.0);
        assert!(error <= tolerance, "{what}: value {i} is {a}, not {b}");
    }
}

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

/// A layer of `members` networks.
fn layer<B: Backend>(name: &str, [members, depth, columns]: [usize; 3]) -> Layer<B> {
    let scale = 1.0 / (depth as f32).sqrt();
    Layer {
        weight: tensor(&format!("{name} weight"), [members, depth, columns], scale),
        bias: tensor(&format!("{name} bias"), [members, 1, columns], 0.3),
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
fn normals_are_those_of_the_processor<B: RescoreBackend>() {
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
fn the_chain_agrees_with_its_default_body<B: RescoreBackend>() {
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
fn the_head_of_a_batch_is_the_batch_of_the_head<B: RescoreBackend>() {
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
fn a_bad_observation_spoils_its_own_state<B: RescoreBackend>() {
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
fn a_network_too_wide_for_the_kernel_is_sampled_all_the_same<B: RescoreBackend>() {
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
fn the_best_particles_are_chosen<B: RescoreBackend>() {
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
fn scores_that_are_no_numbers_show<B: RescoreBackend>() {
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
fn a_very_long_chain_is_sampled_to_its_end<B: RescoreBackend>() {
    let sizes = Sizes {
        steps: 1,
        ..sizes(65_537, 17, &[4], [2, 1])
    };
    let device = sizes.sampled::<B>(&counter(), Precision::F32);
    let processor = sizes.sampled::<Flex>(&counter(), Precision::F32);
    assert_close(&device, &processor, 2e-5, "long");
}

/// Everything that a training step does to every element.
fn elementwise_operations_agree_with_the_processor<B: RescoreBackend>() {
    fn all<B: RescoreBackend>() -> Vec<Vec<f32>> {
        let raw = |name: &str, shape: [usize; 3], scale| {
            tensor::<B, 3>(name, shape, scale).into_primitive().tensor()
        };
        let back = |x| values(Tensor::<B, 3>::from_primitive(TensorPrimitive::Float(x)));
        let shape = [2, 131, 37];
        let x = || raw("x", shape, 8.0);
        let bias = || raw("bias", [2, 1, 12], 1.0);
        let weight = || raw("weight", [2, 37, 12], 0.2);
        // Arrays of different lengths, more of them than one launch takes.
        let shapes: Vec<_> = (0..19).map(|i| [1, 1 + 40 * i, 7]).collect();
        let arrays = |name: &str, scale| {
            let array =
                |(i, shape): (usize, &[usize; 3])| raw(&format!("{name}{i}"), *shape, scale);
            shapes.iter().enumerate().map(array).collect::<Vec<_>>()
        };
        let moments = arrays("mu", 0.1).into_iter().zip(arrays("nu", 0.0));
        let parameters = arrays("parameter", 1.0).into_iter().zip(moments);
        let parameters = parameters.map(|(parameter, (mu, nu))| Optimized { parameter, mu, nu });
        let stepped = B::adam_step(
            parameters.collect(),
            arrays("gradient", 0.1),
            AdamStep::new(1e-3, [0.9, 0.999], 1e-8, 3),
        );
        let stepped = stepped
            .into_iter()
            .flat_map(|array| [array.parameter, array.mu, array.nu]);
        let moved = B::lerp(arrays("target", 1.0), arrays("online", 1.0), 0.3);
        // A value that is still needed must not be written to.
        let shared = x();
        let mut one_by_one = vec![back(B::dense(x(), weight(), bias(), None))];
        // All members have the same input.
        let shared_input = raw("x", [1, 131, 37], 8.0);
        one_by_one.push(back(B::dense(shared_input, weight(), bias(), None)));
        for activation in [
            Activation::Mish,
            Activation::Gelu,
            Activation::Relu,
            Activation::Tanh,
        ] {
            let output = B::activate(shared.clone(), activation);
            let grad = raw("grad", shape, 1.0);
            let both = B::dense_activated(x(), weight(), bias(), activation);
            one_by_one.extend([
                back(output),
                back(B::activate_backward(x(), grad, activation)),
                back(B::dense(x(), weight(), bias(), Some(activation))),
            ]);
            one_by_one.extend(both.map(back));
        }
        one_by_one.push(back(shared));
        let many = stepped.chain(moved).map(back);
        one_by_one.into_iter().chain(many).collect()
    }
    for (i, (device, processor)) in all::<B>().iter().zip(&all::<Flex>()).enumerate() {
        assert_close(device, processor, 5e-6, &format!("operation {i}"));
    }
}

/// Runs are the same to the bit only if every sum is.
fn a_total_is_the_same_every_time<B: RescoreBackend>() {
    let x = tensor::<B, 3>("x", [2, 64, 101], 1.0);
    let first = values(total(x.clone()));
    assert_close(
        &first,
        &values(total(tensor::<Flex, 3>("x", [2, 64, 101], 1.0))),
        1e-4,
        "total",
    );
    for _ in 0..2000 {
        assert_eq!(values(total(x.clone())), first);
    }
}

/// In bf16, where the device has it, actions move by about as much as on the processor.
fn bf16_is_near_f32<B: RescoreBackend>() {
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

/// A stack with its input and what a loss says of its outputs.
#[derive(Debug, Clone)]
struct Trained {
    members: usize,
    shared: bool,
    rows: usize,
    dims: Vec<usize>,
    activation: Activation,
}

impl Trained {
    fn stack<B: Backend>(&self) -> Stack<B> {
        let layers = self.dims.windows(2).enumerate();
        Stack {
            layers: layers
                .map(|(i, pair)| layer(&format!("layer {i}"), [self.members, pair[0], pair[1]]))
                .collect(),
            activation: self.activation,
        }
    }

    /// Outputs without and with a record, and all derivatives.
    fn pass<B: RescoreBackend>(&self) -> Vec<Vec<f32>> {
        let stack = self.stack::<B>();
        let members = if self.shared { 1 } else { self.members };
        let (inputs, outputs) = (self.dims[0], self.dims[self.dims.len() - 1]);
        let x = tensor::<B, 3>("x", [members, self.rows, inputs], 1.0);
        let grad = tensor::<B, 3>("grad", [self.members, self.rows, outputs], 1.0);
        let wanted = StackWanted {
            x: true,
            layers: vec![[true; 2]; stack.layers.len()],
        };
        let pass = B::stack_kept(x.clone(), &stack);
        let found = B::stack_backward(&x, &stack, &pass.kept, grad, &wanted);
        let float = |x| Tensor::<B, 3>::from_primitive(TensorPrimitive::Float(x));
        let gradients = found.layers.into_iter().flatten().chain([found.x]);
        let gradients = gradients.map(|x| values(float(x.expect("all are wanted"))));
        [values(B::stack(x, &stack)), values(pass.output)]
            .into_iter()
            .chain(gradients)
            .collect()
    }
}

/// Forward and backward through stacks of all forms, and tiles of all sizes.
fn stacks_are_trained_as_on_the_processor<B: RescoreBackend>() {
    let trained = |members, shared, rows, dims: &[usize], activation| Trained {
        members,
        shared,
        rows,
        dims: dims.to_vec(),
        activation,
    };
    for trained in [
        trained(2, true, 256, &[23, 256, 256, 1], Activation::Mish),
        trained(1, true, 256, &[39, 256, 256, 6], Activation::Mish),
        trained(1, true, 20, &[16, 32, 16], Activation::Mish),
        trained(2, false, 37, &[5, 40, 33, 101], Activation::Relu),
        trained(3, true, 9, &[4, 7, 300, 2], Activation::Gelu),
        trained(1, false, 4097, &[11, 64, 32, 4], Activation::Tanh),
        trained(2, true, 1, &[3, 8, 1], Activation::Mish),
    ] {
        let (device, processor) = (trained.pass::<B>(), trained.pass::<Flex>());
        for (i, (device, processor)) in device.iter().zip(&processor).enumerate() {
            let scale = processor.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
            assert_close(
                device,
                processor,
                2e-6 * scale.max(10.0),
                &format!("{trained:?}: {i}"),
            );
        }
    }
}

/// A formula with every operation, of tensors that are repeated along either axis, and its means.
fn formulas_are_those_of_the_processor<B: RescoreBackend>() {
    fn all<B: RescoreBackend>([rows, columns]: [usize; 2]) -> Vec<Vec<f32>> {
        let device = B::Device::default();
        let x = || Formula::from(tensor::<B, 2>("x", [rows, columns], 1.0));
        let column = Formula::column(tensor::<B, 1>("column", [rows], 1.0));
        let row = Formula::row(tensor::<B, 1>("row", [columns], 1.0));
        let indices: Vec<i32> = (0..rows).map(|row| (row * 7 % 5) as i32).collect();
        let indices = Tensor::from_data(TensorData::new(indices, [rows]), &device);
        let entries = Formula::entries(tensor::<B, 1>("table", [5], 1.0), indices);
        let one = Formula::row(tensor::<B, 1>("one", [1], 1.0));
        let formula = -(x() * column.clone() - row / (x().square() + 0.5)).clamp(-0.7, 0.9)
            + (x() * 0.1).exp() * entries
            + x().above(0.5) * 0.1
            - ((x().square() + 1.0).log().sqrt() + one) / 3.0
            - 0.25;
        vec![
            values(formula.clone().compute()),
            values(formula.clone().mean_of_rows()),
            values(formula.mean()),
            values((column.exp() * 2.0).compute_column()),
            values((x().tanh() - (x() * 30.0).softplus()).sum_of_rows()),
        ]
    }
    let all_of = all::<Flex>([70_000, 2]);
    let mean = all_of[0].iter().map(|x| f64::from(*x)).sum::<f64>() / 140_000.0;
    assert_close(&all_of[2], &[mean as f32], 1e-3, "mean");
    for shape in [[256, 6], [1, 1], [3, 1000], [70_000, 2]] {
        for (i, (device, processor)) in all::<B>(shape).iter().zip(&all::<Flex>(shape)).enumerate()
        {
            assert_close(device, processor, 2e-5, &format!("{shape:?}: {i}"));
        }
    }
    let nan = Tensor::<B, 2>::from_data([[f32::NAN, 2.0]], &B::Device::default());
    let clamped = values(Formula::from(nan).clamp(-1.0, 1.0).compute());
    assert!(clamped[0].is_nan(), "{clamped:?}");
    assert_close(&clamped[1..], &[1.0], 0.0, "a bound");
}

/// Columns beside each other, and the derivative by a table that some were chosen from.
fn joined_columns_are_those_of_the_processor<B: RescoreBackend>() {
    fn all<B: RescoreBackend>() -> Vec<Vec<f32>> {
        let device = B::Device::default();
        let parts = || {
            [
                tensor::<B, 2>("left", [300, 17], 1.0),
                tensor::<B, 2>("right", [300, 6], 1.0),
            ]
        };
        let indices: Vec<i32> = (0..300).map(|row| row * row % 20).collect();
        let indices = Tensor::<B, 1, Int>::from_data(TensorData::new(indices, [300]), &device);
        let table = tensor::<B, 2>("table", [20, 16], 1.0);
        let grad = tensor::<B, 2>("grad", [300, 39], 1.0);
        let raw = |x: Tensor<B, 2>| x.into_primitive().tensor();
        let back = B::join_backward(
            raw(grad),
            23,
            raw(table.clone()),
            indices.clone().into_primitive(),
        );
        let [left, right] = parts();
        vec![
            values(join(left, right)),
            values(join_chosen(parts(), table, indices)),
            values(Tensor::<B, 2>::from_primitive(TensorPrimitive::Float(back))),
        ]
    }
    for (i, (device, processor)) in all::<B>().iter().zip(&all::<Flex>()).enumerate() {
        assert_close(device, processor, 2e-6, &format!("operation {i}"));
    }
}

/// Norms of rows and distributions over atoms, and their derivatives.
fn rows_are_those_of_the_processor<B: RescoreBackend>() {
    fn all<B: RescoreBackend>([members, rows, width]: [usize; 3]) -> Vec<Vec<f32>> {
        let raw = |name: &str, shape: [usize; 3]| {
            tensor::<B, 3>(name, shape, 1.5).into_primitive().tensor()
        };
        let float = |x| values(Tensor::<B, 3>::from_primitive(TensorPrimitive::Float(x)));
        let whole = [members, rows, width];
        let (x, grad) = (raw("x", whole), raw("grad", whole));
        let [scale, shift] = ["scale", "shift"].map(|name| raw(name, [members, 1, width]));
        let by_row = raw("by row", [members, rows, 1]);
        let targets = tensor::<B, 2>("targets", [rows, width], 1.0).abs();
        let targets = targets.into_primitive().tensor();
        let atoms = Atoms {
            low: -5.0,
            spacing: 0.1,
        };
        let norm = B::norm_rows_backward(x.clone(), scale.clone(), grad, 1e-5);
        let returns = |penalty| Returns {
            rewards: tensor::<B, 1>("rewards", [rows], 0.5),
            discounts: tensor::<B, 1>("discounts", [rows], 1.0).abs(),
            penalty,
        };
        let target = |combine, penalty| {
            let logits = tensor::<B, 3>("x", whole, 1.5);
            values(target_distribution(
                logits,
                atoms,
                combine,
                returns(penalty),
            ))
        };
        vec![
            target(Combine::Min, None),
            target(Combine::Mean, Some(tensor("penalty", [rows], 0.3))),
            float(B::norm_rows(x.clone(), scale, shift, 1e-5)),
            float(norm.x),
            float(norm.scale),
            float(norm.shift),
            float(B::expectation(x.clone(), atoms)),
            float(B::expectation_backward(x.clone(), by_row.clone(), atoms)),
            float(B::cross_entropy(x.clone(), targets.clone())),
            float(B::cross_entropy_backward(x, targets, by_row)),
        ]
    }
    for shape in [
        [2, 256, 101],
        [1, 5, 128],
        [3, 33, 17],
        [1, 1, 2],
        [2, 70, 512],
    ] {
        for (i, (device, processor)) in all::<B>(shape).iter().zip(&all::<Flex>(shape)).enumerate()
        {
            let scale = processor.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
            // A place among many atoms has fewer digits behind the point.
            let scale = scale.max(5.0) * (shape[2] as f32 / 50.0).max(1.0);
            assert_close(device, processor, 3e-6 * scale, &format!("{shape:?}: {i}"));
        }
    }
}

/// Products of all forms: of a batch, of one matrix with a batch, of transposed ones.
fn products_are_those_of_the_processor<B: RescoreBackend>() {
    fn all<B: RescoreBackend>() -> Vec<Vec<f32>> {
        let product = |a: Tensor<B, 3>, b: Tensor<B, 3>| {
            let [a, b] = [a, b].map(|x| x.into_primitive().tensor());
            values(Tensor::<B, 3>::from_primitive(TensorPrimitive::Float(
                B::matmul(a, b),
            )))
        };
        let mut found = Vec::new();
        for [batch, rows, inner, columns] in [
            [2, 256, 256, 256],
            [1, 20, 16, 32],
            [3, 33, 65, 17],
            [1, 1, 1, 1],
            [2, 700, 40, 130],
            [1, 2048, 64, 2048],
        ] {
            let a = tensor::<B, 3>("a", [batch, rows, inner], 1.0);
            let b = tensor::<B, 3>("b", [batch, inner, columns], 1.0);
            let (a_turned, b_turned) = (
                tensor::<B, 3>("a", [batch, inner, rows], 1.0).swap_dims(1, 2),
                tensor::<B, 3>("b", [batch, columns, inner], 1.0).swap_dims(1, 2),
            );
            found.push(product(a.clone(), b.clone()));
            found.push(product(a_turned.clone(), b_turned.clone()));
            found.push(product(a_turned, b.clone()));
            found.push(product(a.clone(), b_turned));
            found.push(product(a.clone().slice([0..1]), b.clone()));
            // The derivatives of a layer with this weight.
            let grad = tensor::<B, 3>("grad", [batch, rows, columns], 1.0);
            let raw = |x: Tensor<B, 3>| x.into_primitive().tensor();
            let wanted = Wanted {
                x: true,
                weight: true,
                bias: true,
            };
            for x in [a.clone(), a.slice([0..1])] {
                let derived = B::dense_backward(raw(x), raw(b.clone()), raw(grad.clone()), wanted);
                for part in [derived.x, derived.weight, derived.bias] {
                    let part = part.expect("all are wanted");
                    found.push(values(Tensor::<B, 3>::from_primitive(
                        TensorPrimitive::Float(part),
                    )));
                }
            }
        }
        found
    }
    for (i, (device, processor)) in all::<B>().iter().zip(&all::<Flex>()).enumerate() {
        let scale = processor.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
        assert_close(
            device,
            processor,
            2e-6 * scale.max(10.0),
            &format!("product {i}"),
        );
    }
}

/// Each function as a test on the GPU backends of the build.
macro_rules! on_gpu {
    ($($name:ident),* $(,)?) => {
        #[cfg(feature = "wgpu")]
        mod wgpu {
            $(#[test]
            #[ignore = "needs a graphics driver: cargo xtask test --backend wgpu"]
            fn $name() {
                super::$name::<burn::backend::Wgpu>();
            })*
        }
        #[cfg(feature = "cuda")]
        mod cuda {
            $(#[test]
            #[ignore = "needs an NVIDIA GPU: cargo xtask test --backend cuda"]
            fn $name() {
                super::$name::<burn::backend::Cuda>();
            })*
        }
    };
}
on_gpu!(
    normals_are_those_of_the_processor,
    the_chain_agrees_with_its_default_body,
    the_head_of_a_batch_is_the_batch_of_the_head,
    a_bad_observation_spoils_its_own_state,
    a_network_too_wide_for_the_kernel_is_sampled_all_the_same,
    the_best_particles_are_chosen,
    scores_that_are_no_numbers_show,
    a_very_long_chain_is_sampled_to_its_end,
    elementwise_operations_agree_with_the_processor,
    a_total_is_the_same_every_time,
    bf16_is_near_f32,
    stacks_are_trained_as_on_the_processor,
    products_are_those_of_the_processor,
    formulas_are_those_of_the_processor,
    joined_columns_are_those_of_the_processor,
    rows_are_those_of_the_processor,
);
