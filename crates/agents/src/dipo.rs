//! DIPO (Yang et al. 2023): replay actions climb the critics, and the policy imitates the climbed ones.

use rescore_objectives::{
    ascent::{Improvement, improve},
    rsm,
};

use crate::prelude::*;

/// Settings of DIPO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DipoSettings {
    /// Steps of Adam by which replay actions climb the critics in every update, 1 to 1000.
    pub ascent_steps: usize,
    /// Its learning rate, greater than 0.
    pub ascent_lr: f64,
    /// Added to the root of its second moment, greater than 0.
    pub ascent_eps: f64,
    /// The gradient of all actions of a batch is scaled down to a norm of this times the number of
    /// action dimensions.
    pub ascent_clip_ratio: f64,
    /// Critics, policy and evaluation.
    #[serde(flatten)]
    pub base: BaselineSettings,
}

impl Default for DipoSettings {
    fn default() -> Self {
        let mut base = BaselineSettings::with_steps(20).clipped(2.0);
        base.evaluation_particles = 1;
        Self {
            ascent_steps: 20,
            ascent_lr: 0.03,
            ascent_eps: 1e-5,
            ascent_clip_ratio: 0.1,
            base,
        }
    }
}

impl Settings for DipoSettings {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        let steps = self.ascent_steps;
        let check = check
            .require(
                "ascent_steps",
                steps,
                (1..=1000).contains(&steps),
                "in 1..=1000",
            )
            .positive("ascent_lr", self.ascent_lr)
            .positive("ascent_eps", self.ascent_eps)
            .positive("ascent_clip_ratio", self.ascent_clip_ratio);
        self.base.check(check)
    }

    fn outline(&self) -> Outline {
        self.base.outline(1, 1)
    }

    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        Box::new(Dipo::new(self, setup))
    }
}

/// A DIPO agent.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the types say what the fields are")]
pub struct Dipo<B: RescoreBackend> {
    pub critics: CriticLearner<B>,
    pub actor: DiffusionActor<B>,
    pub target: MovingAverage,
    settings: DipoSettings,
    streams: Streams,
    updates: u64,
}

impl<B: RescoreBackend> Dipo<B> {
    /// A fresh agent.
    pub fn new(settings: &DipoSettings, setup: &Setup<'_, B>) -> Self {
        let base = &settings.base;
        let particles = [1, base.evaluation_particles];
        let actor = DiffusionActor::new(&base.actor, particles, 1, setup);
        Self {
            critics: CriticLearner::new(&base.critic, [base.gamma, base.reward_scale], setup),
            actor: actor.with_target().evaluated_quietly(),
            target: base.target.average(base.gamma, setup.pace),
            settings: settings.clone(),
            streams: Streams::new(setup.seed),
            updates: 0,
        }
    }

    /// One update. `draws` has `next/chain` for the next actions, `times` `[batch]` and unit normals
    /// `noise` `[batch, action_dim]` for the policy step.
    pub fn update_with(&mut self, batch: &Batch<B>, draws: &Draws<B>) -> Metrics<B> {
        let (settings, critics, actor) = (&self.settings, &mut self.critics, &mut self.actor);
        let mut metrics = Metrics::default();

        // Critics: TD target at one sample of the target policy.
        let (policy, judges) = (actor.target(), critics.target_judges());
        let next = actor.next_actions(policy, &judges, (batch, 1), draws);
        critics.update(batch, next, None, &mut metrics);

        // Replay actions climb the critics that have just stepped; they are used and dropped.
        let (states, before) = (batch.observations.clone(), batch.actions.clone());
        let how = Improvement {
            steps: settings.ascent_steps,
            learning_rate: settings.ascent_lr,
            epsilon: settings.ascent_eps,
            clip_ratio: settings.ascent_clip_ratio,
        };
        let judges = (&critics.online, critics.combine);
        let (actions, norms) = improve(judges, states.clone(), before.clone(), how);
        metrics.push_mean("ascent_gradient_norm", norms);
        metrics.record("improved_action", actions.clone());
        let values = |actions| critics.values(states.clone(), actions);
        metrics.push_mean("q_before", values(before));
        metrics.push_mean("q_after", values(actions.clone()));

        // Policy: ordinary denoising score matching of the improved actions.
        let [rows, dim] = actions.dims();
        let rows = rsm::DenoisingRows {
            observations: states,
            times: draws.integers("times", rows, actor.schedule.num_steps()),
            noise: draws.normals("noise", [rows, dim]),
            weights: batch.rewards.ones_like(),
            actions,
        };
        let loss =
            actor.learn(|policy, schedule| rsm::weighted_denoising_loss(policy, schedule, rows));
        metrics.push("policy_loss", loss);

        critics.follow(self.target, self.updates);
        actor.follow(self.target, self.updates);
        self.updates += 1;
        metrics
    }

    /// The action of training, one sample. `draws` has `chain`.
    pub fn act_with(&self, observations: Tensor<B, 2>, draws: &Draws<B>) -> Tensor<B, 2> {
        self.actor.explore(&self.critics, observations, 0.0, draws)
    }
}

impl<B: RescoreBackend> Agent<B> for Dipo<B> {
    parts!(critics, actor, updates => diffusion(actor, critics, streams));

    fn act(&self, observations: Tensor<B, 2>, counter: u32) -> Tensor<B, 2> {
        let draws = Draws::acting(self.streams, counter, &observations.device());
        self.act_with(observations, &draws)
    }

    fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        (self.actor).evaluate(&self.critics, observations, self.streams)
    }

    fn update(&mut self, batch: &Batch<B>) -> Metrics<B> {
        let draws = Draws::updating(self.streams, self.updates, &batch.rewards.device());
        self.update_with(batch, &draws)
    }
}
