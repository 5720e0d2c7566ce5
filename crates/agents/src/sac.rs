//! SAC: soft actor-critic (Haarnoja et al. 2018), the Gaussian baseline.
//!
//! Its presets `small` and `full` have the critics, normalisers and time constants of those of DPMD,
//! so that the two differ in the actor alone; `textbook` is SAC as published; `reference` is the
//! variant that the reference implementation of DPMD compares itself to (no tanh Jacobian, initial
//! temperature e, scaled rewards).

use burn::backend::Autodiff;
use rescore_kernels::{Precision, formula::Formula};
use rescore_nn::freeze;
use rescore_objectives::entropy;
use rescore_objectives::gaussian::{LogStd, SquashedSample};

use crate::prelude::*;

/// Settings of SAC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SacSettings {
    /// Discount, in [0, 1].
    pub gamma: f64,
    /// Rewards are multiplied by this before they are learned from. Set by the preset.
    pub reward_scale: f64,
    /// Whether log-probabilities contain the Jacobian of tanh. Set by the preset.
    pub tanh_correction: bool,
    /// Lower bound of the log standard deviation, in [-20, 20]. Set by the preset.
    pub log_std_min: f64,
    /// Upper bound of the log standard deviation, above the lower one. Set by the preset.
    pub log_std_max: f64,
    /// Whether it approaches its bounds by a tanh instead of being clipped. Set by the preset.
    pub squash_log_std: bool,
    /// The critics.
    pub critic: CriticSettings,
    /// The Gaussian policy.
    pub actor: ActorSettings,
    /// How the target critics follow.
    pub target: TargetSettings,
    /// The temperature (alpha).
    pub temperature: TemperatureSettings,
}

impl Default for SacSettings {
    /// SAC as published.
    fn default() -> Self {
        Self::with(InitializerKind::LecunNormal)
    }
}

impl SacSettings {
    fn with(initializer: InitializerKind) -> Self {
        let network = NetworkSettings::mlp(ActivationKind::Gelu, initializer);
        Self {
            gamma: 0.99,
            reward_scale: 1.0,
            tanh_correction: true,
            log_std_min: -20.0,
            log_std_max: 2.0,
            squash_log_std: false,
            critic: CriticSettings {
                network: network.clone(),
                ..CriticSettings::default()
            },
            actor: ActorSettings {
                network,
                ..ActorSettings::default()
            },
            target: TargetSettings::default(),
            temperature: TemperatureSettings::default(),
        }
    }

    /// For a quarter of an update an environment step, on a processor.
    pub fn small() -> Self {
        Self {
            log_std_min: -10.0,
            squash_log_std: true,
            critic: CriticSettings::small(),
            actor: ActorSettings::small(),
            target: TargetSettings::TimeConstant {
                environment_steps: 8000.0,
            },
            temperature: TemperatureSettings {
                initial: 0.01,
                learning_rate: 1e-3,
                target_entropy_scale: 0.5,
            },
            ..Self::default()
        }
    }

    /// For one update an environment step, on a GPU.
    pub fn full() -> Self {
        Self {
            critic: CriticSettings::full(),
            actor: ActorSettings::full(),
            target: TargetSettings::TimeConstant {
                environment_steps: 10_000.0,
            },
            temperature: TemperatureSettings {
                learning_rate: 3e-4,
                ..Self::small().temperature
            },
            ..Self::small()
        }
    }

    /// SAC as the reference implementation of DPMD has it.
    pub fn reference() -> Self {
        Self {
            reward_scale: 0.2,
            tanh_correction: false,
            log_std_max: 0.5,
            temperature: TemperatureSettings {
                initial: std::f64::consts::E,
                ..TemperatureSettings::default()
            },
            ..Self::with(InitializerKind::TruncatedNormal)
        }
    }
}

impl Settings for SacSettings {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        let [low, high] = [self.log_std_min, self.log_std_max];
        let in_range = |bound: f64| (-20.0..=20.0).contains(&bound);
        check
            .fraction("gamma", self.gamma)
            .positive("reward_scale", self.reward_scale)
            .require("log_std_min", low, in_range(low), "in [-20, 20]")
            .require("log_std_max", high, in_range(high), "in [-20, 20]")
            .require("log_std_max", high, low < high, "above log_std_min")
            .table("critic", |check| self.critic.check(check))
            .table("actor", |check| self.actor.check(check))
            .table("target", |check| self.target.check(self.gamma, check))
            .table("temperature", |check| self.temperature.check(check))
    }

    fn outline(&self) -> Outline {
        let sizes = Sizes {
            critics: self.critic.members,
            critic_widths: self.critic.network.widths(),
            policy: PolicyKind::Gaussian,
            policy_widths: self.actor.network.widths(),
            samples: 1,
            act_samples: 1,
            precision: Precision::F32,
            fused: true,
        };
        Outline::new(self.gamma, sizes)
    }

    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        Box::new(Sac::new(self, setup))
    }
}

