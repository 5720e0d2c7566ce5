//! `updates_*`: three consecutive complete updates of DPMD, SDAC and SAC, from a stored state.

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::{Int, Tensor};
use rescore_agents::{
    Agent, Array, Batch, StateDict,
    diffusion_core::SampleNoise,
    dpmd::{Dpmd, DpmdConfig, DpmdNoise},
    sac::{Sac, SacConfig, SacNoise},
    sdac::{Sdac, SdacConfig, SdacNoise, SdacPolicyNoise},
};
use rescore_kernels::{RescoreBackend, unflatten_particles};

use super::{
    Comparison, Computed, Fixture, Tolerances,
    pieces::{given_noise, layers, values},
};

/// Sizes that a file states.
struct Sizes {
    dims: [usize; 2],
    hidden: usize,
    batch: usize,
    particles: usize,
    steps: usize,
    reverse_samples: usize,
}

pub fn check<B: RescoreBackend>(
    fixture: &mut Fixture,
    comparison: &mut Comparison,
    tolerances: Tolerances,
    device: &B::Device,
) -> Result<()> {
    let sizes = Sizes {
        dims: [fixture.size("O")?, fixture.size("A")?],
        hidden: fixture.size("H")?,
        batch: fixture.size("B")?,
        particles: fixture.size("K")?,
        steps: fixture.size("T")?,
        reverse_samples: fixture.size("mc")?,
    };
    for algorithm in ["dpmd", "sdac", "sac"] {
        if fixture.names(&format!("{algorithm}.")).is_empty() {
            continue;
        }
        for skip_unused in [false, true] {
            let mut agent = build::<B>(algorithm, &sizes, skip_unused, fixture, device)?;
            let template = agent.state();
            agent.load(&read_state(fixture, algorithm, 0, &template)?)?;
            let mut run = Run {
                algorithm,
                skip_unused,
                sizes: &sizes,
                fixture,
                comparison,
                tolerances,
                device,
            };
            run.updates(&mut agent)
                .with_context(|| format!("{algorithm}, skip_unused = {skip_unused}"))?;
        }
    }
    Ok(())
}

/// An agent of one of the three algorithms.
enum AnyAgent<B: RescoreBackend> {
    Dpmd(Dpmd<B>),
    Sdac(Sdac<B>),
    Sac(Sac<B>),
}

fn build<B: RescoreBackend>(
    algorithm: &str,
    sizes: &Sizes,
    skip_unused: bool,
    fixture: &Fixture,
    device: &B::Device,
) -> Result<AnyAgent<B>> {
    let depth = |prefix: &str| {
        fixture
            .names(&format!("{algorithm}.state0.{prefix}.l"))
            .len()
            / 2
    };
    ensure!(depth("policy") > 1, "{algorithm}: state0 holds no policy");
    let hidden_dims = vec![sizes.hidden; depth("policy") - 1];
    Ok(match algorithm {
        "dpmd" => {
            let mut config = DpmdConfig::reference();
            config.base.hidden_dims = hidden_dims;
            config.diffusion.particles = sizes.particles;
            config.diffusion.denoising_steps = sizes.steps;
            config.diffusion.skip_unused = skip_unused;
            AnyAgent::Dpmd(Dpmd::new(&config, sizes.dims, 0, device))
        }
        "sdac" => {
            let mut config = SdacConfig::reference();
            config.base.hidden_dims = hidden_dims;
            config.diffusion.particles = sizes.particles;
            config.diffusion.denoising_steps = sizes.steps;
            config.diffusion.skip_unused = skip_unused;
            config.reverse_samples = sizes.reverse_samples;
            AnyAgent::Sdac(Sdac::new(&config, sizes.dims, 0, device))
        }
        _ => {
            let mut config = SacConfig::reference();
            config.base.hidden_dims = hidden_dims;
            AnyAgent::Sac(Sac::new(&config, sizes.dims, 0, device))
        }
    })
}

