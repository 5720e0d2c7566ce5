//! IDQL as an online method (Hansen-Estruch et al. 2023): critics learn from an expectile value of
//! states, without an action of the policy; the policy imitates the replay buffer, and the choice among
//! its samples by advantage is the improvement.

use rescore_kernels::unflatten_particles;
use rescore_objectives::{
    expectile::{choose_by_weight, expectile_loss, expectile_weights},
    rsm,
    td::{Target, td_target},
};

use crate::prelude::*;

/// Settings of IDQL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IdqlSettings {
    /// Expectile of Q that the value of a state is, in (0, 1).
    pub expectile: f64,
    /// Weight of candidates with an advantage in the choice of training, others have 1 less this; in
    /// (0, 1).
    pub selection_expectile: f64,
    /// Candidate actions in training.
    pub candidates: usize,
    /// Standard deviation of the noise on candidates in training, which are clipped to [-1, 1].
    pub candidate_noise: f64,
    /// The value of states.
    pub value: ActorSettings,
    /// Critics, policy and evaluation.
    #[serde(flatten)]
    pub base: BaselineSettings,
}

impl Default for IdqlSettings {
    fn default() -> Self {
        let network = NetworkSettings::mlp(ActivationKind::Mish, InitializerKind::TruncatedNormal);
        Self {
            expectile: 0.8,
            selection_expectile: 0.7,
            candidates: 10,
            candidate_noise: 0.1,
            value: ActorSettings {
                network,
                ..ActorSettings::default()
            },
            base: BaselineSettings::with_steps(10),
        }
    }
}

impl Settings for IdqlSettings {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        let open = |value: f64| value > 0.0 && value < 1.0;
        let (expectile, selection) = (self.expectile, self.selection_expectile);
        let check = check
            .require("expectile", expectile, open(expectile), "in (0, 1)")
            .require(
                "selection_expectile",
                selection,
                open(selection),
                "in (0, 1)",
            )
            .samples("candidates", self.candidates)
            .non_negative("candidate_noise", self.candidate_noise)
            .table("value", |check| self.value.check(check))
            .table("critic", |check| {
                let critic = &self.base.critic;
                let scalar = critic.value == ValueSettings::Scalar {};
                let expected = "scalar, because the value of a state is one number";
                let check = check.require("value.kind", "categorical", scalar, expected);
                let expected = "mlp or residual: there are no next actions to normalise with";
                let rows = !critic.network.has_batch_statistics();
                check.require("network.kind", "batch_norm", rows, expected)
            });
        self.base.check(check)
    }

    fn outline(&self) -> Outline {
        self.base.outline(1, self.candidates)
    }

    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        Box::new(Idql::new(self, setup))
    }
}

/// An IDQL agent.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the types say what the fields are")]
pub struct Idql<B: RescoreBackend> {
    pub critics: CriticLearner<B>,
    pub value: ValueLearner<B>,
    pub actor: DiffusionActor<B>,
    pub target: MovingAverage,
    settings: IdqlSettings,
    streams: Streams,
    updates: u64,
}

impl<B: RescoreBackend> Idql<B> {
    /// A fresh agent.
    pub fn new(settings: &IdqlSettings, setup: &Setup<'_, B>) -> Self {
        let base = &settings.base;
        let particles = [settings.candidates, base.evaluation_particles];
        Self {
            critics: CriticLearner::new(&base.critic, [base.gamma, base.reward_scale], setup),
            value: ValueLearner::new(&settings.value, setup),
            actor: DiffusionActor::new(&base.actor, particles, 1, setup),
            target: base.target.average(base.gamma, setup.pace),
            settings: settings.clone(),
            streams: Streams::new(setup.seed),
            updates: 0,
        }
    }

