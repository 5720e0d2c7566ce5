//! The kernels for GPUs against the default bodies on the same device and against the processor.
//!
//! No gradients here: the fixtures have them.
#![cfg(any(feature = "cuda", feature = "wgpu"))]

use burn::backend::Flex;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use rescore_kernels::{
    Activation, ChainNetwork, ChainNoise, Initializer, Linear, Mlp, Noise, NoiseKey, Precision,
    RescoreBackend, StepCoefficients, adam::AdamStep, chain,
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
        let rest = widths.windows(2).enumerate().map(|(i, pair)| Linear {
            weight: tensor(&format!("weight {i}"), [pair[0], pair[1]], scale(pair[0])),
            bias: tensor(&format!("bias {i}"), [pair[1]], 0.3),
        });
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
        if !B::supports(precision, &B::Device::default()) {
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
}

fn the_same_particles_are_chosen<B: RescoreBackend>() {
    fn best<B: RescoreBackend>() -> (Vec<i64>, Vec<f32>, Vec<f32>) {
        let sizes = sizes(40, 8, &[32, 32], [5, 3]);
        let device = B::Device::default();
        let critic = |name: &str| {
            let init = Initializer::LecunNormal;
            Mlp::<B>::init(
                &[8, 32, 32, 1],
                Activation::Mish,
                init,
                NoiseKey::new(0, name),
                &device,
            )
        };
        let (q1, q2) = (critic("q1"), critic("q2"));
        let sampled = B::denoise_best(
            &sizes.network(Precision::F32),
            [&q1, &q2],
            sizes.observations(),
            sizes.particles,
            &sizes.coefficients(),
            &counter(),
        );
        let indices = sampled.indices.into_data().iter::<i64>().collect();
        (indices, values(sampled.actions), values(sampled.scores))
    }
    let (device, processor) = (best::<B>(), best::<Flex>());
    assert_eq!(device.0, processor.0);
    assert_close(&device.1, &processor.1, 2e-5, "actions");
    assert_close(&device.2, &processor.2, 2e-5, "scores");
}

/// Everything that a training step does to every element.
fn elementwise_operations_agree_with_the_processor<B: RescoreBackend>() {
    fn all<B: RescoreBackend>() -> Vec<Vec<f32>> {
        let raw = |name: &str, shape: [usize; 2], scale| {
            tensor::<B, 2>(name, shape, scale).into_primitive().tensor()
        };
        let back = |x| {
            values(Tensor::<B, 2>::from_primitive(
                burn::tensor::TensorPrimitive::Float(x),
            ))
        };
        let shape = [131, 37];
        let x = || raw("x", shape, 8.0);
        let bias = tensor::<B, 1>("bias", [12], 1.0).into_primitive().tensor();
        let weight = || raw("weight", [37, 12], 0.2);
        let (parameter, [mu, nu]) = B::adam_step(
            raw("parameter", shape, 1.0),
            raw("gradient", shape, 0.1),
            [raw("mu", shape, 0.1), raw("nu", shape, 0.0)],
            AdamStep::new(1e-3, 3),
        );
        // A value that is still needed must not be written to.
        let shared = x();
        let mish = B::mish(shared.clone());
        vec![
            back(shared),
            back(mish),
            back(B::mish_backward(x(), raw("grad", shape, 1.0))),
            back(B::dense(x(), weight(), bias.clone(), true)),
            back(B::dense(x(), weight(), bias, false)),
            back(B::lerp(x(), raw("online", shape, 1.0), 0.3)),
            back(parameter),
            back(mu),
            back(nu),
        ]
    }
    for (i, (device, processor)) in all::<B>().iter().zip(&all::<Flex>()).enumerate() {
        assert_close(device, processor, 5e-6, &format!("operation {i}"));
    }
}

/// In bf16, where the device has it, actions move by about as much as on the processor.
fn bf16_is_near_f32<B: RescoreBackend>() {
    if !B::supports(Precision::Bf16, &B::Device::default()) {
        return;
    }
    for sizes in [
        sizes(70, 32, &[256, 256, 256], [17, 6]),
        sizes(9, 7, &[300, 40], [5, 17]),
    ] {
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

/// Each function as a test on the GPU backend of the build.
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
        #[cfg(all(feature = "cuda", not(feature = "wgpu")))]
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
    the_same_particles_are_chosen,
    elementwise_operations_agree_with_the_processor,
    bf16_is_near_f32,
);
