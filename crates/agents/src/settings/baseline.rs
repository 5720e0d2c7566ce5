//! Settings that the diffusion baselines share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CriticSettings, DiffusionActorSettings, TargetSettings};
use crate::{Outline, PolicyKind, RangeCheck, Sizes};

/// A diffusion policy of the discrete process on plain critics: everything but how the policy learns
/// and acts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BaselineSettings {
    /// Discount, in [0, 1].
    pub gamma: f64,
    /// Rewards are multiplied by this before they are learned from.
    pub reward_scale: f64,
    /// Candidate actions of which the critics choose one in evaluation.
    pub evaluation_particles: usize,
    /// The critics.
    pub critic: CriticSettings,
    /// How the targets follow.
    pub target: TargetSettings,
    /// The diffusion policy.
    pub actor: DiffusionActorSettings,
}

impl Default for BaselineSettings {
    fn default() -> Self {
        Self::with_steps(20)
    }
}

impl BaselineSettings {
    /// With a chain of `denoising_steps`.
    pub fn with_steps(denoising_steps: usize) -> Self {
        Self {
            gamma: 0.99,
            reward_scale: 0.2,
            evaluation_particles: 10,
            critic: CriticSettings::default(),
            target: TargetSettings::default(),
            actor: DiffusionActorSettings::plain(denoising_steps),
        }
    }

    /// With the gradients of critics and policy scaled down to a norm of `limit`.
    #[must_use]
    pub fn clipped(mut self, limit: f64) -> Self {
        self.critic.optimizer.clip_norm = limit;
        self.actor.optimizer.clip_norm = limit;
        self
    }

    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        check
            .fraction("gamma", self.gamma)
            .positive("reward_scale", self.reward_scale)
            .samples("evaluation_particles", self.evaluation_particles)
            .table("critic", |check| self.critic.check(check))
            .table("target", |check| self.target.check(self.gamma, check))
            .table("actor", |check| self.actor.check(check))
    }

    /// What the training loop asks, with `samples` actions sampled for each row of a batch and `acting`
    /// candidates in training.
    pub fn outline(&self, samples: usize, acting: usize) -> Outline {
        let sizes = Sizes {
            critics: self.critic.members,
            critic_widths: self.critic.network.widths(),
            policy: PolicyKind::Denoiser,
            policy_widths: self.actor.network.widths(),
            samples,
            act_samples: acting.max(self.evaluation_particles),
            precision: self.actor.precision.into(),
            fused: self.actor.network.is_fused(),
        };
        Outline::new(self.gamma, sizes)
    }
}
