//! Settings that DPMD and SDAC share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ActingSettings, CriticSettings, DiffusionActorSettings, TargetSettings,
    WeightTemperatureSettings,
};
use crate::{Outline, PolicyKind, RangeCheck, Sizes};

/// A diffusion policy on modern critics: everything but how the policy learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RecipeSettings {
    /// Discount, in [0, 1].
    pub gamma: f64,
    /// Rewards, normalised or not, are multiplied by this before they are learned from.
    pub reward_scale: f64,
    /// Updates from one step of the policy to the next.
    pub policy_every: u64,
    /// States of a policy step, the first of the batch; all of it where it has fewer.
    pub states: usize,
    /// The critics.
    pub critic: CriticSettings,
    /// How the target critics follow.
    pub target: TargetSettings,
    /// The diffusion policy.
    pub actor: DiffusionActorSettings,
    /// How the policy acts and bootstraps.
    pub acting: ActingSettings,
    /// How peaked the weights of sampled actions are.
    pub temperature: WeightTemperatureSettings,
}

impl Default for RecipeSettings {
    fn default() -> Self {
        Self::small()
    }
}

impl RecipeSettings {
    /// For a quarter of an update an environment step, on a processor.
    pub fn small() -> Self {
        Self {
            gamma: 0.99,
            reward_scale: 1.0,
            policy_every: 1,
            states: 128,
            critic: CriticSettings::small(),
            target: TargetSettings::TimeConstant {
                environment_steps: 8000.0,
            },
            actor: DiffusionActorSettings::small(),
            acting: ActingSettings::default(),
            temperature: WeightTemperatureSettings::Solved { kl_share: 0.48 },
        }
    }

    /// For one update an environment step, on a GPU.
    pub fn full() -> Self {
        Self {
            policy_every: 2,
            critic: CriticSettings::full(),
            target: TargetSettings::TimeConstant {
                environment_steps: 10_000.0,
            },
            actor: DiffusionActorSettings::full(),
            ..Self::small()
        }
    }

    /// With weights whose divergence is `kl_share` of the largest there is.
    #[must_use]
    pub fn with_kl_share(mut self, kl_share: f64) -> Self {
        self.temperature = WeightTemperatureSettings::Solved { kl_share };
        self
    }

    /// Checks ranges, for weights of as many actions a state as the key `samples` says.
    #[must_use]
    pub fn check(&self, samples: (&str, usize), check: RangeCheck) -> RangeCheck {
        let (key, samples) = samples;
        let expected = "2 or more: the weight of one action is always 1, so that no temperature \
                        gives it the divergence of `temperature.kl_share`";
        let enough = samples > 1 || !self.temperature.has_target();
        check
            .require(key, samples, enough, expected)
            .fraction("gamma", self.gamma)
            .positive("reward_scale", self.reward_scale)
            .at_least_one("policy_every", self.policy_every)
            .samples("states", self.states)
            .table("critic", |check| self.critic.check(check))
            .table("target", |check| self.target.check(self.gamma, check))
            .table("actor", |check| self.actor.check(check))
            .table("acting", |check| self.acting.check(check))
            .table("temperature", |check| self.temperature.check(check))
    }

    /// What the training loop asks, with `samples` sampled actions for each state of a policy step.
    pub fn outline(&self, samples: usize) -> Outline {
        let sizes = Sizes {
            critics: self.critic.members,
            critic_widths: self.critic.network.widths(),
            policy: PolicyKind::Denoiser,
            policy_widths: self.actor.network.widths(),
            samples: samples.max(self.acting.bootstrap_particles),
            act_samples: self.acting.particles.max(self.acting.evaluation_particles),
            precision: self.actor.precision.into(),
            fused: self.actor.network.is_fused(),
        };
        Outline::new(self.gamma, sizes)
    }
}