impl<B: RescoreBackend> AnyAgent<B> {
    fn state(&self) -> StateDict {
        match self {
            Self::Dpmd(agent) => agent.state(),
            Self::Sdac(agent) => agent.state(),
            Self::Sac(agent) => agent.state(),
        }
    }

    fn load(&mut self, state: &StateDict) -> Result<()> {
        Ok(match self {
            Self::Dpmd(agent) => agent.load_state(state),
            Self::Sdac(agent) => agent.load_state(state),
            Self::Sac(agent) => agent.load_state(state),
        }?)
    }
}

/// Our names of the arrays of a state, given the names in the files. One array of ours may stand
/// under two names there: both critics are moved by one optimiser.
fn our_name(name: &str) -> Result<String> {
    let fixed = match name {
        "log_alpha" => Some("temperature.log_value"),
        "running_mean" => Some("q_statistics.mean"),
        "running_std" => Some("q_statistics.std"),
        "step" => Some("updates"),
        "opt_q1.count" | "opt_q2.count" => Some("critic_optimizer.count"),
        "opt_policy.count" => Some("policy_optimizer.count"),
        "opt_alpha.count" => Some("temperature.optimizer.count"),
        "opt_alpha.mu" => Some("temperature.optimizer.mu"),
        "opt_alpha.nu" => Some("temperature.optimizer.nu"),
        _ => None,
    };
    if let Some(fixed) = fixed {
        return Ok(fixed.to_owned());
    }
    let parts: Vec<&str> = name.split('.').collect();
    let (owner, layer) = match parts[..] {
        [network, layer, parameter] => {
            let owner = match network {
                "q1" | "q2" => format!("critics.{network}"),
                "target_q1" | "target_q2" => format!("target_critics.{}", &network[7..]),
                "policy" | "target_policy" => network.to_owned(),
                _ => bail!("state.{name}: no check knows this array"),
            };
            (owner, [layer, parameter])
        }
        [optimizer, moment @ ("mu" | "nu"), layer, parameter] => {
            let owner = match optimizer {
                "opt_q1" => format!("critic_optimizer.{moment}.q1"),
                "opt_q2" => format!("critic_optimizer.{moment}.q2"),
                "opt_policy" => format!("policy_optimizer.{moment}"),
                _ => bail!("state.{name}: no check knows this array"),
            };
            (owner, [layer, parameter])
        }
        _ => bail!("state.{name}: no check knows this array"),
    };
    let parameter = match layer[1] {
        "w" => "weight",
        "b" => "bias",
        _ => bail!("state.{name}: no check knows this array"),
    };
    Ok(format!("{owner}.{}.{parameter}", layer[0]))
}

/// State `index` of the file as a state of ours; `template` tells counters from tensors.
fn read_state(
    fixture: &mut Fixture,
    algorithm: &str,
    index: usize,
    template: &StateDict,
) -> Result<StateDict> {
    let prefix = format!("{algorithm}.state{index}.");
    let mut state = StateDict::default();
    for name in fixture.names(&prefix) {
        let ours = our_name(&name[prefix.len()..])?;
        let array = fixture.array(&name)?;
        let converted = match template.get(&ours) {
            Some(Array::U64(_)) => Array::U64(array.values[0] as u64),
            Some(Array::F32(..)) => Array::F32(
                array.shape.clone(),
                array.values.iter().map(|v| *v as f32).collect(),
            ),
            None => bail!("{name}: the agent has no {ours}"),
        };
        state.insert(ours, converted);
    }
    Ok(state)
}

/// One pass over the updates of one algorithm.
struct Run<'a, B: RescoreBackend> {
    algorithm: &'a str,
    skip_unused: bool,
    sizes: &'a Sizes,
    fixture: &'a mut Fixture,
    comparison: &'a mut Comparison,
    tolerances: Tolerances,
    device: &'a B::Device,
}

