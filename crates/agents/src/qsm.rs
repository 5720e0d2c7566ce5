//! QSM: Q-score matching (Psenka et al. 2024). The denoiser regresses on the gradient of the critics
//! by the noisy action, which is the score of the distribution proportional to `exp(Q / lambda)` where
//! the noise is small.
//!
//! The target is free of the scale of rewards: the temperature is in units of the mean gradient
//! (flow-rl). QSM as published, the gradient times a constant, is `score.kind = "fixed"`.

use rescore_kernels::Combine;
use rescore_nn::{freeze, input_gradient};
use rescore_objectives::{rsm, score};

use crate::{diagnostics, prelude::*, settings::ScoreSettings};

/// Settings of QSM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QsmSettings {
    /// The target of the denoiser.
    pub score: ScoreSettings,
    /// Standard deviation of the noise on actions in training, which are clipped to [-1, 1].
    pub exploration: f64,
    /// Critics, policy and evaluation.
    #[serde(flatten)]
    pub base: BaselineSettings,
}

impl Default for QsmSettings {
    fn default() -> Self {
        Self {
            score: ScoreSettings::default(),
            exploration: 0.1,
            base: BaselineSettings::with_steps(20),
        }
    }
}

impl Settings for QsmSettings {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        let check = check
            .table("score", |check| self.score.check(check))
            .non_negative("exploration", self.exploration);
        self.base.check(check)
    }

    fn outline(&self) -> Outline {
        self.base.outline(1, 1)
    }

    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        Box::new(Qsm::new(self, setup))
    }
}

/// A QSM agent.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the types say what the fields are")]
pub struct Qsm<B: RescoreBackend> {
    pub critics: CriticLearner<B>,
    pub actor: DiffusionActor<B>,
    pub target: MovingAverage,
    settings: QsmSettings,
    streams: Streams,
    updates: u64,
}

impl<B: RescoreBackend> Qsm<B> {
    /// A fresh agent.
    pub fn new(settings: &QsmSettings, setup: &Setup<'_, B>) -> Self {
        let base = &settings.base;
        let particles = [1, base.evaluation_particles];
        Self {
            critics: CriticLearner::new(&base.critic, [base.gamma, base.reward_scale], setup),
            actor: DiffusionActor::new(&base.actor, particles, 1, setup),
            target: base.target.average(base.gamma, setup.pace),
            settings: settings.clone(),
            streams: Streams::new(setup.seed),
            updates: 0,
        }
    }

    /// One update. `draws` has `next/chain` for the next actions, `times` `[batch]` and unit normals
    /// `noise` `[batch, action_dim]` for the policy step.
    pub fn update_with(&mut self, batch: &Batch<B>, draws: &Draws<B>) -> Metrics<B> {
        let (critics, actor) = (&mut self.critics, &mut self.actor);
        let mut metrics = Metrics::default();

        // Critics: TD target at one sample of the policy as it is.
        let (policy, judges) = (&actor.policy, critics.judges());
        let next = actor.next_actions(policy, &judges, (batch, 1), draws);
        critics.update(batch, next, None, &mut metrics);
        critics.follow(self.target, self.updates);

        // Policy: the noise that the critics' gradient at the noised replay action asks for.
        let [rows, dim] = batch.actions.dims();
        let times = draws.integers("times", rows, actor.schedule.num_steps());
        let noise = draws.normals("noise", [rows, dim]);
        let noisy = (actor.schedule).add_noise(batch.actions.clone(), times.clone(), noise);
        let frozen = freeze(match self.settings.score {
            ScoreSettings::Scaled { .. } => &critics.target,
            ScoreSettings::Fixed { .. } => &critics.online,
        });
        let observations = batch.observations.clone();
        let states = Tensor::from_inner(observations.clone());
        let (_, gradient) = input_gradient(noisy.clone(), |noisy| {
            frozen.combined(Combine::Mean, states, noisy)
        });
        metrics.record("q_gradient", gradient.clone());
        let noise = match self.settings.score {
            ScoreSettings::Scaled {
                temperature,
                scale_floor,
            } => {
                let scale = score::gradient_scale(gradient.clone(), scale_floor);
                metrics.push("gradient_scale", scale.clone());
                let sigma = actor.schedule.noise_scale(times.clone());
                score::score_noise(gradient, sigma, scale.mul_scalar(temperature))
            }
            ScoreSettings::Fixed { scale } => {
                metrics.push(
                    "gradient_scale",
                    score::gradient_scale(gradient.clone(), 0.0),
                );
                gradient.mul_scalar(-scale)
            }
        };
        diagnostics::target_noise(&mut metrics, noise.clone());
        let rows = rsm::NoiseRows {
            observations,
            noisy,
            times,
            noise,
        };
        let loss =
            actor.learn(|policy, schedule| rsm::noise_regression_loss(policy, schedule, rows));
        metrics.push("policy_loss", loss);
        self.updates += 1;
        metrics
    }

    /// The action of training. `draws` has `chain` and the unit normals `exploration` `[states,
    /// action_dim]`.
    pub fn act_with(&self, observations: Tensor<B, 2>, draws: &Draws<B>) -> Tensor<B, 2> {
        let noise = self.settings.exploration;
        (self.actor).explore(&self.critics, observations, noise, draws)
    }
}

impl<B: RescoreBackend> Agent<B> for Qsm<B> {
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
