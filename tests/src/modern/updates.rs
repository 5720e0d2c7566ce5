//! `updates_*`: consecutive complete updates of DPMD and SDAC from a stored state.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use burn::tensor::{Tensor, activation::softmax};
use rescore_agents::{Batch, Draws, Given, Metrics, Pace, Setup};
use rescore_critics::Head;
use rescore_kernels::{ChainNoise, RescoreBackend, flatten_particles};

use super::{
    Tolerances,
    actor::state_major_times,
    agents::{AnyAgent, Hyper},
    results::Results,
    stored::Form,
};
use crate::parity::{
    Comparison,
    fixture::Fixture,
    pieces::{given_noise, values},
};

/// All algorithms that the file has.
pub fn check<B: RescoreBackend>(
    fixture: &mut Fixture,
    (comparison, tolerances): (&mut Comparison, Tolerances),
    device: &B::Device,
) -> Result<()> {
    let hyper = Hyper::read(fixture)?;
    let names = fixture.names("");
    let algorithms = names.iter().filter_map(|n| n.strip_suffix(".state0.step"));
    let algorithms: Vec<&str> = algorithms.collect();
    ensure!(
        !algorithms.is_empty(),
        "no state that an update begins with"
    );
    let width = |name: &str| fixture.shape(&format!("step0.batch.{name}"))[1];
    let setup = Setup {
        dims: [width("obs"), width("action")],
        seed: 0,
        updates: 1,
        // One update a step: what is given in steps is given in updates.
        pace: Pace::default(),
        device,
    };
    for algorithm in algorithms {
        let mut agent = AnyAgent::new(fixture, &hyper, algorithm, &setup)?;
        let run = Run::<B> {
            algorithm,
            fixture,
            particles: hyper.particles,
            device,
        };
        run.updates(&mut agent, (comparison, tolerances))
            .with_context(|| algorithm.to_owned())?;
    }
    Ok(())
}

/// One pass over the updates of one algorithm.
struct Run<'a, B: RescoreBackend> {
    algorithm: &'a str,
    fixture: &'a mut Fixture,
    /// Of a state in the policy steps of DPMD.
    particles: usize,
    device: &'a B::Device,
}

impl<B: RescoreBackend> Run<'_, B> {
    fn updates(
        mut self,
        agent: &mut AnyAgent<B>,
        (comparison, tolerances): (&mut Comparison, Tolerances),
    ) -> Result<()> {
        let template = agent.agent().state();
        let form = Form::of(self.fixture, self.algorithm, &template);
        let mut before = form.first(self.fixture)?;
        agent
            .agent()
            .load_state(&form.to_ours(&before, &template)?)?;
        let loaded = form.to_theirs(&agent.agent().state())?;
        ensure!(loaded == before, "the agent has not taken the whole state");
        let mut last_is_stored = false;
        for step in 0.. {
            if !self.fixture.has(&format!("step{step}.batch.obs")) {
                ensure!(last_is_stored, "the last state is missing");
                return Ok(());
            }
            let group = format!("{}.step{step}", self.algorithm);
            let results = self.update(step, &group, agent)?;
            let outputs = format!("{group}.out.");
            results.compare(&outputs, self.fixture, comparison, tolerances)?;
            let now = form.to_theirs(&agent.agent().state())?;
            let compared = (&mut *comparison, tolerances);
            last_is_stored = form.compare(self.fixture, compared, step + 1, [&now, &before])?;
            if last_is_stored {
                before = now;
            }
        }
        Ok(())
    }

    fn batch(&mut self, step: usize) -> Result<Batch<B>> {
        let divisor = format!("{}.reward_divisor", self.algorithm);
        let divisor: Tensor<B, 1> = self.fixture.tensor(&divisor, self.device)?;
        let at = |name: &str| format!("step{step}.batch.{name}");
        let rewards: Tensor<B, 1> = self.fixture.tensor(&at("reward"), self.device)?;
        Ok(Batch {
            observations: self.fixture.tensor(&at("obs"), self.device)?,
            actions: self.fixture.tensor(&at("action"), self.device)?,
            rewards: rewards / divisor,
            next_observations: self.fixture.tensor(&at("next_obs"), self.device)?,
            terminated: self.fixture.tensor(&at("done"), self.device)?,
        })
    }

    /// The draws of DPMD and of SDAC. The files have particles first; samples of SDAC are ours.
    fn draws(&mut self, step: usize) -> Result<[Draws<B>; 2]> {
        let (fixture, device) = (&mut *self.fixture, self.device);
        let at = |name: &str| format!("step{step}.draw.{name}");
        let start: Tensor<B, 2> = fixture.tensor(&at("next_x_T"), device)?;
        let steps: Tensor<B, 3> = fixture.tensor(&at("next_noise"), device)?;
        let next = Given::Chain(ChainNoise::Given {
            start: start.unsqueeze_dim(1),
            steps: steps.unsqueeze_dim(2),
        });
        let mut dpmd = BTreeMap::from([("next/chain".to_owned(), next)]);
        let mut sdac = dpmd.clone();
        if fixture.has(&at("x_T")) {
            let chain = given_noise(fixture, &at("x_T"), &at("step_noise"), device)?;
            dpmd.insert("chain".into(), Given::Chain(chain));
            let times = state_major_times(fixture, &at("t"), device)?;
            dpmd.insert("times".into(), Given::Integers(times));
            for (ours, theirs) in [("particles", "sel_noise"), ("noise", "noise")] {
                let noise: Tensor<B, 3> = fixture.tensor(&at(theirs), device)?;
                let rows = flatten_particles(noise.swap_dims(0, 1));
                dpmd.insert(ours.into(), Given::Numbers(rows));
            }
        }
        if fixture.has(&at("t_sdac")) {
            let times = fixture.integers(&at("t_sdac"), device)?;
            sdac.insert("times".into(), Given::Integers(times));
            for (ours, theirs) in [("forward", "noise1"), ("reverse", "uniform")] {
                let rows = fixture.tensor(&at(theirs), device)?;
                sdac.insert(ours.into(), Given::Numbers(rows));
            }
        }
        Ok([dpmd, sdac].map(|draws| Draws::given(draws, device)))
    }

    /// What one update computed, as `group`.
    fn update(&mut self, step: usize, group: &str, agent: &mut AnyAgent<B>) -> Result<Results> {
        let mut results = Results::default();
        let count = self.particles;
        let batch = self.batch(step)?;
        let [dpmd, sdac] = self.draws(step)?;
        let target = agent.critics().target.clone();
        let mut found = Found {
            group,
            results: &mut results,
        };
        let metrics = match agent {
            AnyAgent::Dpmd(agent) => {
                let metrics = agent.update_with(&batch, &dpmd);
                found.particles(&metrics, count);
                metrics
            }
            AnyAgent::Sdac(agent) => {
                let metrics = agent.update_with(&batch, &sdac);
                found.reverse_samples(&metrics);
                metrics
            }
        };
        found.everywhere(&metrics);

        // What the target critics said of the next actions.
        let next = metrics.values("next_actions").context("always recorded")?;
        let next = [batch.next_observations, next.reshape(batch.actions.dims())];
        let outputs = target.bootstrap_outputs([batch.observations, batch.actions], next);
        found.array("target_q", target.head.values(outputs.clone()));
        if let Head::Categorical(support) = target.head {
            let lowest = support.lowest_member(softmax(outputs, 2)).float();
            results.exact((group, "head"), values(lowest));
        }
        Ok(results)
    }
}

