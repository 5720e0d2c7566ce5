//! Temperatures of policies that regress on the gradient of the critics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RangeCheck;

/// How QSM makes the noise that is predicted of a gradient of the critics; `kind` decides which other
/// keys there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScoreSettings {
    /// `-sigma gradient / (temperature G)` of the target critics, G the mean absolute gradient of the
    /// batch.
    Scaled {
        /// Temperature in units of G, greater than 0.
        #[serde(default = "default_score_temperature")]
        temperature: f64,
        /// Added to G, greater than 0.
        #[serde(default = "default_floor")]
        scale_floor: f64,
    },
    /// `-scale gradient` of the trained critics, as published.
    Fixed {
        /// The factor, greater than 0.
        #[serde(default = "default_scale")]
        scale: f64,
    },
}

const fn default_score_temperature() -> f64 {
    0.1
}

const fn default_floor() -> f64 {
    1e-6
}

const fn default_scale() -> f64 {
    50.0
}

impl Default for ScoreSettings {
    fn default() -> Self {
        Self::Scaled {
            temperature: default_score_temperature(),
            scale_floor: default_floor(),
        }
    }
}

impl ScoreSettings {
    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        match *self {
            Self::Scaled {
                temperature,
                scale_floor,
            } => check
                .positive("temperature", temperature)
                .positive("scale_floor", scale_floor),
            Self::Fixed { scale } => check.positive("scale", scale),
        }
    }
}

/// The temperature of iDEM's energy; `kind` decides which other keys there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum EnergySettings {
    /// `temperature G`, G the mean absolute gradient of the batch.
    Scaled {
        /// Temperature in units of G, greater than 0.
        #[serde(default = "default_energy_temperature")]
        temperature: f64,
        /// Added to G, greater than 0.
        #[serde(default = "default_floor")]
        scale_floor: f64,
    },
    /// A constant, as in the reference implementation of DPMD.
    Fixed {
        /// The temperature, greater than 0.
        #[serde(default = "default_fixed_temperature")]
        temperature: f64,
    },
}

const fn default_energy_temperature() -> f64 {
    0.05
}

const fn default_fixed_temperature() -> f64 {
    1.0
}

impl Default for EnergySettings {
    fn default() -> Self {
        Self::Scaled {
            temperature: default_energy_temperature(),
            scale_floor: default_floor(),
        }
    }
}

impl EnergySettings {
    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        match *self {
            Self::Scaled {
                temperature,
                scale_floor,
            } => check
                .positive("temperature", temperature)
                .positive("scale_floor", scale_floor),
            Self::Fixed { temperature } => check.positive("temperature", temperature),
        }
    }
}
