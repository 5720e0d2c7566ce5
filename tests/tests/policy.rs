//! An exported policy acts as the run's own networks and sampler do.

use std::collections::BTreeMap;

use burn::backend::Flex;
use burn::tensor::{Tensor, TensorData};
use rescore_critics::TwinQ;
use rescore_diffusion::{Denoiser, DenoiserShape, NoiseSchedule, Sampler, ScheduleKind};
use rescore_envs::RunningStatistics;
use rescore_kernels::{Activation, Initializer, Linear, NoiseKey, Parameters as _, Precision};
use rescore_policy::description::{
    self, Combine, Critics, Description, FORMAT, NetworkKind, Normalizer, PolicyKind, STREAM,
    ValueHead,
};
use rescore_policy::{Policy, write};

type B = Flex;

/// A run's networks, and how they are sampled.
struct Run {
    policy: Denoiser<B>,
    critics: TwinQ<B>,
    schedule: NoiseSchedule,
    sampler: Sampler,
    start_scale: f32,
    seed: u64,
    normalizer: Option<Normalizer>,
}

/// The file of a run's policy: the only place that knows both sides.
fn export(run: &Run) -> Vec<u8> {
    let mut tensors = BTreeMap::new();
    let mut put = |name: String, shape: [usize; 3], values: Vec<f32>| {
        tensors.insert(name, rescore_policy::Tensor { shape, values });
    };
    let values = |layers: &[&Linear<B>]| {
        let weights = layers
            .iter()
            .flat_map(|layer| layer.weight.to_data().to_vec::<f32>());
        let biases = layers
            .iter()
            .flat_map(|layer| layer.bias.to_data().to_vec::<f32>());
        (weights.flatten().collect(), biases.flatten().collect())
    };
    let mut put_linear = |name: &str, layers: &[&Linear<B>]| {
        let [inputs, outputs] = layers[0].weight.dims();
        let (weight, bias) = values(layers);
        put(
            format!("{name}.weight"),
            [layers.len(), inputs, outputs],
            weight,
        );
        put(format!("{name}.bias"), [layers.len(), 1, outputs], bias);
    };
    for (name, layer) in run.policy.layers() {
        put_linear(&format!("policy.{name}"), &[layer]);
    }
    let members = run.critics.q1.layers.iter().zip(&run.critics.q2.layers);
    for (i, (first, second)) in members.enumerate() {
        put_linear(&format!("critics.l{i}"), &[first, second]);
    }
    let steps = run.schedule.chain_coefficients();
    let rows = steps.iter().flat_map(|step| {
        [
            step.sqrt_recip_alpha_bar,
            step.sqrt_recip_alpha_bar_minus_one,
            step.posterior_x0,
            step.posterior_xt,
            step.sigma,
        ]
    });
    put("steps".to_owned(), [1, steps.len(), 5], rows.collect());

    let activation = |activation| match activation {
        Activation::Mish => description::Activation::Mish,
        Activation::Gelu => description::Activation::Gelu,
    };
    let mlp = |network: &rescore_kernels::Mlp<B>| NetworkKind::Mlp {
        layers: network.layers.len(),
        activation: activation(network.activation),
    };
    let description = Description {
        format: FORMAT,
        algorithm: "dpmd".to_owned(),
        task: "Test-v0".to_owned(),
        step: 0,
        seed: run.seed,
        observation_dim: run.policy.observation_dim(),
        action_dim: run.policy.action_dim(),
        low: vec![-1.0; run.policy.action_dim()],
        high: vec![1.0; run.policy.action_dim()],
        observation_normalizer: run.normalizer.clone(),
        policy: PolicyKind::Diffusion {
            network: mlp(&run.policy.trunk),
            particles: run.sampler.particles(),
            start_scale: f64::from(run.start_scale),
            critics: Some(Critics {
                members: 2,
                network: mlp(&run.critics.q1),
                head: ValueHead::Scalar,
                combine: Combine::Min,
            }),
        },
    };
    write(&description, &tensors).expect("the networks of a run can be exported")
}

