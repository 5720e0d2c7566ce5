//! Hyper-parameters that several algorithms share, and how they are checked.

use rescore_diffusion::ScheduleKind;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A hyper-parameter out of its range.
#[derive(Debug, Error, Clone, PartialEq)]
#[error("`{key}` is {value}, but must be {expected}")]
pub struct RangeError {
    /// Name of the key, as in the configuration file.
    pub key: &'static str,
    /// The value found.
    pub value: String,
    /// What would be right, for example "in (0, 1]".
    pub expected: &'static str,
}

/// Checks ranges one after the other; the first violation is kept.
#[derive(Debug, Default)]
pub struct RangeCheck {
    error: Option<RangeError>,
}

impl RangeCheck {
    /// Requires `valid` of `value`. NaN must not satisfy `valid`, which comparisons guarantee.
    #[must_use]
    pub fn require(
        mut self,
        key: &'static str,
        value: impl std::fmt::Display,
        valid: bool,
        expected: &'static str,
    ) -> Self {
        if !valid && self.error.is_none() {
            self.error = Some(RangeError {
                key,
                value: value.to_string(),
                expected,
            });
        }
        self
    }

    /// Requires a finite value > 0.
    #[must_use]
    pub fn positive(self, key: &'static str, value: f64) -> Self {
        self.require(
            key,
            value,
            value > 0.0 && value.is_finite(),
            "a finite number greater than 0",
        )
    }

    /// Requires a finite value >= 0.
    #[must_use]
    pub fn non_negative(self, key: &'static str, value: f64) -> Self {
        self.require(
            key,
            value,
            value >= 0.0 && value.is_finite(),
            "a finite number of at least 0",
        )
    }

    /// Requires a count >= 1.
    #[must_use]
    pub fn at_least_one(self, key: &'static str, value: u64) -> Self {
        self.require(key, value, value >= 1, "a whole number of at least 1")
    }

    /// The first violation, if any.
    ///
    /// # Errors
    /// When a requirement was not met.
    pub fn finish(self) -> Result<(), RangeError> {
        self.error.map_or(Ok(()), Err)
    }
}
