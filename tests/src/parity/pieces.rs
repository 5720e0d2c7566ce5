//! `pieces_*` and `fullsize_*`: networks, one whole chain, particle selection, losses, gradients.

use anyhow::{Context, Result, ensure};
use burn::tensor::{Int, Tensor, backend::Backend};
use rescore_agents::{
    Batch,
    config::{ActorCriticConfig, DiffusionConfig},
    diffusion_core::{DiffusionCore, SampleNoise},
};
use rescore_critics::TwinQ;
use rescore_diffusion::Denoiser;
use rescore_kernels::{
    Activation, ChainNoise, Parameters, Precision, RescoreBackend, chain, unflatten_particles,
    value_and_grad,
};
use rescore_objectives::rsm::{self, QNormalization, QStatistics};

use super::{Comparison, Computed, Fixture, Tolerances};

/// All inputs of a file.
struct Inputs<B: RescoreBackend> {
    core: DiffusionCore<B>,
    has_targets: bool,
    batch: Batch<B>,
    statistics: QStatistics<B>,
    times: Tensor<B, 1, Int>,
    noise: Tensor<B, 2>,
    noise1: Tensor<B, 2>,
    noise2: Tensor<B, 3>,
    sample_noise: SampleNoise<B>,
    regression_action: Tensor<B, 2>,
    particles: usize,
}

pub fn check<B: RescoreBackend>(
    fixture: &mut Fixture,
    comparison: &mut Comparison,
    tolerances: Tolerances,
    device: &B::Device,
) -> Result<()> {
    let inputs = read::<B>(fixture, device)?;
    let mut computed = Computed::new();
    networks(&inputs, &mut computed);
    sampling(fixture, &inputs, &mut computed, tolerances)?;
    critics(&inputs, &mut computed);
    dpmd(&inputs, &mut computed);
    sdac(&inputs, &mut computed);

    for name in fixture.names("p.out") {
        let (quantity, tolerance) = match name.split_once("out64.") {
            Some((_, quantity)) => (quantity, tolerances.double),
            None => (name.trim_start_matches("p.out."), tolerances.single),
        };
        let actual = computed
            .get(quantity)
            .with_context(|| format!("{name}: no check knows this array"))?;
        let at = fixture.at(&name);
        let expected = &fixture.array(&name)?.values;
        comparison.array(&at, actual, expected, tolerance)?;
    }
    Ok(())
}

fn read<B: RescoreBackend>(fixture: &mut Fixture, device: &B::Device) -> Result<Inputs<B>> {
    let mish = Activation::Mish;
    let policy = Denoiser {
        time: fixture.mlp("p.params.policy.time", mish, device)?,
        trunk: fixture.mlp("p.params.policy.l", mish, device)?,
    };
    let critics = TwinQ {
        q1: fixture.mlp("p.params.q1.l", mish, device)?,
        q2: fixture.mlp("p.params.q2.l", mish, device)?,
    };
    let has_targets = fixture.has("p.params.target_q1.l0.w");
    let target_critics = if has_targets {
        TwinQ {
            q1: fixture.mlp("p.params.target_q1.l", mish, device)?,
            q2: fixture.mlp("p.params.target_q2.l", mish, device)?,
        }
    } else {
        critics.clone()
    };

    let base = ActorCriticConfig {
        hidden_dims: vec![fixture.size("H")?; policy.trunk.layers.len() - 1],
        ..ActorCriticConfig::reference_diffusion()
    };
    let particles = fixture.size("K")?;
    let diffusion = DiffusionConfig {
        particles,
        denoising_steps: fixture.size("T")?,
        noise_scale: fixture.number("noise_scale").unwrap_or(0.1),
        ..DiffusionConfig::reference()
    };
    let dims = [fixture.size("O")?, fixture.size("A")?];
    ensure!(
        dims == [policy.observation_dim(), policy.action_dim()],
        "the networks are not of the sizes that the index gives"
    );
    let mut core = DiffusionCore::new(&base, &diffusion, dims, 0, device);
    core.policy = policy;
    core.critics = critics;
    core.target_critics = target_critics;
    core.temperature.log_value = fixture.tensor("p.log_alpha", device)?;

    let noise2: Tensor<B, 2> = fixture.tensor("p.noise2", device)?;
    let batch_size = fixture.size("B")?;
    Ok(Inputs {
        core,
        has_targets,
        batch: Batch {
            observations: fixture.tensor("p.obs", device)?,
            actions: fixture.tensor("p.action", device)?,
            rewards: fixture.tensor("p.reward", device)?,
            next_observations: fixture.tensor("p.next_obs", device)?,
            terminated: fixture.tensor("p.done", device)?,
        },
        statistics: QStatistics {
            mean: fixture.tensor("p.running_mean", device)?,
            std: fixture.tensor("p.running_std", device)?,
        },
        times: fixture.integers("p.t", device)?,
        noise: fixture.tensor("p.noise", device)?,
        noise1: fixture.tensor("p.noise1", device)?,
        noise2: unflatten_particles(noise2, batch_size),
        sample_noise: SampleNoise {
            chain: given_noise(fixture, "p.x_T", "p.step_noise", device)?,
            exploration: fixture.tensor("p.expl_noise", device)?,
        },
        regression_action: fixture.tensor("p.regression_action", device)?,
        particles,
    })
}

