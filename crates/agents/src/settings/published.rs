//! Settings that DPMD and SDAC share as they were published.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CriticSettings, DiffusionActorSettings, TargetSettings, TemperatureSettings};
use crate::{Outline, PolicyKind, RangeCheck, Sizes};

/// Noise that is added to the actions of a diffusion policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExplorationSettings {
    /// Standard deviation of the noise over the temperature. It is added to the particle that was
    /// chosen, and the sum is not clipped.
    pub noise_scale: f64,
    /// Noise scale in the entropy that regulates the temperature. The reference implementation has
    /// 0.1 written into it, whatever `noise_scale` is.
    pub entropy_noise_scale: f64,
}

impl Default for ExplorationSettings {
    fn default() -> Self {
        Self {
            noise_scale: 0.1,
            entropy_noise_scale: 0.1,
        }
    }
}

impl ExplorationSettings {
    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        check
            .non_negative("noise_scale", self.noise_scale)
            .positive("entropy_noise_scale", self.entropy_noise_scale)
    }
}

/// Settings that DPMD and SDAC share, with the values of the reference implementation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DiffusionSettings {
    /// Discount, in [0, 1].
    pub gamma: f64,
    /// Rewards are multiplied by this before they are learned from.
    pub reward_scale: f64,
    /// Candidate actions an observation.
    pub particles: usize,
    /// Updates from one step of the policy to the next.
    pub policy_delay: u64,
    /// The critics.
    pub critic: CriticSettings,
    /// The diffusion policy.
    pub actor: DiffusionActorSettings,
    /// How the target critics, and the moving average of the policy, which acts, follow.
    pub target: TargetSettings,
    /// The temperature (lambda): scale of the exploration noise and of the weights.
    pub temperature: TemperatureSettings,
    /// Updates from one step of the temperature to the next.
    pub temperature_every: u64,
    /// Exploration noise, which the actions that updates sample carry as well.
    pub exploration: ExplorationSettings,
}

impl Default for DiffusionSettings {
    fn default() -> Self {
        Self {
            gamma: 0.99,
            reward_scale: 0.2,
            particles: 32,
            policy_delay: 2,
            critic: CriticSettings::default(),
            actor: DiffusionActorSettings::default(),
            target: TargetSettings::Rate {
                tau: 0.005,
                every: 2,
            },
            temperature: TemperatureSettings {
                initial: 5.0,
                learning_rate: 7e-3,
                target_entropy_scale: 0.9,
            },
            temperature_every: 250,
            exploration: ExplorationSettings::default(),
        }
    }
}

impl DiffusionSettings {
    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        check
            .fraction("gamma", self.gamma)
            .positive("reward_scale", self.reward_scale)
            .samples("particles", self.particles)
            .at_least_one("policy_delay", self.policy_delay)
            .table("critic", |check| self.critic.check(check))
            .table("actor", |check| self.actor.check(check))
            .table("target", |check| self.target.check(self.gamma, check))
            .table("temperature", |check| self.temperature.check(check))
            .at_least_one("temperature_every", self.temperature_every)
            .table("exploration", |check| self.exploration.check(check))
    }

    /// What the training loop asks, with `samples` sampled actions a row of a batch.
    pub fn outline(&self, samples: usize) -> Outline {
        let sizes = Sizes {
            critics: self.critic.members,
            critic_widths: self.critic.network.widths(),
            policy: PolicyKind::Denoiser,
            policy_widths: self.actor.network.widths(),
            samples,
            act_samples: self.particles,
            precision: self.actor.precision.into(),
            fused: self.actor.network.is_fused(),
        };
        Outline::new(self.gamma, sizes)
    }
}
