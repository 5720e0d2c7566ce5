//! QVPO (Ding et al. 2024): the policy regresses on the best of many of its own samples, weighted by
//! how much better it is than their mean, and on uniform actions, which keep its entropy up.

use rescore_objectives::{
    advantage::{best_advantage, entropy_coefficient},
    rsm,
};

use crate::prelude::*;

/// Settings of QVPO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QvpoSettings {
    /// Samples of the target policy of which the target critics choose the next action.
    pub target_samples: usize,
    /// Samples of which the critics choose the action of training.
    pub behaviour_samples: usize,
    /// Samples of which the critics choose the action that is regressed on.
    pub train_samples: usize,
    /// Uniform actions that are regressed on for each state.
    pub entropy_rows: usize,
    /// Weight of uniform actions at the start of the run, over that of the best sample.
    pub entropy_start: f64,
    /// The weight does not fall below this.
    pub entropy_end: f64,
    /// Critics, policy and evaluation.
    #[serde(flatten)]
    pub base: BaselineSettings,
}

impl Default for QvpoSettings {
    fn default() -> Self {
        let mut base = BaselineSettings::with_steps(20).clipped(2.0);
        base.actor.learning_rate = 1e-4;
        base.evaluation_particles = 32;
        Self {
            target_samples: 4,
            behaviour_samples: 4,
            train_samples: 64,
            entropy_rows: 10,
            entropy_start: 0.02,
            entropy_end: 0.002,
            base,
        }
    }
}

impl Settings for QvpoSettings {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        let rows = self.entropy_rows;
        let check = check
            .samples("target_samples", self.target_samples)
            .samples("behaviour_samples", self.behaviour_samples)
            .samples("train_samples", self.train_samples)
            .require("entropy_rows", rows, rows <= 1000, "in 0..=1000")
            .non_negative("entropy_start", self.entropy_start)
            .non_negative("entropy_end", self.entropy_end);
        self.base.check(check)
    }

    fn outline(&self) -> Outline {
        let samples = self.train_samples.max(self.target_samples);
        self.base.outline(samples, self.behaviour_samples)
    }

    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        Box::new(Qvpo::new(self, setup))
    }
}

/// A QVPO agent.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the types say what the fields are")]
pub struct Qvpo<B: RescoreBackend> {
    pub critics: CriticLearner<B>,
    pub actor: DiffusionActor<B>,
    pub target: MovingAverage,
    settings: QvpoSettings,
    streams: Streams,
    updates: u64,
    /// Updates of the whole run.
    all_updates: u64,
}

impl<B: RescoreBackend> Qvpo<B> {
    /// A fresh agent.
    pub fn new(settings: &QvpoSettings, setup: &Setup<'_, B>) -> Self {
        let base = &settings.base;
        let particles = [settings.behaviour_samples, base.evaluation_particles];
        Self {
            critics: CriticLearner::new(&base.critic, [base.gamma, base.reward_scale], setup),
            actor: DiffusionActor::new(&base.actor, particles, 1, setup).with_target(),
            target: base.target.average(base.gamma, setup.pace),
            settings: settings.clone(),
            streams: Streams::new(setup.seed),
            updates: 0,
            all_updates: setup.updates,
        }
    }

    /// One update after the share `progress` of the run. `draws` has `next/chain` for the next actions;
    /// for the policy step `chain`, `uniform` actions `[entropy_rows * batch, action_dim]`, and for the
    /// rows of best and uniform actions together `times` `[rows]` and unit normals `noise` `[rows,
    /// action_dim]`.
    pub fn update_with(&mut self, batch: &Batch<B>, draws: &Draws<B>, progress: f64) -> Metrics<B> {
        let (settings, critics, actor) = (&self.settings, &mut self.critics, &mut self.actor);
        let mut metrics = Metrics::default();

        // Critics: TD target at the best of some samples of the target policy.
        let (states, count) = (batch.next_observations.clone(), settings.target_samples);
        let chain = draws.chain("next/chain", &actor.sampler);
        let samples = actor.sample(actor.target(), states.clone(), count, &chain);
        let scores = critics.target_judges().score(states, samples.clone());
        let next = B::best(samples, scores);
        metrics.record("next_q", next.scores);
        critics.update(batch, next.actions, None, &mut metrics);

        // The best of many samples of the policy, by the critics that have just stepped.
        let (states, count) = (batch.observations.clone(), settings.train_samples);
        let chain = draws.chain("chain", &actor.sampler);
        let samples = actor.sample(&actor.policy, states.clone(), count, &chain);
        let best = B::best(samples.clone(), critics.score(states.clone(), samples));
        let advantage = best_advantage(best.scores.clone());
        metrics.record("train_q", best.scores);
        metrics.record("best_index", best.indices.float());
        metrics.record("best_action", best.actions.clone());
        metrics.push_mean("value", advantage.value);
        metrics.push_mean("weight", advantage.weight.clone());

        // Policy: the best samples by their advantage, then the batch with uniform actions again and
        // again.
        let [rows, dim] = best.actions.dims();
        let (copies, weight) = (settings.entropy_rows, advantage.weight);
        let bounds = [settings.entropy_start, settings.entropy_end];
        let coefficient = entropy_coefficient(bounds, progress);
        metrics.push(
            "entropy_coefficient",
            Tensor::from_data([coefficient], &weight.device()),
        );
        let all = (1 + copies) * rows;
        let (mut actions, mut weights) = (vec![best.actions], vec![weight.clone()]);
        if copies > 0 {
            let shape = [copies * rows, dim];
            actions.push(draws.uniforms_between("uniform", shape, [-1.0, 1.0]));
            weights.push(weight.mul_scalar(coefficient).repeat_dim(0, copies));
        }
        let rows = rsm::DenoisingRows {
            observations: states.repeat_dim(0, 1 + copies),
            actions: Tensor::cat(actions, 0),
            times: draws.integers("times", all, actor.schedule.num_steps()),
            noise: draws.normals("noise", [all, dim]),
            weights: Tensor::cat(weights, 0),
        };
        let loss =
            actor.learn(|policy, schedule| rsm::weighted_denoising_loss(policy, schedule, rows));
        metrics.push("policy_loss", loss);

        critics.follow(self.target, self.updates);
        actor.follow(self.target, self.updates);
        self.updates += 1;
        metrics
    }

    /// The action of training: the best of some samples. `draws` has `chain`; `seen` takes the scores
    /// and the choice.
    pub fn act_with(
        &self,
        observations: Tensor<B, 2>,
        draws: &Draws<B>,
        seen: &mut Metrics<B>,
    ) -> Tensor<B, 2> {
        let samples = self.actor.particles_to_act(observations.clone(), draws);
        let best = B::best(samples.clone(), self.critics.score(observations, samples));
        seen.record("train_q", best.scores);
        seen.record("best_index", best.indices.float());
        best.actions
    }
}

impl<B: RescoreBackend> Agent<B> for Qvpo<B> {
    parts!(critics, actor, updates => diffusion(actor, critics, streams));

    fn act(&self, observations: Tensor<B, 2>, counter: u32) -> Tensor<B, 2> {
        let draws = Draws::acting(self.streams, counter, &observations.device());
        self.act_with(observations, &draws, &mut Metrics::default())
    }

    fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        (self.actor).evaluate(&self.critics, observations, self.streams)
    }

    fn update(&mut self, batch: &Batch<B>) -> Metrics<B> {
        let draws = Draws::updating(self.streams, self.updates, &batch.rewards.device());
        let progress = self.updates as f64 / self.all_updates.max(1) as f64;
        self.update_with(batch, &draws, progress.min(1.0))
    }
}
