//! `updates_*`: three consecutive complete updates of DPMD, SDAC and SAC, from a stored state.

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Tensor;
use rescore_agents::{
    Agent, Array, Batch, Draws, Given, Metrics, Setup, StateDict,
    dpmd_reference::{Dpmd, DpmdSettings},
    sac::{Sac, SacSettings, policy_loss},
    sdac_reference::{Sdac, SdacSettings},
    settings::NetworkSettings,
};
use rescore_kernels::RescoreBackend;
use rescore_nn::value_and_grad;
use rescore_objectives::td::Target;

use super::{
    Comparison, Computed, Fixture, Tolerances,
    pieces::{given_noise, insert_members, layers, settings, values},
};

/// Sizes that a file states.
struct Sizes {
    dims: [usize; 2],
    hidden: usize,
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
        particles: fixture.size("K")?,
        steps: fixture.size("T")?,
        reverse_samples: fixture.size("mc")?,
    };
    for algorithm in ["dpmd", "sdac", "sac"] {
        if fixture.names(&format!("{algorithm}.")).is_empty() {
            continue;
        }
        let mut agent = build::<B>(algorithm, &sizes, fixture, device)?;
        let template = agent.as_agent().state();
        let state = read_state(fixture, algorithm, 0, &template)?;
        agent.as_agent().load_state(&state)?;
        let mut run = Run {
            algorithm,
            fixture,
            comparison,
            tolerances,
            device,
        };
        run.updates(&mut agent)
            .with_context(|| algorithm.to_owned())?;
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
    fixture: &Fixture,
    device: &B::Device,
) -> Result<AnyAgent<B>> {
    let policy = format!("{algorithm}.state0.policy.l");
    let depth = fixture.names(&policy).len() / 2;
    ensure!(depth > 1, "{algorithm}: state0 holds no policy");
    let mut base = settings(sizes.hidden, depth - 1).base;
    base.particles = sizes.particles;
    base.actor.denoising_steps = sizes.steps;
    let setup = &Setup {
        dims: sizes.dims,
        seed: 0,
        // As published: a million steps.
        updates: 200_000,
        pace: rescore_agents::Pace::default(),
        device,
    };
    Ok(match algorithm {
        "dpmd" => {
            let settings = DpmdSettings {
                base,
                ..DpmdSettings::default()
            };
            AnyAgent::Dpmd(Dpmd::new(&settings, setup))
        }
        "sdac" => {
            let settings = SdacSettings {
                base,
                reverse_samples: sizes.reverse_samples,
                ..SdacSettings::default()
            };
            AnyAgent::Sdac(Sdac::new(&settings, setup))
        }
        _ => {
            let mut settings = SacSettings::reference();
            for network in [&mut settings.critic.network, &mut settings.actor.network] {
                if let NetworkSettings::Mlp { hidden_dims, .. } = network {
                    *hidden_dims = vec![sizes.hidden; depth - 1];
                }
            }
            AnyAgent::Sac(Sac::new(&settings, setup))
        }
    })
}

impl<B: RescoreBackend> AnyAgent<B> {
    fn as_agent(&mut self) -> &mut dyn Agent<B> {
        match self {
            Self::Dpmd(agent) => agent,
            Self::Sdac(agent) => agent,
            Self::Sac(agent) => agent,
        }
    }
}

/// Our name of an array of a state, given the name in the files, and which member of ours it is.
/// One counter of ours may stand under two names there: both critics are moved by one optimiser.
fn our_name(name: &str) -> Result<(String, usize)> {
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
        return Ok((fixed.to_owned(), 0));
    }
    let parts: Vec<&str> = name.split('.').collect();
    let (owner, layer, parameter) = match parts[..] {
        [network, layer, parameter] => {
            let owner = match network {
                "q1" | "q2" => "critics".to_owned(),
                "target_q1" | "target_q2" => "target_critics".to_owned(),
                "policy" | "target_policy" => network.to_owned(),
                _ => bail!("state.{name}: no check knows this array"),
            };
            (owner, layer, parameter)
        }
        [optimizer, moment @ ("mu" | "nu"), layer, parameter] => {
            let owner = match optimizer {
                "opt_q1" | "opt_q2" => format!("critic_optimizer.{moment}"),
                "opt_policy" => format!("policy_optimizer.{moment}"),
                _ => bail!("state.{name}: no check knows this array"),
            };
            (owner, layer, parameter)
        }
        _ => bail!("state.{name}: no check knows this array"),
    };
    let parameter = match parameter {
        "w" => "weight",
        "b" => "bias",
        _ => bail!("state.{name}: no check knows this array"),
    };
    let member = usize::from(parts[0].ends_with("q2"));
    Ok((format!("{owner}.{layer}.{parameter}"), member))
}

