//! SDAC as published: soft diffusion actor-critic (Ma et al., ICML 2025).
//!
//! The maximum-entropy counterpart of DPMD. A noisy action `x_t` is made from an action of the
//! current policy; clean actions are drawn from the reverse kernel around it and weighted by the
//! softmax of `Q / lambda`; the policy learns to predict the noise that leads to them.

use rescore_kernels::unflatten_particles;
use rescore_objectives::rsm::{self, ReverseRows};

use crate::prelude::*;

/// Settings of SDAC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SdacSettings {
    /// Samples of the reverse kernel for each noisy action.
    pub reverse_samples: usize,
    /// Q is multiplied by this before it is divided by the temperature. The reference implementation
    /// has its initial temperature here, 5.
    pub q_scale: f64,
    /// What DPMD and SDAC share.
    #[serde(flatten)]
    pub base: DiffusionSettings,
}

impl Default for SdacSettings {
    fn default() -> Self {
        Self {
            reverse_samples: 64,
            q_scale: 5.0,
            base: DiffusionSettings::default(),
        }
    }
}

impl Settings for SdacSettings {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        (self.base.check(check))
            .samples("reverse_samples", self.reverse_samples)
            .positive("q_scale", self.q_scale)
    }

    fn outline(&self) -> Outline {
        (self.base).outline(self.base.particles.max(self.reverse_samples))
    }

    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        Box::new(Sdac::new(self, setup))
    }
}

/// An SDAC agent.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the types say what the fields are")]
pub struct Sdac<B: RescoreBackend> {
    pub critics: CriticLearner<B>,
    pub actor: DiffusionActor<B>,
    pub exploration: Exploration<B>,
    target: MovingAverage,
    settings: SdacSettings,
    streams: Streams,
    updates: u64,
}

impl<B: RescoreBackend> Sdac<B> {
    /// A fresh agent.
    pub fn new(settings: &SdacSettings, setup: &Setup<'_, B>) -> Self {
        let base = &settings.base;
        Self {
            critics: CriticLearner::new(&base.critic, [base.gamma, base.reward_scale], setup),
            actor: DiffusionActor::new(&base.actor, [base.particles; 2], base.policy_delay, setup)
                .averaged(),
            exploration: Exploration::new(&base.exploration, &base.temperature, setup),
            target: base.target.average(base.gamma, setup.pace),
            settings: settings.clone(),
            streams: Streams::new(setup.seed),
            updates: 0,
        }
    }

    /// Of the particles of the current policy the one with the largest Q, noisy, `[batch, action_dim]`.
    fn sample(&self, observations: Tensor<B, 2>, draws: &Draws<B>, name: &str) -> Tensor<B, 2> {
        let chain = draws.chain(&format!("{name}/chain"), &self.actor.sampler);
        let (policy, count) = (&self.actor.policy, self.settings.base.particles);
        let particles = self
            .actor
            .sample(policy, observations.clone(), count, &chain);
        let noise = (draws, &*format!("{name}/exploration"));
        (self.exploration).choose(&self.critics, observations, particles, noise)
    }

    /// One update. `draws` has `chain` and `exploration` of `next/` and `present/` actions, `times`
    /// `[batch]`, `forward` `[batch, action_dim]`, `reverse` `[batch * reverse_samples, action_dim]`.
    pub fn update_with(&mut self, batch: &Batch<B>, draws: &Draws<B>) -> Metrics<B> {
        let (settings, updates) = (&self.settings, self.updates);
        let mut metrics = Metrics::default();

        // Critics: mean squared TD error at next actions of the current policy.
        let next_actions = self.sample(batch.next_observations.clone(), draws, "next");
        metrics.record("next_actions", next_actions.clone());
        let target = self.critics.targets(batch, next_actions.clone());
        let gradient = self.critics.gradient(batch, next_actions, &target);
        metrics.push_members("q{}_loss", gradient.losses.clone());
        metrics.push_mean("target_mean", self.critics.target_values(&target));

        // Policy: reweighted score matching, with the critics from before their step.
        let temperature = self.exploration.temperature.value();
        if updates.is_multiple_of(settings.base.policy_delay) {
            let states = batch.observations.clone();

            // A noisy action x_t, clean actions that it may have come from, and how good they are.
            let actions = self.sample(states.clone(), draws, "present");
            let [size, dim] = actions.dims();
            let schedule = &self.actor.schedule;
            let times = draws.integers("times", size, schedule.num_steps());
            let forward = draws.normals("forward", [size, dim]);
            let noisy = schedule.add_noise(actions.clone(), times.clone(), forward);
            let reverse = draws.normals("reverse", [size * settings.reverse_samples, dim]);
            let reverse = unflatten_particles(reverse, size);
            let clean =
                rsm::reverse_samples(schedule, noisy.clone(), times.clone(), reverse.clone());
            let scaled_q = (self.critics.score(states.clone(), clean)).mul_scalar(settings.q_scale)
                / temperature.clone().unsqueeze();
            let weights = rsm::max_entropy_weights(scaled_q.clone());

            let rows = ReverseRows {
                observations: states,
                noisy,
                times,
                noise: reverse,
                weights: weights.clone(),
            };
            let loss = self
                .actor
                .learn(|policy, schedule| rsm::reverse_sampling_loss(policy, schedule, rows));
            metrics.push("policy_loss", loss);
            metrics.push_mean("scaled_q_mean", scaled_q.flatten(0, 1));
            metrics.push_distribution("weight", weights.flatten(0, 1));
            metrics.record("actions", actions);
        }
        metrics.push("temperature", temperature);

        self.critics.step(&gradient);
        if updates.is_multiple_of(settings.base.temperature_every) {
            self.exploration.step_temperature();
        }
        if updates.is_multiple_of(self.target.every) {
            self.critics.track(self.target.tau);
            self.actor.track(self.target.tau);
        }
        self.updates += 1;
        metrics
    }
}

impl<B: RescoreBackend> Agent<B> for Sdac<B> {
    parts!(critics, actor, exploration, updates => diffusion(actor, critics, streams));

    fn act(&self, observations: Tensor<B, 2>, counter: u32) -> Tensor<B, 2> {
        let draws = &Draws::acting(self.streams, counter, &observations.device());
        let particles = self.actor.particles_to_act(observations.clone(), draws);
        let noise = (draws, "exploration");
        (self.exploration).choose(&self.critics, observations, particles, noise)
    }

    fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        self.actor
            .evaluate(&self.critics, observations, self.streams)
    }

    fn update(&mut self, batch: &Batch<B>) -> Metrics<B> {
        let draws = Draws::updating(self.streams, self.updates, &batch.rewards.device());
        self.update_with(batch, &draws)
    }
}