/// What one update computed, by the names of the files.
struct Found<'a> {
    group: &'a str,
    results: &'a mut Results,
}

impl Found<'_> {
    fn array<B: RescoreBackend, const D: usize>(&mut self, name: &str, tensor: Tensor<B, D>) {
        self.results.tensor((self.group, name), tensor);
    }

    /// What stands under our name `ours`, where this update has it.
    fn recorded<B: RescoreBackend>(&mut self, name: &str, metrics: &Metrics<B>, ours: &str) {
        if let Some(tensor) = metrics.values(ours) {
            self.array(name, tensor);
        }
    }

    /// Of both algorithms.
    fn everywhere<B: RescoreBackend>(&mut self, metrics: &Metrics<B>) {
        for (name, ours) in [
            ("next_action", "next_actions"),
            ("q_target", "target_mean"),
            ("target_dist", "target_distribution"),
            ("policy_loss", "policy_loss"),
            ("lambda_grad", "temperature_gradient"),
        ] {
            self.recorded(name, metrics, ours);
        }
        if let Some(losses) = metrics.values("q{}_loss") {
            for (member, loss) in values(losses).into_iter().enumerate() {
                let name = format!("q{}_loss", member + 1);
                self.results.values((self.group, &name), vec![loss]);
            }
        }
        if let Some(kl) = metrics.values("weight_kl") {
            self.array("kl", kl.mean());
        }
    }

    /// Of DPMD, of `count` particles a state, which the files have first.
    fn particles<B: RescoreBackend>(&mut self, metrics: &Metrics<B>, count: usize) {
        let recorded = |ours: &str| {
            let tensor = metrics.values(ours)?;
            let [len] = tensor.dims();
            Some((tensor, len))
        };
        let Some((scores, len)) = recorded("scores") else {
            return;
        };
        let shape = [len / count, count];
        self.array("particle_q", scores.reshape(shape).transpose());
        if let Some((probabilities, _)) = recorded("probabilities") {
            let weights = probabilities.mul_scalar(count as f64);
            self.array("weights", weights.reshape(shape).transpose());
        }
        if let Some((particles, len)) = recorded("particles") {
            let particles = particles.reshape([shape[0], count, len / (shape[0] * count)]);
            self.array("particles", particles.swap_dims(0, 1));
        }
    }

    /// Of SDAC, whose samples are in our order.
    fn reverse_samples<B: RescoreBackend>(&mut self, metrics: &Metrics<B>) {
        for (name, ours) in [
            ("x_t", "noisy_actions"),
            ("reverse_noise", "reverse_noise"),
            ("clean_action", "particles"),
            ("sample_q", "scores"),
            ("weights", "probabilities"),
            ("target_noise", "target_noise"),
        ] {
            self.recorded(name, metrics, ours);
        }
    }
}
