//! How settings are checked.

use thiserror::Error;

/// A setting out of its range.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("`{key}` is {value}, but must be {expected}")]
pub struct RangeError {
    /// Path of the key below the table that was checked, for example `critic.learning_rate`.
    pub key: String,
    /// The value found.
    pub value: String,
    /// What would be right, for example "in (0, 1]".
    pub expected: String,
}

/// What the training loop does around an agent, as far as settings depend on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Updates an environment step.
    pub updates_per_step: f64,
    /// Transitions an update.
    pub batch_size: usize,
}

impl Default for Pace {
    /// One update of 256 transitions a step.
    fn default() -> Self {
        Self {
            updates_per_step: 1.0,
            batch_size: 256,
        }
    }
}

/// Checks ranges one after the other; the first violation is kept.
#[derive(Debug, Default)]
pub struct RangeCheck {
    path: String,
    pace: Pace,
    error: Option<RangeError>,
}

impl RangeCheck {
    /// For a training loop of this pace.
    pub fn at(pace: Pace) -> Self {
        Self {
            pace,
            ..Self::default()
        }
    }

    /// What the training loop does.
    pub const fn pace(&self) -> Pace {
        self.pace
    }

    /// Checks the keys of the table `name`.
    #[must_use]
    pub fn table(mut self, name: &str, check: impl FnOnce(Self) -> Self) -> Self {
        let outer = self.path.len();
        self.path.push_str(name);
        self.path.push('.');
        let mut checked = check(self);
        checked.path.truncate(outer);
        checked
    }

    /// Requires `valid` of `value`. NaN must not satisfy `valid`, which comparisons guarantee.
    #[must_use]
    pub fn require(
        mut self,
        key: &str,
        value: impl std::fmt::Display,
        valid: bool,
        expected: &str,
    ) -> Self {
        if !valid && self.error.is_none() {
            self.error = Some(RangeError {
                key: format!("{}{key}", self.path),
                value: value.to_string(),
                expected: expected.to_owned(),
            });
        }
        self
    }

    /// Requires a finite value > 0.
    #[must_use]
    pub fn positive(self, key: &str, value: f64) -> Self {
        let valid = value > 0.0 && value.is_finite();
        self.require(key, value, valid, "a finite number greater than 0")
    }

    /// Requires a finite value >= 0.
    #[must_use]
    pub fn non_negative(self, key: &str, value: f64) -> Self {
        let valid = value >= 0.0 && value.is_finite();
        self.require(key, value, valid, "a finite number of at least 0")
    }

    /// Requires a value in [0, 1].
    #[must_use]
    pub fn fraction(self, key: &str, value: f64) -> Self {
        self.require(key, value, (0.0..=1.0).contains(&value), "in [0, 1]")
    }

    /// Requires a value in (0, 1].
    #[must_use]
    pub fn rate(self, key: &str, value: f64) -> Self {
        self.require(key, value, value > 0.0 && value <= 1.0, "in (0, 1]")
    }

    /// Requires a count >= 1.
    #[must_use]
    pub fn at_least_one(self, key: &str, value: u64) -> Self {
        self.require(key, value, value >= 1, "a whole number of at least 1")
    }

    /// Requires a number of samples, 1 to 65,536.
    #[must_use]
    pub fn samples(self, key: &str, value: usize) -> Self {
        let valid = (1..=65_536).contains(&value);
        self.require(key, value, valid, "in 1..=65536")
    }

    /// The first violation, if any.
    ///
    /// # Errors
    /// When a requirement was not met.
    pub fn finish(self) -> Result<(), RangeError> {
        self.error.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_violation_is_named_by_its_path() {
        let check = RangeCheck::default()
            .rate("tau", 1.0)
            .table("critic", |check| {
                check
                    .table("network", |check| check.samples("width", 3))
                    .positive("learning_rate", f64::NAN)
            })
            .fraction("gamma", 2.0);
        let error = check.finish().expect_err("NaN is in no range");
        assert_eq!(error.key, "critic.learning_rate");
        assert_eq!(error.value, "NaN");
        assert!(RangeCheck::default().samples("n", 0).finish().is_err());
    }
}
