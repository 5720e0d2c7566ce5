//! iDEM as an online method (Akhound-Sadegh et al. 2024; flow-rl): the denoiser regresses on the score
//! of `exp(Q / lambda)` smoothed by the diffusion, estimated from clean actions behind a noisy one.
//!
//! At high noise few of the clean actions lie within the bounds, and they count `sqrt(1 / alpha_bar -
//! 1)` times: `target_noise_square` shows how far beyond 1 the targets are.

use rescore_kernels::{Combine, unflatten_particles};
use rescore_nn::{freeze, input_gradient};
use rescore_objectives::{
    particles::ParticleWeights,
    rsm,
    score::{self, EnergySamples},
};

use crate::{diagnostics, prelude::*, settings::EnergySettings};

/// Settings of iDEM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IdemSettings {
    /// The temperature of the energy.
    pub energy: EnergySettings,
    /// Clean actions behind each noisy one.
    pub reverse_samples: usize,
    /// Standard deviation of the noise on actions in training, which are clipped to [-1, 1].
    pub exploration: f64,
    /// Critics, policy and evaluation.
    #[serde(flatten)]
    pub base: BaselineSettings,
}

impl Default for IdemSettings {
    fn default() -> Self {
        Self {
            energy: EnergySettings::default(),
            reverse_samples: 64,
            exploration: 0.1,
            base: BaselineSettings::with_steps(20),
        }
    }
}

impl Settings for IdemSettings {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        let check = check
            .table("energy", |check| self.energy.check(check))
            .samples("reverse_samples", self.reverse_samples)
            .non_negative("exploration", self.exploration);
        self.base.check(check)
    }

    fn outline(&self) -> Outline {
        self.base.outline(self.reverse_samples, 1)
    }

    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        Box::new(Idem::new(self, setup))
    }
}

/// An iDEM agent.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the types say what the fields are")]
pub struct Idem<B: RescoreBackend> {
    pub critics: CriticLearner<B>,
    pub actor: DiffusionActor<B>,
    pub target: MovingAverage,
    settings: IdemSettings,
    streams: Streams,
    updates: u64,
}

impl<B: RescoreBackend> Idem<B> {
    /// A fresh agent.
    pub fn new(settings: &IdemSettings, setup: &Setup<'_, B>) -> Self {
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

    /// One update. `draws` has `next/chain` for the next actions; for the policy step `times` `[batch]`
    /// and unit normals `forward` `[batch, action_dim]` and `reverse` `[batch * reverse_samples,
    /// action_dim]`.
    pub fn update_with(&mut self, batch: &Batch<B>, draws: &Draws<B>) -> Metrics<B> {
        let (settings, critics, actor) = (&self.settings, &mut self.critics, &mut self.actor);
        let mut metrics = Metrics::default();

        // Critics: TD target at one sample of the policy as it is.
        let (policy, judges) = (&actor.policy, critics.judges());
        let next = actor.next_actions(policy, &judges, (batch, 1), draws);
        critics.update(batch, next, None, &mut metrics);
        critics.follow(self.target, self.updates);

        // Policy: clean actions behind the noised replay action, scored by the target critics.
        let ([rows, dim], count) = (batch.actions.dims(), settings.reverse_samples);
        let (schedule, observations) = (&actor.schedule, batch.observations.clone());
        let times = draws.integers("times", rows, schedule.num_steps());
        let forward = draws.normals("forward", [rows, dim]);
        let noisy = schedule.add_noise(batch.actions.clone(), times.clone(), forward);
        let reverse = unflatten_particles(draws.normals("reverse", [rows * count, dim]), rows);
        let samples = EnergySamples::new(schedule, noisy.clone(), times.clone(), reverse);
        let frozen = freeze(&critics.target);
        let states = observations.clone().unsqueeze_dim::<3>(1);
        let states = Tensor::from_inner(states.repeat_dim(1, count).flatten::<2>(0, 1));
        let (values, gradient) = input_gradient(samples.rows(), |actions| {
            frozen.combined(Combine::Min, states, actions)
        });

        // The gradient of log sum exp(Q / lambda) by the noisy action.
        let (lambda, scale) = match settings.energy {
            EnergySettings::Scaled {
                temperature,
                scale_floor,
            } => {
                let scale = score::gradient_scale(gradient.clone(), scale_floor);
                (scale.clone().mul_scalar(temperature), scale)
            }
            EnergySettings::Fixed { temperature } => {
                let scale = score::gradient_scale(gradient.clone(), 0.0);
                (scale.full_like(temperature), scale)
            }
        };
        let scores = values.reshape([rows, count]);
        metrics.record("reverse_q", scores.clone());
        metrics.push("gradient_scale", scale);
        metrics.push("temperature", lambda.clone());
        let weights = ParticleWeights::softmax(scores, lambda.clone());
        metrics.record("weights", weights.probabilities.clone());
        metrics.push_mean("weight_effective", weights.effective.clone());
        let inside = samples.inside.clone();
        metrics.push_detail("inside_share", move || inside.clone().mean());
        let noise = samples.noise(
            unflatten_particles(gradient, rows),
            weights.probabilities,
            schedule.signal_to_noise(times.clone()),
            lambda,
        );
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

impl<B: RescoreBackend> Agent<B> for Idem<B> {
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
