//! `pieces_*` and `fullsize_*`: networks, one whole chain, particle selection, losses, gradients.

use anyhow::{Context, Result, ensure};
use burn::tensor::{Int, Tensor, backend::Backend};
use rescore_agents::{
    Batch, Draws, Given, Setup,
    dpmd_reference::{Dpmd, DpmdSettings},
    settings::NetworkSettings,
};
use rescore_critics::Critics;
use rescore_diffusion::Denoiser;
use rescore_kernels::{
    Activation, ChainNoise, Combine, Precision, RescoreBackend, chain, unflatten_particles,
};
use rescore_nn::{Network, Tree, leaves, value_and_grad};
use rescore_objectives::rsm::{self, DenoisingRows, QNormalization, QStatistics, ReverseRows};

use super::{Comparison, Computed, Fixture, Tolerances};

/// All inputs of a file.
struct Inputs<B: RescoreBackend> {
    agent: Dpmd<B>,
    has_targets: bool,
    batch: Batch<B>,
    statistics: QStatistics<B>,
    times: Tensor<B, 1, Int>,
    noise: Tensor<B, 2>,
    noise1: Tensor<B, 2>,
    noise2: Tensor<B, 3>,
    chain: ChainNoise<B>,
    exploration: Tensor<B, 2>,
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

/// Settings as published with networks of `depth` hidden layers of `width`.
pub fn settings(width: usize, depth: usize) -> DpmdSettings {
    let mut settings = DpmdSettings::default();
    let base = &mut settings.base;
    for network in [&mut base.critic.network, &mut base.actor.network] {
        if let NetworkSettings::Mlp { hidden_dims, .. } = network {
            *hidden_dims = vec![width; depth];
        }
    }
    settings
}

fn read<B: RescoreBackend>(fixture: &mut Fixture, device: &B::Device) -> Result<Inputs<B>> {
    let mish = Activation::Mish;
    let trunk = fixture.mlp::<B>(&["p.params.policy.l"], mish, device)?;
    let depth = trunk.layers.len() - 1;
    let policy = Denoiser {
        time: fixture.mlp(&["p.params.policy.time"], mish, device)?,
        trunk: Network::Mlp(trunk),
    };
    let mut twins = |names: [&str; 2]| -> Result<Critics<B>> {
        let network = fixture.mlp(&names, mish, device)?;
        Ok(Critics::scalar(Network::Mlp(network)))
    };
    let critics = twins(["p.params.q1.l", "p.params.q2.l"])?;
    let target_critics = twins(["p.params.target_q1.l", "p.params.target_q2.l"]);
    let has_targets = target_critics.is_ok();

    let mut settings = settings(fixture.size("H")?, depth);
    let particles = fixture.size("K")?;
    settings.base.particles = particles;
    settings.base.actor.denoising_steps = fixture.size("T")?;
    settings.base.exploration.noise_scale = fixture.number("noise_scale").unwrap_or(0.1);
    let dims = [fixture.size("O")?, fixture.size("A")?];
    ensure!(
        dims == [policy.observation_dim(), policy.action_dim()],
        "the networks are not of the sizes that the index gives"
    );
    let setup = Setup {
        dims,
        seed: 0,
        updates: 1,
        pace: rescore_agents::Pace::default(),
        device,
    };
    let mut agent = Dpmd::new(&settings, &setup);
    agent.actor.policy = policy;
    agent.critics.target = target_critics.unwrap_or_else(|_| critics.clone());
    agent.critics.online = critics;
    agent.exploration.temperature.log_value = fixture.tensor("p.log_alpha", device)?;

    let noise2: Tensor<B, 2> = fixture.tensor("p.noise2", device)?;
    let batch_size = fixture.size("B")?;
    Ok(Inputs {
        agent,
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
        chain: given_noise(fixture, "p.x_T", "p.step_noise", device)?,
        exploration: fixture.tensor("p.expl_noise", device)?,
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

/// Adds all layers of member `member` of `network` under the names of the files: `prefix.l0.w`,
/// `prefix.l0.b`.
pub fn layers<B: Backend>(
    computed: &mut Computed,
    prefix: &str,
    network: &impl Tree<B>,
    member: usize,
) {
    for (name, _, tensor) in leaves(network) {
        let name = name.replace(".weight", ".w").replace(".bias", ".b");
        let tensor = tensor.slice([member..member + 1]);
        computed.insert(format!("{prefix}.{name}"), values(tensor));
    }
}

fn networks<B: RescoreBackend>(inputs: &Inputs<B>, computed: &mut Computed) {
    let Inputs { agent, batch, .. } = inputs;
    let (observations, actions) = (batch.observations.clone(), batch.actions.clone());
    let noise_pred = agent.actor.policy.forward(
        observations.clone(),
        actions.clone(),
        inputs.times.clone(),
        agent.actor.schedule.num_steps(),
    );
    let q = agent.critics.online.values(observations, actions);
    computed.insert("policy_out".into(), values(noise_pred));
    insert_members(computed, "_out", q);
}

/// Adds the rows of `of_members` `[members, ..]` as `q1` and `q2` with `suffix`.
pub fn insert_members<B: Backend>(computed: &mut Computed, suffix: &str, of_members: Tensor<B, 2>) {
    for (member, row) in of_members.iter_dim(0).enumerate() {
        computed.insert(format!("q{}{suffix}", member + 1), values(row));
    }
}

/// The chain step by step, the scores, the choice and the final action.
fn sampling<B: RescoreBackend>(
    fixture: &mut Fixture,
    inputs: &Inputs<B>,
    computed: &mut Computed,
    tolerances: Tolerances,
) -> Result<()> {
    let Inputs { agent, batch, .. } = inputs;
    let (actor, critics) = (&agent.actor, &agent.critics);
    let observations = batch.observations.clone();
    let ChainNoise::Given { start, .. } = &inputs.chain else {
        anyhow::bail!("the files hold explicit noise");
    };
    let [states, particles, dim] = start.dims();
    let (steps, times) = actor.sampler.chain().context("a chain")?;

    // [states, particles, dim] of every step, later particles first as in the files
    let mut states_of_chain = vec![start.clone()];
    let mut predictions = Vec::new();
    let network = actor.policy.chain_network(times, Precision::F32);
    chain::denoise(
        &network.context("the files hold stacks of layers")?,
        observations.clone(),
        particles,
        steps,
        &inputs.chain,
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
    let all = actor.sample(
        &actor.policy,
        observations.clone(),
        particles,
        &inputs.chain,
    );
    for (a, b) in values(all.clone()).iter().zip(values(last.clone())) {
        ensure!(
            (a - b).abs() <= tolerances.single * b.abs().max(1.0),
            "the operation gives {a}, its steps give {b}"
        );
    }

    let scores = critics.score(observations.clone(), all.clone());
    let sampled = B::best(all.clone(), scores);
    let given = [(
        "noise".to_owned(),
        Given::Numbers(inputs.exploration.clone()),
    )];
    let draws = Draws::given(given.into(), &observations.device());
    let choose = &agent.exploration;
    let mut finals = values(choose.choose(critics, observations, all, (&draws, "noise")));
    let scores = values(sampled.scores);
    let mut indices = values(sampled.indices.float());
    let mut selected = values(sampled.actions);
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
    let Inputs { agent, batch, .. } = inputs;
    let critics = &agent.critics;
    let actions = inputs.regression_action.clone();
    let target = critics.targets(batch, actions.clone());
    let step = critics.gradient(batch, actions, &target);
    computed.insert("q_backup".into(), values(critics.target_values(&target)));
    insert_members(computed, "_loss", step.losses.unsqueeze_dim(1));
    layers(computed, "q1_grad", &step.gradient, 0);
    layers(computed, "q2_grad", &step.gradient, 1);
}

fn dpmd<B: RescoreBackend>(inputs: &Inputs<B>, computed: &mut Computed) {
    let Inputs { agent, batch, .. } = inputs;
    let observations = batch.next_observations.clone();
    let actions = inputs.regression_action.clone();
    let online = &agent.critics.online;
    let q_min = online.combined(Combine::Min, observations.clone(), actions.clone());
    for (name, normalization) in [
        ("dpmd", QNormalization::Reference),
        ("dpmd_fixednorm", QNormalization::Standardize),
    ] {
        let temperature = agent.exploration.temperature.value();
        let (q, statistics) = (q_min.clone(), &inputs.statistics);
        let weights = rsm::mirror_descent_weights(q, normalization, statistics, 3.0, temperature);
        let rows = DenoisingRows {
            observations: observations.clone(),
            actions: actions.clone(),
            times: inputs.times.clone(),
            noise: inputs.noise.clone(),
            weights: weights.clone(),
        };
        let (loss, gradient, ()) = value_and_grad(&agent.actor.policy, |policy| {
            let schedule = &agent.actor.schedule;
            let loss = rsm::weighted_denoising_loss(policy, schedule, rows);
            (loss, ())
        });
        computed.insert(format!("{name}.loss"), values(loss));
        computed.insert(format!("{name}.weights"), values(weights));
        computed.insert(format!("{name}.q_min"), values(q_min.clone()));
        layers(computed, &format!("{name}.grad"), &gradient, 0);
    }
}

fn sdac<B: RescoreBackend>(inputs: &Inputs<B>, computed: &mut Computed) {
    let Inputs { agent, batch, .. } = inputs;
    let observations = batch.observations.clone();
    let schedule = &agent.actor.schedule;
    let (times, noise) = (inputs.times.clone(), inputs.noise2.clone());
    let actions = inputs.regression_action.clone();
    let noisy = schedule.add_noise(actions, times.clone(), inputs.noise1.clone());
    let clean = rsm::reverse_samples(schedule, noisy.clone(), times.clone(), noise.clone());
    let scaled_q = agent
        .critics
        .score(observations.clone(), clean)
        .mul_scalar(5.0)
        / agent.exploration.temperature.value().unsqueeze();
    let weights = rsm::max_entropy_weights(scaled_q.clone());
    let rows = ReverseRows {
        observations,
        noisy,
        times,
        noise,
        weights: weights.clone(),
    };
    let (loss, gradient, ()) = value_and_grad(&agent.actor.policy, |policy| {
        (rsm::reverse_sampling_loss(policy, schedule, rows), ())
    });
    computed.insert("sdac.loss".into(), values(loss));
    computed.insert("sdac.weights".into(), values(weights));
    computed.insert("sdac.scaled_q".into(), values(scaled_q));
    layers(computed, "sdac.grad", &gradient, 0);
}