impl<B: RescoreBackend> Run<'_, B> {
    /// Runs the updates of the file and compares outputs and states.
    fn updates(&mut self, agent: &mut AnyAgent<B>) -> Result<()> {
        for step in 0.. {
            let prefix = format!("{}.step{step}", self.algorithm);
            if self.fixture.names(&format!("{prefix}.")).is_empty() {
                ensure!(step > 0, "the file holds no update");
                return Ok(());
            }
            let batch = Batch {
                observations: self.rows(&prefix, "batch.obs")?,
                actions: self.rows(&prefix, "batch.action")?,
                rewards: self.column(&prefix, "batch.reward")?,
                next_observations: self.rows(&prefix, "batch.next_obs")?,
                terminated: self.column(&prefix, "batch.done")?,
            };
            let computed = match agent {
                AnyAgent::Dpmd(agent) => self.dpmd(&prefix, agent, &batch)?,
                AnyAgent::Sdac(agent) => self.sdac(&prefix, agent, &batch)?,
                AnyAgent::Sac(agent) => self.sac(&prefix, agent, &batch)?,
            };
            self.compare_outputs(&prefix, &computed)?;
            self.compare_state(step + 1, &agent.state())?;
        }
        Ok(())
    }

    fn rows(&mut self, prefix: &str, name: &str) -> Result<Tensor<B, 2>> {
        self.fixture
            .tensor(&format!("{prefix}.{name}"), self.device)
    }

    fn column(&mut self, prefix: &str, name: &str) -> Result<Tensor<B, 1>> {
        self.fixture
            .tensor(&format!("{prefix}.{name}"), self.device)
    }

    fn sample_noise(&mut self, prefix: &str, which: &str) -> Result<SampleNoise<B>> {
        let name = |suffix: &str| format!("{prefix}.draw.{which}_{suffix}");
        Ok(SampleNoise {
            chain: given_noise(self.fixture, &name("x0"), &name("noise"), self.device)?,
            exploration: self.fixture.tensor(&name("expl"), self.device)?,
        })
    }

    fn times(&mut self, prefix: &str) -> Result<Tensor<B, 1, Int>> {
        let name = format!("{prefix}.draw.t");
        self.fixture.integers(&name, self.device)
    }

    fn dpmd(&mut self, prefix: &str, agent: &mut Dpmd<B>, batch: &Batch<B>) -> Result<Computed> {
        let noise = DpmdNoise {
            next: self.sample_noise(prefix, "next")?,
            times: self.times(prefix)?,
            noise: self.rows(prefix, "draw.noise")?,
        };
        let update = agent.update_with(batch, &noise);
        let mut computed = Computed::new();
        computed.insert("next_action".into(), values(update.next_actions));
        computed.insert("q_backup".into(), values(update.targets));
        insert_critic_losses(&mut computed, update.critic_losses);
        if let Some((loss, weights)) = update.policy {
            computed.insert("policy_loss".into(), values(loss));
            computed.insert("weights".into(), values(weights));
        }
        Ok(computed)
    }

    fn sdac(&mut self, prefix: &str, agent: &mut Sdac<B>, batch: &Batch<B>) -> Result<Computed> {
        // Read on every update, so that the arrays count as used.
        let reverse = self.rows(prefix, "draw.noise2")?;
        let policy = SdacPolicyNoise {
            present: self.sample_noise(prefix, "new")?,
            times: self.times(prefix)?,
            forward: self.rows(prefix, "draw.noise1")?,
            reverse: unflatten_particles(reverse, self.sizes.batch),
        };
        let noise = SdacNoise {
            next: self.sample_noise(prefix, "next")?,
            policy: agent.core.policy_loss_is_due().then_some(policy),
        };
        let update = agent.update_with(batch, &noise);
        let mut computed = Computed::new();
        computed.insert("next_action".into(), values(update.next_actions));
        computed.insert("q_backup".into(), values(update.targets));
        insert_critic_losses(&mut computed, update.critic_losses);
        if let Some(policy) = update.policy {
            computed.insert("policy_loss".into(), values(policy.loss));
            computed.insert("weights".into(), values(policy.weights));
            computed.insert("new_action".into(), values(policy.actions));
        }
        Ok(computed)
    }

    fn sac(&mut self, prefix: &str, agent: &mut Sac<B>, batch: &Batch<B>) -> Result<Computed> {
        let noise = SacNoise {
            next: self.rows(prefix, "draw.z_next")?,
            present: self.rows(prefix, "draw.z_new")?,
        };
        let update = agent.update_with(batch, &noise);
        let mut computed = Computed::new();
        computed.insert("next_action".into(), values(update.next_actions));
        computed.insert("next_logp".into(), values(update.next_log_probabilities));
        computed.insert("new_logp".into(), values(update.log_probabilities));
        computed.insert("q_backup".into(), values(update.targets));
        insert_critic_losses(&mut computed, update.critic_losses);
        computed.insert("policy_loss".into(), values(update.policy_loss));
        computed.insert("alpha_grad".into(), values(update.temperature_gradient));
        layers(&mut computed, "grad.q1", &update.critic_gradient.q1);
        layers(&mut computed, "grad.q2", &update.critic_gradient.q2);
        layers(&mut computed, "grad.policy", &update.policy_gradient);
        Ok(computed)
    }

    /// Compares what one update computed. Where the policy loss was left out, and only there, its
    /// quantities are absent.
    fn compare_outputs(&mut self, prefix: &str, computed: &Computed) -> Result<()> {
        let outputs = format!("{prefix}.out.");
        for name in self.fixture.names(&outputs) {
            let quantity = &name[outputs.len()..];
            let at = self.fixture.at(&name);
            let expected = &self.fixture.array(&name)?.values;
            let may_be_left_out = self.skip_unused
                && !computed.contains_key("policy_loss")
                && ["policy_loss", "weights", "new_action"].contains(&quantity);
            match computed.get(quantity) {
                Some(actual) => {
                    self.comparison
                        .array(&at, actual, expected, self.tolerances.single)?;
                }
                None if may_be_left_out => {}
                None => bail!("{name}: no check knows this array"),
            }
        }
        Ok(())
    }

    /// Compares state `index` of the file with `state`.
    fn compare_state(&mut self, index: usize, state: &StateDict) -> Result<()> {
        let prefix = format!("{}.state{index}.", self.algorithm);
        let names = self.fixture.names(&prefix);
        ensure!(!names.is_empty(), "{prefix}* is missing");
        let tolerance = if index == 1 {
            self.tolerances.first_state
        } else {
            self.tolerances.later_states
        };
        for name in names {
            let quantity = &name[prefix.len()..];
            let ours = our_name(quantity)?;
            // SDAC's running statistics serve nothing and come from what the saving leaves out.
            let left_out = self.skip_unused
                && self.algorithm == "sdac"
                && ["running_mean", "running_std"].contains(&quantity);
            if left_out {
                continue;
            }
            let at = self.fixture.at(&name);
            let expected = &self.fixture.array(&name)?.values;
            let actual: Vec<f64> = match state.get(&ours) {
                Some(Array::U64(count)) => vec![*count as f64],
                Some(Array::F32(_, values)) => values.iter().map(|v| f64::from(*v)).collect(),
                None => bail!("{name}: the agent has no {ours}"),
            };
            self.comparison.array(&at, &actual, expected, tolerance)?;
        }
        Ok(())
    }
}

fn insert_critic_losses<B: RescoreBackend>(
    computed: &mut Computed,
    [loss1, loss2]: [Tensor<B, 1>; 2],
) {
    computed.insert("q1_loss".into(), values(loss1));
    computed.insert("q2_loss".into(), values(loss2));
}
