//! Critics and their targets.

use rescore_critics::{Head, Support};
use rescore_kernels::Combine;
use rescore_nn::AdamSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ActivationKind, InitializerKind, NetworkSettings, check_adam};
use crate::RangeCheck;

/// What a critic's outputs say; `kind` decides which other keys there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ValueSettings {
    /// The expected return.
    // With braces, so that keys of the other kind are refused.
    Scalar {},
    /// A distribution over returns (Bellemare et al. 2017, C51).
    Categorical {
        /// Returns that have a probability, 2 to 4096, at equal distances.
        #[serde(default = "default_atoms")]
        atoms: usize,
        /// The smallest of them, in units of scaled rewards.
        #[serde(default = "default_low")]
        low: f64,
        /// The largest.
        #[serde(default = "default_high")]
        high: f64,
    },
}

const fn default_atoms() -> usize {
    101
}

const fn default_low() -> f64 {
    -5.0
}

const fn default_high() -> f64 {
    5.0
}

impl ValueSettings {
    /// What the settings, which must be valid, ask for.
    ///
    /// # Panics
    /// When they are not valid.
    pub fn head(&self) -> Head {
        match self {
            Self::Scalar {} => Head::Scalar,
            Self::Categorical { atoms, low, high } => Head::Categorical(
                Support::new([*low, *high], *atoms).expect("settings that were checked"),
            ),
        }
    }

    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        let Self::Categorical { atoms, low, high } = self else {
            return check;
        };
        let ordered = Support::new([*low, *high], 2).is_ok();
        check
            .require("atoms", atoms, (2..=4096).contains(atoms), "in 2..=4096")
            .require(
                "low",
                low,
                ordered,
                &format!("a number below high, which is {high}"),
            )
    }
}

/// How the values of several critics become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CombineKind {
    /// The smallest.
    Min,
    /// The mean.
    Mean,
}

impl From<CombineKind> for Combine {
    fn from(kind: CombineKind) -> Self {
        match kind {
            CombineKind::Min => Self::Min,
            CombineKind::Mean => Self::Mean,
        }
    }
}

/// Critics and how they learn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CriticSettings {
    /// Networks side by side, 1 to 64.
    pub members: usize,
    /// How their values become one where a value is asked for: "min" or "mean".
    pub combine: CombineKind,
    /// Learning rate at the start, greater than 0. Fewer updates an environment step need a larger
    /// one: 1e-3 at a quarter of an update, 3e-4 at one or two.
    pub learning_rate: f64,
    /// Learning rate at the end of the run over that at its start, in (0, 1]; linear between.
    pub final_fraction: f64,
    /// The network of each critic.
    pub network: NetworkSettings,
    /// What its outputs say.
    pub value: ValueSettings,
    /// Everything else about Adam.
    pub optimizer: AdamSettings,
}

impl Default for CriticSettings {
    fn default() -> Self {
        Self {
            members: 2,
            combine: CombineKind::Min,
            learning_rate: 3e-4,
            final_fraction: 1.0,
            network: NetworkSettings::mlp(ActivationKind::Mish, InitializerKind::TruncatedNormal),
            value: ValueSettings::Scalar {},
            optimizer: AdamSettings::default(),
        }
    }
}

impl CriticSettings {
    /// Two residual critics of 101 atoms, small enough for a processor.
    pub fn small() -> Self {
        Self {
            learning_rate: 1e-3,
            final_fraction: 0.5,
            network: NetworkSettings::Residual {
                width: 128,
                blocks: 1,
            },
            value: ValueSettings::Categorical {
                atoms: 101,
                low: -5.0,
                high: 5.0,
            },
            optimizer: AdamSettings {
                weight_decay: 0.01,
                ..AdamSettings::default()
            },
            ..Self::default()
        }
    }

    /// As [`CriticSettings::small`] in the size of published results.
    pub fn full() -> Self {
        Self {
            learning_rate: 3e-4,
            network: NetworkSettings::Residual {
                width: 512,
                blocks: 2,
            },
            ..Self::small()
        }
    }

    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        let members = (1..=64).contains(&self.members);
        check
            .require("members", self.members, members, "in 1..=64")
            .positive("learning_rate", self.learning_rate)
            .rate("final_fraction", self.final_fraction)
            .table("network", |check| self.network.check_critic(check))
            .table("value", |check| self.value.check(check))
            .table("optimizer", |check| check_adam(&self.optimizer, check))
    }
}