/// A run with random weights.
fn run(
    [observation_dim, action_dim]: [usize; 2],
    particles: usize,
    steps: usize,
    seed: u64,
) -> Run {
    let device = Default::default();
    let key = |name| NoiseKey::new(seed, name);
    let shape = DenoiserShape {
        observation_dim,
        action_dim,
        hidden_dims: vec![64, 64],
    };
    let initializer = Initializer::LecunNormal;
    let mut policy = Denoiser::init(&shape, initializer, key("policy"), &device);
    let dims = [observation_dim, action_dim];
    let gelu = Activation::Gelu;
    let mut critics = TwinQ::init(dims, &[64, 64], gelu, initializer, key("critics"), &device);
    // Fresh biases are zero, which would hide that they are forgotten.
    let with_bias = |name: &str, layer: &Linear<B>| {
        let [outputs] = layer.bias.dims();
        let mut values = vec![0.0; outputs];
        NoiseKey::new(seed, name).fill_normals(&mut values, outputs, 0, 0, 0);
        let bias = Tensor::from_data(TensorData::new(values, [outputs]), &device);
        Linear {
            weight: layer.weight.clone(),
            bias: bias.mul_scalar(0.3),
        }
    };
    policy = policy.map(&mut |name, layer| with_bias(name, layer));
    critics = critics.map(&mut |name, layer| with_bias(name, layer));
    let schedule = NoiseSchedule::new(ScheduleKind::Linear, steps, 0.8);
    let start_scale = 0.7;
    Run {
        sampler: Sampler::new(&schedule, particles, start_scale, Precision::F32),
        policy,
        critics,
        schedule,
        start_scale,
        seed,
        normalizer: None,
    }
}

/// What the run's own sampler does for (normalised) observations, a row each.
fn best(run: &Run, observations: &[f32]) -> Vec<f32> {
    let dim = run.policy.observation_dim();
    let rows = observations.len() / dim;
    let data = TensorData::new(observations.to_vec(), [rows, dim]);
    let observations = Tensor::<B, 2>::from_data(data, &Default::default());
    let key = NoiseKey::new(run.seed, STREAM);
    let noise = run.sampler.noise_of_observations(key, &observations);
    let critics = run.critics.networks();
    let actions = run.sampler.best(&run.policy, critics, observations, &noise);
    actions.into_data().to_vec().expect("actions are f32")
}

fn observations(rows: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut values = vec![0.0; rows * dim];
    NoiseKey::new(seed, "observations").fill_normals(&mut values, dim, 0, 0, 0);
    values
}

fn assert_agree(found: &[f32], expected: &[f32], case: &str) {
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() < 1e-5,
            "{case}, value {i}: {a} instead of {b}"
        );
    }
}

fn act(run: &Run, observations: &[f32]) -> Vec<f32> {
    let policy = Policy::from_bytes(&export(run)).expect("an exported policy can be read");
    let rows = observations.chunks_exact(policy.observation_dim());
    let actions = rows.map(|row| policy.act(row).expect("the observation is sound"));
    actions.flatten().collect()
}

#[test]
fn exported_policies_act_as_the_sampler_does() {
    for (seed, (dims, particles, steps)) in [
        ([3, 1], 1, 5),
        ([5, 3], 4, 20),
        ([17, 6], 32, 20),
        ([17, 6], 33, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let run = run(dims, particles, steps, seed as u64);
        let observations = observations(24, dims[0], seed as u64);
        let expected = best(&run, &observations);
        let case = format!("{dims:?}, {particles} particles, {steps} steps");
        assert_agree(&act(&run, &observations), &expected, &case);
    }
}

#[test]
fn exported_policies_normalise_observations_as_training_does() {
    let mut run = run([5, 2], 4, 10, 9);
    let mut rows = observations(40, 5, 1);
    for x in &mut rows {
        *x = 100.0 + 3.0 * *x;
    }
    let mut statistics = RunningStatistics::new(5);
    for row in rows[..100].chunks_exact(5) {
        statistics.update(row.iter().map(|x| f64::from(*x)));
    }
    let clip = 1.5;
    run.normalizer = Some(Normalizer {
        mean: statistics.mean().to_vec(),
        var: statistics.variance().to_vec(),
        epsilon: 1e-6,
        clip: Some(clip),
    });
    let mut normalised = rows.clone();
    statistics.normalize_rows(&mut normalised, clip);
    assert!(normalised.iter().any(|x| f64::from(x.abs()) >= clip));
    assert_agree(&act(&run, &rows), &best(&run, &normalised), "normalised");
}