/// The chain's explicit noise; the files put particles first (`[K, B, A]`, `[K, T, B, A]`).
pub fn given_noise<B: Backend>(
    fixture: &mut Fixture,
    start: &str,
    steps: &str,
    device: &B::Device,
) -> Result<ChainNoise<B>> {
    let start: Tensor<B, 3> = fixture.tensor(start, device)?;
    let steps: Tensor<B, 4> = fixture.tensor(steps, device)?;
    Ok(ChainNoise::Given {
        start: start.swap_dims(0, 1),
        steps: steps.permute([1, 2, 0, 3]),
    })
}

/// The values of a tensor as `f64`.
pub fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Adds all layers of `network` under the names of the files: `prefix.l0.w`, `prefix.l0.b`.
pub fn layers<B: Backend>(computed: &mut Computed, prefix: &str, network: &impl Parameters<B>) {
    for (name, layer) in network.layers() {
        computed.insert(format!("{prefix}.{name}.w"), values(layer.weight.clone()));
        computed.insert(format!("{prefix}.{name}.b"), values(layer.bias.clone()));
    }
}

fn networks<B: RescoreBackend>(inputs: &Inputs<B>, computed: &mut Computed) {
    let Inputs { core, batch, .. } = inputs;
    let (observations, actions) = (batch.observations.clone(), batch.actions.clone());
    let noise_pred = core.policy.forward(
        observations.clone(),
        actions.clone(),
        inputs.times.clone(),
        core.schedule.num_steps(),
    );
    let [q1, q2] = core.critics.both(observations, actions);
    computed.insert("policy_out".into(), values(noise_pred));
    computed.insert("q1_out".into(), values(q1));
    computed.insert("q2_out".into(), values(q2));
}

/// The chain step by step, the scores, the choice and the final action.
fn sampling<B: RescoreBackend>(
    fixture: &mut Fixture,
    inputs: &Inputs<B>,
    computed: &mut Computed,
    tolerances: Tolerances,
) -> Result<()> {
    let Inputs { core, batch, .. } = inputs;
    let observations = batch.observations.clone();
    let ChainNoise::Given { start, .. } = &inputs.sample_noise.chain else {
        anyhow::bail!("the files hold explicit noise");
    };
    let [states, particles, dim] = start.dims();
    let steps = core.sampler.steps();

    // [states, particles, dim] of every step, later particles first as in the files
    let mut states_of_chain = vec![start.clone()];
    let mut predictions = Vec::new();
    chain::denoise(
        &core.policy.chain_network(steps.len(), Precision::F32),
        observations.clone(),
        particles,
        steps,
        &inputs.sample_noise.chain,
        |_, x, noise_pred| {
            states_of_chain.push(unflatten_particles(x.clone(), states));
            predictions.push(unflatten_particles(noise_pred.clone(), states));
        },
    );
    let particles_first = |list: Vec<Tensor<B, 3>>| {
        let stacked: Tensor<B, 4> = Tensor::stack(list, 0);
        values(stacked.permute([2, 0, 1, 3]))
    };
    let last = states_of_chain[states_of_chain.len() - 1].clone();
    computed.insert("chain_x".into(), particles_first(states_of_chain));
    computed.insert("chain_eps".into(), particles_first(predictions));

    // The operation itself, which a backend may replace, must give what the steps gave.
    let sampled = core.sampler.scored(
        &core.policy,
        core.critics.networks(),
        observations.clone(),
        &inputs.sample_noise.chain,
    );
    let all = core.sampler.all(
        &core.policy,
        observations.clone(),
        &inputs.sample_noise.chain,
    );
    for (a, b) in values(all).iter().zip(values(last.clone())) {
        ensure!(
            (a - b).abs() <= tolerances.single * b.abs().max(1.0),
            "the operation gives {a}, its steps give {b}"
        );
    }

    let scores = values(sampled.scores);
    let mut indices = values(sampled.indices.float());
    let mut selected = values(sampled.actions);
    let mut finals = values(core.sample_for_update(observations, &inputs.sample_noise));
    // Another choice is right only where the two scores are the same but for rounding.
    let expected = fixture.array("p.out.best_index")?.values.clone();
    let last = values(last);
    for (state, (ours, theirs)) in indices.iter_mut().zip(&expected).enumerate() {
        let score = |index: f64| scores[state * particles + index as usize];
        let same = (*ours - *theirs).abs() < 0.5;
        if same || (score(*ours) - score(*theirs)).abs() >= 1e-5 {
            continue;
        }
        *ours = *theirs;
        for j in 0..dim {
            let particle = (state * particles + *theirs as usize) * dim + j;
            let at = state * dim + j;
            let exploration = finals[at] - selected[at];
            selected[at] = last[particle].clamp(-1.0, 1.0);
            finals[at] = selected[at] + exploration;
        }
    }
    // files: [K, B]
    let transposed = (0..particles)
        .flat_map(|k| (0..states).map(move |b| b * particles + k))
        .map(|i| scores[i])
        .collect();
    computed.insert("particle_q".into(), transposed);
    computed.insert("best_index".into(), indices);
    computed.insert("selected_action".into(), selected);
    computed.insert("final_action".into(), finals);
    ensure!(
        particles == inputs.particles,
        "the index gives another number of particles"
    );
    Ok(())
}

