//! Temperatures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RangeCheck;

/// The temperature and what moves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TemperatureSettings {
    /// Value at the start, greater than 0.
    pub initial: f64,
    /// Learning rate of its logarithm; 0 keeps it as it is.
    pub learning_rate: f64,
    /// The target entropy is this times `-action_dim`.
    pub target_entropy_scale: f64,
}

impl Default for TemperatureSettings {
    fn default() -> Self {
        Self {
            initial: 1.0,
            learning_rate: 3e-4,
            target_entropy_scale: 1.0,
        }
    }
}

impl TemperatureSettings {
    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        let scale = self.target_entropy_scale;
        check
            .positive("initial", self.initial)
            .non_negative("learning_rate", self.learning_rate)
            .require(
                "target_entropy_scale",
                scale,
                scale.is_finite(),
                "a finite number",
            )
    }
}

/// How peaked the weights of particles are; `kind` decides which other keys there are.
///
/// The divergence of the weights from equal ones lies between 0 and the logarithm of the number of
/// samples. Its target is a share of that, so that it stays valid for another number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum WeightTemperatureSettings {
    /// A temperature that stays as it is.
    Fixed {
        /// The temperature, greater than 0, in units of Q.
        #[serde(default = "default_temperature")]
        value: f64,
    },
    /// A temperature that Adam steps towards a divergence.
    Stepped {
        /// Value at the start, greater than 0.
        #[serde(default = "default_temperature")]
        initial: f64,
        /// Learning rate of its logarithm, greater than 0.
        #[serde(default = "default_learning_rate")]
        learning_rate: f64,
        /// Target of the divergence over the logarithm of the number of samples, in (0, 1).
        #[serde(default = "default_kl_share")]
        kl_share: f64,
    },
    /// In every policy step the temperature at which the divergence is the target.
    Solved {
        /// Target of the divergence over the logarithm of the number of samples, in (0, 1).
        #[serde(default = "default_kl_share")]
        kl_share: f64,
    },
}

const fn default_temperature() -> f64 {
    0.1
}

const fn default_learning_rate() -> f64 {
    1e-3
}

const fn default_kl_share() -> f64 {
    0.48
}

impl WeightTemperatureSettings {
    /// Whether the divergence of the weights has a target, which those of one sample cannot reach.
    pub const fn has_target(&self) -> bool {
        !matches!(self, Self::Fixed { .. })
    }

    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        let share = |check: RangeCheck, share: f64| {
            check.require("kl_share", share, share > 0.0 && share < 1.0, "in (0, 1)")
        };
        match *self {
            Self::Fixed { value } => check.positive("value", value),
            Self::Stepped {
                initial,
                learning_rate,
                kl_share,
            } => share(
                check
                    .positive("initial", initial)
                    .positive("learning_rate", learning_rate),
                kl_share,
            ),
            Self::Solved { kl_share } => share(check, kl_share),
        }
    }
}
