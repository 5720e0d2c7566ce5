//! Spaces of observations and actions.

use crate::EnvError;

/// A box in `R^dim`, bounds included: what an observation or an action may be.
///
/// Bounds may be infinite. For actions, bounds say what is meaningful, not what is enforced:
/// as in Gymnasium, `step` takes values outside of them and the task decides what they do.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    low: Vec<f64>,
    high: Vec<f64>,
}

impl Space {
    /// A box with its own bounds in each dimension.
    ///
    /// # Errors
    /// [`EnvError::InvalidArgument`] if the lengths differ, there is no dimension, or in some
    /// dimension `low <= high` does not hold.
    pub fn new(low: Vec<f64>, high: Vec<f64>) -> Result<Self, EnvError> {
        if low.len() != high.len() || low.is_empty() {
            return Err(EnvError::InvalidArgument(format!(
                "a space needs as many lower as upper bounds and at least one, got {} and {}",
                low.len(),
                high.len()
            )));
        }
        for (i, (l, h)) in low.iter().zip(&high).enumerate() {
            // NaN compares false and is refused too.
            if !matches!(
                l.partial_cmp(h),
                Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal)
            ) {
                return Err(EnvError::InvalidArgument(format!(
                    "a space needs low <= high, but dimension {i} has low {l} and high {h}"
                )));
            }
        }
        Ok(Self { low, high })
    }

    /// The same bounds in all of `dim` dimensions.
    ///
    /// # Errors
    /// As [`Space::new`].
    pub fn uniform(dim: usize, low: f64, high: f64) -> Result<Self, EnvError> {
        Self::new(vec![low; dim], vec![high; dim])
    }

    /// Number of dimensions.
    pub fn dim(&self) -> usize {
        self.low.len()
    }

    /// Lower bounds, `[dim]`.
    pub fn low(&self) -> &[f64] {
        &self.low
    }

    /// Upper bounds, `[dim]`.
    pub fn high(&self) -> &[f64] {
        &self.high
    }

    /// Whether `point` has `dim` values that all lie within the bounds (NaN does not).
    pub fn contains(&self, point: &[f64]) -> bool {
        point.len() == self.dim()
            && point
                .iter()
                .zip(&self.low)
                .zip(&self.high)
                .all(|((x, l), h)| l <= x && x <= h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_the_space() {
        let space = Space::uniform(2, -1.0, 1.0).expect("valid bounds");
        assert!(space.contains(&[-1.0, 1.0]));
        assert!(!space.contains(&[-1.0, 1.0 + 1e-12]));
        assert!(!space.contains(&[0.0, f64::NAN]));
        assert!(!space.contains(&[0.0]));
    }

    #[test]
    fn senseless_bounds_are_refused() {
        assert!(Space::uniform(0, -1.0, 1.0).is_err());
        assert!(Space::uniform(1, 1.0, -1.0).is_err());
        assert!(Space::uniform(1, f64::NAN, 1.0).is_err());
        assert!(Space::new(vec![0.0], vec![1.0, 2.0]).is_err());
    }
}