/// The values of member `member` of an array of ours, where the file's array has `count`.
fn member_of(values: &[f32], member: usize, count: usize) -> &[f32] {
    &values[member * count..][..count]
}

/// State `index` of the file as a state of ours in the form of `template`, whose members the file
/// gives one by one.
fn read_state(
    fixture: &mut Fixture,
    algorithm: &str,
    index: usize,
    template: &StateDict,
) -> Result<StateDict> {
    let prefix = format!("{algorithm}.state{index}.");
    let mut state = template.clone();
    for name in fixture.names(&prefix) {
        // SDAC's running statistics serve nothing, so we have none.
        let quantity = &name[prefix.len()..];
        if is_unused(algorithm, quantity) {
            fixture.array(&name)?;
            continue;
        }
        let (ours, member) = our_name(quantity)?;
        let array = fixture.array(&name)?;
        let converted = match state.get(&ours) {
            Some(Array::U64(_)) => Array::U64(array.values[0] as u64),
            Some(Array::F32(shape, values)) => {
                let (shape, mut values) = (shape.clone(), values.clone());
                let from = member * array.values.len();
                for (to, value) in values[from..].iter_mut().zip(&array.values) {
                    *to = *value as f32;
                }
                Array::F32(shape, values)
            }
            None => bail!("{name}: the agent has no {ours}"),
        };
        state.insert(ours, converted);
    }
    Ok(state)
}

fn is_unused(algorithm: &str, quantity: &str) -> bool {
    algorithm == "sdac" && ["running_mean", "running_std"].contains(&quantity)
}

