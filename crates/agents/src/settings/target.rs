//! How target networks follow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Pace, RangeCheck};

/// How target networks follow; `kind` decides which other keys there are.
///
/// A value whose bootstrap comes from a target that moves by `tau` in every update approaches its
/// fixed point as `exp(-updates tau (1 - gamma))` at best: in environment steps its time constant is
/// `1 / (tau (1 - gamma) updates_per_step)`. A `tau` of 0.005 means 20,000 environment steps at one
/// update a step, 80,000 at a quarter of an update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TargetSettings {
    /// A moving average of a given rate, whatever the update-to-data ratio is.
    Rate {
        /// Rate of the moving average, in (0, 1]. At a fixed rate fewer updates an environment step
        /// make values arrive later: their time constant is `1 / (tau (1 - gamma)
        /// updates_per_step)` environment steps.
        #[serde(default = "default_tau")]
        tau: f64,
        /// Updates from one step of the moving average to the next.
        #[serde(default = "default_every")]
        every: u64,
    },
    /// A moving average in every update, of the rate that gives values a time constant.
    TimeConstant {
        /// Environment steps in which values come to within 1/e of their fixed point, from which
        /// `tau = 1 / (environment_steps (1 - gamma) updates_per_step)` follows. 8,000 means 0.05 at
        /// a quarter of an update a step, 0.0125 at one.
        #[serde(default = "default_environment_steps")]
        environment_steps: f64,
    },
}

const fn default_tau() -> f64 {
    0.005
}

const fn default_environment_steps() -> f64 {
    8000.0
}

const fn default_every() -> u64 {
    1
}

/// A moving average as the agent steps it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MovingAverage {
    /// Rate, in (0, 1].
    pub tau: f64,
    /// Updates from one step to the next.
    pub every: u64,
}

impl Default for TargetSettings {
    fn default() -> Self {
        Self::Rate {
            tau: 0.005,
            every: 1,
        }
    }
}

impl TargetSettings {
    /// The moving average at the discount `gamma` and the update-to-data ratio of `pace`.
    pub fn average(&self, gamma: f64, pace: Pace) -> MovingAverage {
        match *self {
            Self::Rate { tau, every } => MovingAverage { tau, every },
            Self::TimeConstant { environment_steps } => MovingAverage {
                tau: 1.0 / (environment_steps * (1.0 - gamma) * pace.updates_per_step),
                every: 1,
            },
        }
    }

    /// As [`TargetSettings::average`] for an algorithm that moves its targets in every `every`-th update:
    /// a time constant means a rate that is so many times as large.
    pub fn sparse(&self, every: u64, gamma: f64, pace: Pace) -> MovingAverage {
        let average = self.average(gamma, pace);
        match self {
            Self::Rate { .. } => MovingAverage { every, ..average },
            Self::TimeConstant { .. } => MovingAverage {
                tau: average.tau * every as f64,
                every,
            },
        }
    }

    /// Checks ranges, that of the rate that follows included.
    #[must_use]
    pub fn check(&self, gamma: f64, check: RangeCheck) -> RangeCheck {
        self.check_sparse(1, gamma, check)
    }

    /// As [`TargetSettings::check`] for [`TargetSettings::sparse`].
    #[must_use]
    pub fn check_sparse(&self, sparse: u64, gamma: f64, check: RangeCheck) -> RangeCheck {
        match *self {
            Self::Rate { tau, every } => {
                let expected = "1: targets follow whenever the policy steps, see policy_delay";
                let given = sparse == 1 || every == 1;
                let check = check.rate("tau", tau).at_least_one("every", every);
                check.require("every", every, given, expected)
            }
            Self::TimeConstant { environment_steps } => {
                let pace = check.pace();
                let tau = self.sparse(sparse, gamma, pace).tau;
                let expected = format!(
                    "larger: tau = {sparse} / (environment_steps (1 - gamma) updates_per_step) is {tau} \
                     at gamma {gamma} and {} updates a step, and must be in (0, 1]",
                    pace.updates_per_step
                );
                let valid = tau > 0.0 && tau <= 1.0;
                check
                    .positive("environment_steps", environment_steps)
                    .require("environment_steps", environment_steps, valid, &expected)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arithmetic of the documentation.
    #[test]
    fn a_time_constant_gives_the_same_values_at_every_ratio() {
        for (updates_per_step, tau) in [(0.25, 0.05), (1.0, 0.0125), (2.0, 0.00625)] {
            let pace = Pace {
                updates_per_step,
                ..Pace::default()
            };
            let target = TargetSettings::TimeConstant {
                environment_steps: 8000.0,
            };
            let average = target.average(0.99, pace);
            assert!((average.tau - tau).abs() < 1e-12, "{average:?}");
            assert_eq!(average.every, 1);
        }
    }

    #[test]
    fn a_rate_above_one_is_refused_with_the_arithmetic() {
        for (environment_steps, gamma) in [(100.0, 0.99), (8000.0, 1.0), (-1.0, 0.99)] {
            let target = TargetSettings::TimeConstant { environment_steps };
            let pace = Pace {
                updates_per_step: 0.25,
                ..Pace::default()
            };
            let error = target.check(gamma, RangeCheck::at(pace)).finish();
            let error = error.expect_err("tau is above 1 or negative");
            assert_eq!(error.key, "environment_steps");
        }
    }
}