    /// One update. `draws` has `times` `[batch]` and unit normals `noise` `[batch, action_dim]` for the
    /// policy step.
    pub fn update_with(&mut self, batch: &Batch<B>, draws: &Draws<B>) -> Metrics<B> {
        let (critics, actor) = (&mut self.critics, &mut self.actor);
        let (observations, actions) = (batch.observations.clone(), batch.actions.clone());
        let mut metrics = Metrics::default();

        // Value: the expectile of the target critics at replay actions.
        let target = &critics.target;
        let q = target.score_actions(critics.combine, observations.clone(), actions.clone());
        let present = ValueLearner::values(&self.value.network, observations.clone());
        metrics.push_mean("advantage", q.clone() - present);
        let states = Tensor::from_inner(observations.clone());
        let expectile = self.settings.expectile;
        let loss = self.value.learn(|network| {
            let values = ValueLearner::values(network, states);
            expectile_loss(Tensor::from_inner(q) - values, expectile)
        });
        metrics.push("value_loss", loss);

        // Critics: TD target of the value that has just stepped.
        let next = ValueLearner::values(&self.value.network, batch.next_observations.clone());
        let rewards = critics.scaled_rewards(batch);
        let gamma = self.settings.base.gamma;
        let target = td_target(rewards, batch.terminated.clone(), next, gamma);
        critics.update_towards(
            batch,
            actions.clone(),
            &Target::Values(target),
            &mut metrics,
        );
        critics.follow(self.target, self.updates);

        // Policy: ordinary denoising score matching of replay actions.
        let [rows, dim] = actions.dims();
        let rows = rsm::DenoisingRows {
            times: draws.integers("times", rows, actor.schedule.num_steps()),
            noise: draws.normals("noise", [rows, dim]),
            weights: batch.rewards.ones_like(),
            observations,
            actions,
        };
        let loss =
            actor.learn(|policy, schedule| rsm::weighted_denoising_loss(policy, schedule, rows));
        metrics.push("policy_loss", loss);
        self.updates += 1;
        metrics
    }

    /// The action of training: of noisy candidates one in proportion to the weights of their advantages
    /// by the target critics. `draws` has `chain`, unit normals `candidates` `[states * candidates,
    /// action_dim]` and uniform numbers `choice` `[states, 1]`; `seen` takes what it is chosen by.
    pub fn act_with(
        &self,
        observations: Tensor<B, 2>,
        draws: &Draws<B>,
        seen: &mut Metrics<B>,
    ) -> Tensor<B, 2> {
        let candidates = self.actor.particles_to_act(observations.clone(), draws);
        let [states, count, dim] = candidates.dims();
        let noise = draws.normals("candidates", [states * count, dim]);
        let noise = unflatten_particles(noise, states).mul_scalar(self.settings.candidate_noise);
        let candidates = (candidates + noise).clamp(-1.0, 1.0);
        let judges = self.critics.target_judges();
        let scores = judges.score(observations.clone(), candidates.clone());
        let values = ValueLearner::values(&self.value.network, observations);
        seen.record("candidates", candidates.clone());
        seen.record("candidate_q", scores.clone());
        seen.record("value", values.clone());
        let advantages = scores - values.unsqueeze_dim(1);
        let weights = expectile_weights(advantages.clone(), self.settings.selection_expectile);
        seen.record("advantage", advantages);
        seen.record("probability", weights.clone() / weights.clone().sum_dim(1));
        let uniform = draws.uniforms("choice", [states, 1]);
        let index = choose_by_weight(weights, uniform);
        seen.record("best_index", index.clone().float());
        let index = index.reshape([states, 1, 1]);
        candidates
            .gather(1, index.expand([states, 1, dim]))
            .squeeze_dim(1)
    }
}

impl<B: RescoreBackend> Agent<B> for Idql<B> {
    parts!(critics, value, actor, updates);

    fn acting(&self) -> Option<Acting<'_, B>> {
        let judges = self.critics.target_judges();
        Some(Acting::Diffusion(self.actor.best_of(judges, self.streams)))
    }

    fn act(&self, observations: Tensor<B, 2>, counter: u32) -> Tensor<B, 2> {
        let draws = Draws::acting(self.streams, counter, &observations.device());
        self.act_with(observations, &draws, &mut Metrics::default())
    }

    fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        let judges = self.critics.target_judges();
        self.actor.best_of(judges, self.streams).act(observations)
    }

    fn update(&mut self, batch: &Batch<B>) -> Metrics<B> {
        let draws = Draws::updating(self.streams, self.updates, &batch.rewards.device());
        self.update_with(batch, &draws)
    }
}
