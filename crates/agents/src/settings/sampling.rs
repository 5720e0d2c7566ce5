//! How many actions are sampled, what for, and how they explore.

use rescore_objectives::particles::WeightRule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Pace, RangeCheck};

/// How the policy acts and bootstraps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ActingSettings {
    /// Candidate actions of which the critics choose one in training; 1 asks no critic. A choice
    /// costs little beside the updates and improves the data that everything is learned from.
    pub particles: usize,
    /// Candidate actions of which the critics choose one in evaluation.
    pub evaluation_particles: usize,
    /// Candidate next actions of which the critics choose one for targets.
    pub bootstrap_particles: usize,
    /// Standard deviation of the noise on actions in training, which are clipped to [-1, 1].
    pub noise: f64,
}

impl Default for ActingSettings {
    fn default() -> Self {
        Self {
            particles: 8,
            evaluation_particles: 10,
            bootstrap_particles: 1,
            noise: 0.1,
        }
    }
}

impl ActingSettings {
    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        check
            .samples("particles", self.particles)
            .samples("evaluation_particles", self.evaluation_particles)
            .samples("bootstrap_particles", self.bootstrap_particles)
            .non_negative("noise", self.noise)
    }
}

/// The particles that DPMD weights and regresses on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RegressionSettings {
    /// Actions sampled for each state of a policy step.
    pub particles: usize,
    /// Standard deviation of the noise on the particles before they are scored, which are clipped to
    /// [-1, 1]: without it the policy cannot leave its own samples.
    pub noise: f64,
    /// Standard deviation that the particles have in each action dimension at least: more noise is
    /// added where their own, over the particles of a state and mean over states, falls short. 0 adds
    /// `noise` alone.
    pub spread: f64,
    /// Every second particle moves up the critics' gradient by this times the root of the number of
    /// action dimensions before it is scored; 0 for none.
    pub ascent: f64,
    /// How scores become weights: "softmax" of score over temperature, "linear" (the projection of
    /// score over temperature onto the simplex) or "advantage" (the positive part of the advantage,
    /// which has no temperature).
    #[schemars(with = "String")]
    pub weights: WeightRule,
    /// Squared errors of the denoising loss are clipped at this before they are weighted; infinity
    /// does not clip.
    pub loss_clip: f64,
}

impl Default for RegressionSettings {
    fn default() -> Self {
        Self {
            particles: 8,
            noise: 0.2,
            spread: 0.0,
            ascent: 0.0,
            weights: WeightRule::Softmax,
            loss_clip: 3.0,
        }
    }
}

impl RegressionSettings {
    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        check
            .samples("particles", self.particles)
            .non_negative("noise", self.noise)
            .non_negative("spread", self.spread)
            .non_negative("ascent", self.ascent)
            .require(
                "loss_clip",
                self.loss_clip,
                self.loss_clip > 0.0,
                "a number greater than 0, or inf",
            )
    }
}

/// The policy that particles are sampled from; `kind` decides which other keys there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OldPolicySettings {
    /// The policy as it is.
    // With braces, so that keys of the other kind are refused.
    None {},
    /// A copy of it that is held for a while, as in policy mirror descent.
    Held {
        /// For how many environment steps; updates follow from `training.updates_per_step`.
        #[serde(default = "default_held")]
        environment_steps: f64,
    },
}

impl Default for OldPolicySettings {
    fn default() -> Self {
        Self::None {}
    }
}

const fn default_held() -> f64 {
    1000.0
}

impl OldPolicySettings {
    /// Updates from one copy to the next; none where no copy is held.
    pub fn refresh(&self, pace: Pace) -> Option<u64> {
        match *self {
            Self::None {} => None,
            Self::Held { environment_steps } => {
                Some((environment_steps * pace.updates_per_step).round() as u64)
            }
        }
    }

    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        let Self::Held { environment_steps } = *self else {
            return check;
        };
        let updates = self.refresh(check.pace()).unwrap_or_default();
        let expected = "so many that the copy is held for an update at least: environment_steps \
                        times training.updates_per_step; `kind = \"none\"` holds no copy";
        let valid = updates >= 1 && environment_steps.is_finite();
        check.require("environment_steps", environment_steps, valid, expected)
    }
}