/// A SAC agent.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the types say what the fields are")]
pub struct Sac<B: RescoreBackend> {
    pub critics: CriticLearner<B>,
    pub actor: GaussianActor<B>,
    pub temperature: Temperature<B>,
    pub target: MovingAverage,
    settings: SacSettings,
    streams: Streams,
    updates: u64,
}

impl<B: RescoreBackend> Sac<B> {
    /// A fresh agent.
    pub fn new(settings: &SacSettings, setup: &Setup<'_, B>) -> Self {
        let bounds = [settings.log_std_min, settings.log_std_max];
        let log_std = if settings.squash_log_std {
            LogStd::Squashed(bounds)
        } else {
            LogStd::Clipped(bounds)
        };
        let correction = settings.tanh_correction;
        let td = [settings.gamma, settings.reward_scale];
        Self {
            critics: CriticLearner::new(&settings.critic, td, setup),
            actor: GaussianActor::new(&settings.actor, log_std, correction, setup),
            temperature: Temperature::new(&settings.temperature, setup.device),
            target: settings.target.average(settings.gamma, setup.pace),
            settings: settings.clone(),
            streams: Streams::new(setup.seed),
            updates: 0,
        }
    }

    /// One update. `draws` has unit normals `[batch, action_dim]`: `next` for the next actions,
    /// `present` for the actions at the present observations.
    pub fn update_with(&mut self, batch: &Batch<B>, draws: &Draws<B>) -> Metrics<B> {
        let (critics, actor) = (&mut self.critics, &mut self.actor);
        let shape = [batch.size(), actor.action_dim()];
        let temperature = self.temperature.value();
        let mut metrics = Metrics::default();

        // Critics: mean squared TD error of the soft value.
        let next_states = batch.next_observations.clone();
        let next = actor.sample(
            &actor.policy,
            next_states.clone(),
            draws.normals("next", shape),
        );
        let penalty = temperature.clone() * next.log_probabilities.clone();
        metrics.record("next_log_probabilities", next.log_probabilities);
        critics.update(batch, next.actions, Some(penalty), &mut metrics);

        // Policy: alpha log pi - min Q with the critics that have just stepped.
        let noise = Tensor::from_inner(draws.normals("present", shape));
        let states = Tensor::from_inner(batch.observations.clone());
        let alpha = Tensor::from_inner(temperature.clone());
        let (loss, log_probabilities) = actor.learn(|actor, policy| {
            let sample = actor.sample(policy, states.clone(), noise);
            policy_loss(critics, states, sample, alpha)
        });
        metrics.push("policy_loss", loss);
        metrics.push_mean("entropy", log_probabilities.clone().neg());
        metrics.push("temperature", temperature);

        // Temperature: towards the target entropy.
        let target = -self.settings.temperature.target_entropy_scale * shape[1] as f64;
        let gradient = entropy::temperature_gradient(log_probabilities.mean().neg(), target);
        self.temperature.step(&gradient);
        metrics.record("temperature_gradient", gradient);

        critics.follow(self.target, self.updates);
        self.updates += 1;
        metrics
    }
}

/// `mean(alpha log pi - min Q)` at the actions of `sample`, `[1]`, with constant critics and
/// temperature `alpha` `[1]`; and the log-probabilities, `[batch]`.
pub fn policy_loss<B: RescoreBackend>(
    critics: &CriticLearner<B>,
    observations: Tensor<Autodiff<B>, 2>,
    sample: SquashedSample<Autodiff<B>>,
    alpha: Tensor<Autodiff<B>, 1>,
) -> (Tensor<Autodiff<B>, 1>, Tensor<B, 1>) {
    let frozen = freeze(&critics.online);
    let q = frozen.combined(critics.combine, observations, sample.actions);
    let log_probabilities = Formula::column(sample.log_probabilities.clone());
    let loss = (log_probabilities * Formula::row(alpha) - Formula::column(q)).mean();
    (loss, sample.log_probabilities.inner())
}

impl<B: RescoreBackend> Agent<B> for Sac<B> {
    parts!(critics, actor, temperature, updates => gaussian(actor, critics, streams));

    fn act(&self, observations: Tensor<B, 2>, counter: u32) -> Tensor<B, 2> {
        let draws = Draws::acting(self.streams, counter, &observations.device());
        let shape = [observations.dims()[0], self.actor.action_dim()];
        let noise = draws.normals("exploration", shape);
        let sample = self.actor.sample(&self.actor.policy, observations, noise);
        sample.actions
    }

    fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        self.actor.mode(observations)
    }

    fn update(&mut self, batch: &Batch<B>) -> Metrics<B> {
        let draws = Draws::updating(self.streams, self.updates, &batch.rewards.device());
        self.update_with(batch, &draws)
    }
}