fn critics<B: RescoreBackend>(inputs: &Inputs<B>, computed: &mut Computed) {
    if !inputs.has_targets {
        return;
    }
    let Inputs { core, batch, .. } = inputs;
    let targets = core.td_target(batch, inputs.regression_action.clone());
    let ([loss1, loss2], gradient) = core.critic_gradient(batch, targets.clone());
    computed.insert("q_backup".into(), values(targets));
    computed.insert("q1_loss".into(), values(loss1));
    computed.insert("q2_loss".into(), values(loss2));
    layers(computed, "q1_grad", &gradient.q1);
    layers(computed, "q2_grad", &gradient.q2);
}

fn dpmd<B: RescoreBackend>(inputs: &Inputs<B>, computed: &mut Computed) {
    let Inputs { core, batch, .. } = inputs;
    let observations = batch.next_observations.clone();
    let actions = inputs.regression_action.clone();
    let q_min = core.critics.min(observations.clone(), actions.clone());
    for (name, normalization) in [
        ("dpmd", QNormalization::Reference),
        ("dpmd_fixednorm", QNormalization::Standardize),
    ] {
        let weights = rsm::mirror_descent_weights(
            q_min.clone(),
            normalization,
            &inputs.statistics,
            3.0,
            core.temperature.value(),
        );
        let (loss, gradient, ()) = value_and_grad(&core.policy, |policy| {
            let loss = rsm::weighted_denoising_loss(
                policy,
                &core.schedule,
                Tensor::from_inner(observations.clone()),
                Tensor::from_inner(actions.clone()),
                Tensor::from_inner(inputs.times.clone()),
                Tensor::from_inner(inputs.noise.clone()),
                Tensor::from_inner(weights.clone()),
            );
            (loss, ())
        });
        computed.insert(format!("{name}.loss"), values(loss));
        computed.insert(format!("{name}.weights"), values(weights));
        computed.insert(format!("{name}.q_min"), values(q_min.clone()));
        layers(computed, &format!("{name}.grad"), &gradient);
    }
}

fn sdac<B: RescoreBackend>(inputs: &Inputs<B>, computed: &mut Computed) {
    let Inputs { core, batch, .. } = inputs;
    let observations = batch.observations.clone();
    let noisy = core.schedule.add_noise(
        inputs.regression_action.clone(),
        inputs.times.clone(),
        inputs.noise1.clone(),
    );
    let clean = rsm::reverse_samples(
        &core.schedule,
        noisy.clone(),
        inputs.times.clone(),
        inputs.noise2.clone(),
    );
    let scaled_q = core
        .critics
        .min_of_particles(observations.clone(), clean)
        .mul_scalar(5.0)
        / core.temperature.value().unsqueeze();
    let weights = rsm::max_entropy_weights(scaled_q.clone());
    let (loss, gradient, ()) = value_and_grad(&core.policy, |policy| {
        let noise_pred = policy.forward(
            Tensor::from_inner(observations),
            Tensor::from_inner(noisy),
            Tensor::from_inner(inputs.times.clone()),
            core.schedule.num_steps(),
        );
        let loss = rsm::reverse_sampling_loss(
            noise_pred,
            Tensor::from_inner(inputs.noise2.clone()),
            Tensor::from_inner(weights.clone()),
        );
        (loss, ())
    });
    computed.insert("sdac.loss".into(), values(loss));
    computed.insert("sdac.weights".into(), values(weights));
    computed.insert("sdac.scaled_q".into(), values(scaled_q));
    layers(computed, "sdac.grad", &gradient);
}
