//! DPMD as published: diffusion policy mirror descent (Ma et al., ICML 2025).
//!
//! Every update draws next actions from the current policy, moves the critics towards the TD target,
//! and regresses the policy on those same actions, each weighted by `exp(Q / lambda)`: the result of
//! policy mirror descent, reached by a reweighted denoising loss. Settings and quirks are those of the
//! reference implementation.

use rescore_objectives::rsm::{self, DenoisingRows, QNormalization, QStatistics};

use crate::prelude::*;

/// Settings of DPMD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DpmdSettings {
    /// Adam steps of the critics with one gradient, 1 or 2: the reference implementation takes one
    /// before and one after the weights of the policy loss are computed.
    pub critic_steps: u64,
    /// How Q is normalised before the exponential: "reference" (`q - mean / std`, the precedence of
    /// the reference implementation), "standardize" (`(q - mean) / std`) or "none".
    #[schemars(with = "String")]
    pub q_normalization: QNormalization,
    /// Normalised Q is clipped to plus or minus this.
    pub q_clip: f64,
    /// Rate of the moving statistics of Q, in (0, 1].
    pub q_statistics_rate: f64,
    /// What DPMD and SDAC share.
    #[serde(flatten)]
    pub base: DiffusionSettings,
}

impl Default for DpmdSettings {
    fn default() -> Self {
        Self {
            critic_steps: 2,
            q_normalization: QNormalization::Reference,
            q_clip: 3.0,
            q_statistics_rate: 1e-3,
            base: DiffusionSettings::default(),
        }
    }
}

impl Settings for DpmdSettings {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        let steps = matches!(self.critic_steps, 1 | 2);
        (self.base.check(check))
            .require("critic_steps", self.critic_steps, steps, "1 or 2")
            .positive("q_clip", self.q_clip)
            .rate("q_statistics_rate", self.q_statistics_rate)
    }

    fn outline(&self) -> Outline {
        self.base.outline(self.base.particles)
    }

    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        Box::new(Dpmd::new(self, setup))
    }
}

/// A DPMD agent.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the types say what the fields are")]
pub struct Dpmd<B: RescoreBackend> {
    pub critics: CriticLearner<B>,
    pub actor: DiffusionActor<B>,
    pub exploration: Exploration<B>,
    pub q_statistics: QStatistics<B>,
    target: MovingAverage,
    settings: DpmdSettings,
    streams: Streams,
    updates: u64,
}

impl<B: RescoreBackend> Dpmd<B> {
    /// A fresh agent.
    pub fn new(settings: &DpmdSettings, setup: &Setup<'_, B>) -> Self {
        let base = &settings.base;
        Self {
            critics: CriticLearner::new(&base.critic, [base.gamma, base.reward_scale], setup),
            actor: DiffusionActor::new(&base.actor, [base.particles; 2], base.policy_delay, setup)
                .averaged(),
            exploration: Exploration::new(&base.exploration, &base.temperature, setup),
            q_statistics: QStatistics::new(setup.device),
            target: base.target.average(base.gamma, setup.pace),
            settings: settings.clone(),
            streams: Streams::new(setup.seed),
            updates: 0,
        }
    }

    /// One update. `draws` has `next/chain` and `next/exploration` for the next actions, `times`
    /// `[batch]` and `noise` `[batch, action_dim]` for the policy loss.
    pub fn update_with(&mut self, batch: &Batch<B>, draws: &Draws<B>) -> Metrics<B> {
        let (settings, updates) = (&self.settings, self.updates);
        let (critics, actor) = (&mut self.critics, &mut self.actor);
        let temperature = self.exploration.temperature.value();
        let mut metrics = Metrics::default();

        // Next actions, of targets and policy loss: the particle with the largest Q, noisy.
        let states = batch.next_observations.clone();
        let chain = draws.chain("next/chain", &actor.sampler);
        let particles = actor.sample(
            &actor.policy,
            states.clone(),
            settings.base.particles,
            &chain,
        );
        let noise = (draws, "next/exploration");
        let actions = (self.exploration).choose(critics, states.clone(), particles, noise);
        metrics.record("next_actions", actions.clone());

        let target = critics.targets(batch, actions.clone());
        let gradient = critics.gradient(batch, actions.clone(), &target);
        critics.step(&gradient);
        metrics.push_members("q{}_loss", gradient.losses.clone());
        metrics.push_mean("target_mean", critics.target_values(&target));

        // Policy: denoising loss on those actions, weighted by exp(Q / lambda).
        let q = critics.values(states.clone(), actions.clone());
        metrics.push_mean("q_min_mean", q.clone());
        if updates.is_multiple_of(settings.base.policy_delay) {
            let (how, limit) = (settings.q_normalization, settings.q_clip);
            let (statistics, lambda) = (&self.q_statistics, temperature.clone());
            let weights = rsm::mirror_descent_weights(q.clone(), how, statistics, limit, lambda);
            let rows = DenoisingRows {
                times: draws.integers("times", states.dims()[0], actor.schedule.num_steps()),
                noise: draws.normals("noise", actions.dims()),
                observations: states,
                actions,
                weights: weights.clone(),
            };
            let loss = actor
                .learn(|policy, schedule| rsm::weighted_denoising_loss(policy, schedule, rows));
            metrics.push("policy_loss", loss);
            metrics.push_distribution("weight", weights);
        }
        metrics.push("temperature", temperature);

        // The reference implementation steps the critics once more with the same gradient.
        for _ in 1..settings.critic_steps {
            critics.step(&gradient);
        }
        if updates.is_multiple_of(settings.base.temperature_every) {
            self.exploration.step_temperature();
        }
        if updates.is_multiple_of(self.target.every) {
            critics.track(self.target.tau);
            actor.track(self.target.tau);
        }
        self.q_statistics = self.q_statistics.updated(q, settings.q_statistics_rate);
        self.updates += 1;
        metrics
    }
}

impl<B: RescoreBackend> Agent<B> for Dpmd<B> {
    parts!(critics, actor, exploration, q_statistics, updates => diffusion(actor, critics, streams));

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