/// One pass over the updates of one algorithm.
struct Run<'a, B: RescoreBackend> {
    algorithm: &'a str,
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
            self.compare_state(step + 1, &agent.as_agent().state())?;
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

    /// The draws of the file by our names.
    fn draws(&mut self, prefix: &str, names: &[(&str, Kind)]) -> Result<Draws<B>> {
        let mut draws = std::collections::BTreeMap::new();
        for (ours, kind) in names {
            let at = |name: &str| format!("{prefix}.draw.{name}");
            let given = match kind {
                Kind::Numbers(name) => Given::Numbers(self.fixture.tensor(&at(name), self.device)?),
                Kind::Integers(name) => {
                    Given::Integers(self.fixture.integers(&at(name), self.device)?)
                }
                Kind::Chain([start, steps]) => {
                    let (start, steps) = (at(start), at(steps));
                    Given::Chain(given_noise(self.fixture, &start, &steps, self.device)?)
                }
            };
            draws.insert((*ours).to_owned(), given);
        }
        Ok(Draws::given(draws, self.device))
    }

    fn dpmd(&mut self, prefix: &str, agent: &mut Dpmd<B>, batch: &Batch<B>) -> Result<Computed> {
        let draws = self.draws(
            prefix,
            &[
                ("next/chain", Kind::Chain(["next_x0", "next_noise"])),
                ("next/exploration", Kind::Numbers("next_expl")),
                ("times", Kind::Integers("t")),
                ("noise", Kind::Numbers("noise")),
            ],
        )?;
        let metrics = agent.update_with(batch, &draws);
        let names = [("policy_loss", "policy_loss"), ("weights", "weight")];
        Ok(computed(&metrics, &names))
    }

    fn sdac(&mut self, prefix: &str, agent: &mut Sdac<B>, batch: &Batch<B>) -> Result<Computed> {
        let draws = self.draws(
            prefix,
            &[
                ("next/chain", Kind::Chain(["next_x0", "next_noise"])),
                ("next/exploration", Kind::Numbers("next_expl")),
                ("present/chain", Kind::Chain(["new_x0", "new_noise"])),
                ("present/exploration", Kind::Numbers("new_expl")),
                ("times", Kind::Integers("t")),
                ("forward", Kind::Numbers("noise1")),
                ("reverse", Kind::Numbers("noise2")),
            ],
        )?;
        let metrics = agent.update_with(batch, &draws);
        let names = [
            ("policy_loss", "policy_loss"),
            ("weights", "weight"),
            ("new_action", "actions"),
        ];
        Ok(computed(&metrics, &names))
    }

    fn sac(&mut self, prefix: &str, agent: &mut Sac<B>, batch: &Batch<B>) -> Result<Computed> {
        let names = [
            ("next", Kind::Numbers("z_next")),
            ("present", Kind::Numbers("z_new")),
        ];
        let draws = self.draws(prefix, &names)?;
        let before = agent.clone();
        let metrics = agent.update_with(batch, &draws);
        let names = [
            ("next_logp", "next_log_probabilities"),
            ("policy_loss", "policy_loss"),
            ("alpha_grad", "temperature_gradient"),
        ];
        let mut computed = computed(&metrics, &names);
        let targets = metrics
            .values("target_mean")
            .context("every update has targets")?;
        let (actions, target) = (batch.actions.clone(), Target::Values(targets));
        let step = before.critics.gradient(batch, actions, &target);
        layers(&mut computed, "grad.q1", &step.gradient, 0);
        layers(&mut computed, "grad.q2", &step.gradient, 1);
        // The policy's loss is taken with the critics after their step, which stay as they are.
        let (_, gradient, log_probabilities) = value_and_grad(&before.actor.policy, |policy| {
            let states = Tensor::from_inner(batch.observations.clone());
            let noise = Tensor::from_inner(draws.normals("present", batch.actions.dims()));
            let sample = before.actor.sample(policy, states.clone(), noise);
            let alpha = Tensor::from_inner(before.temperature.value());
            policy_loss(&agent.critics, states, sample, alpha)
        });
        computed.insert("new_logp".into(), values(log_probabilities));
        layers(&mut computed, "grad.policy", &gradient, 0);
        Ok(computed)
    }

    /// Compares what one update computed. Where the policy did not step, and only there, its
    /// quantities are absent.
    fn compare_outputs(&mut self, prefix: &str, computed: &Computed) -> Result<()> {
        let outputs = format!("{prefix}.out.");
        for name in self.fixture.names(&outputs) {
            let quantity = &name[outputs.len()..];
            let at = self.fixture.at(&name);
            let expected = &self.fixture.array(&name)?.values;
            let may_be_left_out = !computed.contains_key("policy_loss")
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
            let at = self.fixture.at(&name);
            let expected = &self.fixture.array(&name)?.values;
            if is_unused(self.algorithm, quantity) {
                continue;
            }
            let (ours, member) = our_name(quantity)?;
            let actual: Vec<f64> = match state.get(&ours) {
                Some(Array::U64(count)) => vec![*count as f64],
                Some(Array::F32(_, values)) => {
                    let values = member_of(values, member, expected.len());
                    values.iter().map(|v| f64::from(*v)).collect()
                }
                None => bail!("{name}: the agent has no {ours}"),
            };
            self.comparison.array(&at, &actual, expected, tolerance)?;
        }
        Ok(())
    }
}

/// Which arrays of the file are a draw.
enum Kind {
    Numbers(&'static str),
    Integers(&'static str),
    /// Start and steps.
    Chain([&'static str; 2]),
}

/// What every update computes, and the entries of `names` (the file's name, ours) that it has.
fn computed<B: RescoreBackend>(metrics: &Metrics<B>, names: &[(&str, &str)]) -> Computed {
    let mut computed = Computed::new();
    let always = [("next_action", "next_actions"), ("q_backup", "target_mean")];
    for (theirs, ours) in always.iter().chain(names) {
        if let Some(tensor) = metrics.values(ours) {
            computed.insert((*theirs).to_owned(), values(tensor));
        }
    }
    if let Some(losses) = metrics.values("q{}_loss") {
        insert_members(&mut computed, "_loss", losses.unsqueeze_dim(1));
    }
    computed
}
