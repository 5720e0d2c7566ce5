//! Learning rates over a run.

/// A learning rate that is constant, then falls linearly, then is constant again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearningRate {
    start: f64,
    end: f64,
    /// Steps of the optimiser between which it falls.
    between: [f64; 2],
}

impl LearningRate {
    /// From `start` to `start * final_fraction` over all of `steps` steps.
    pub fn falling(start: f64, final_fraction: f64, steps: f64) -> Self {
        Self::falling_between(start, final_fraction, [0.0, steps])
    }

    /// As [`LearningRate::falling`] between two steps.
    pub fn falling_between(start: f64, final_fraction: f64, between: [f64; 2]) -> Self {
        Self {
            start,
            end: start * final_fraction,
            between,
        }
    }

    /// The rate after `count` steps.
    pub fn at(&self, count: u64) -> f64 {
        let [begin, end] = self.between;
        let progress = (count as f64 - begin) / (end - begin).max(f64::MIN_POSITIVE);
        self.start + (self.end - self.start) * progress.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_falls_between_two_steps_and_is_constant_around_them() {
        let rate = LearningRate::falling_between(1e-3, 0.1, [25.0, 75.0]);
        for (count, expected) in [(0, 1e-3), (25, 1e-3), (50, 5.5e-4), (75, 1e-4), (900, 1e-4)] {
            assert!((rate.at(count) - expected).abs() < 1e-12, "{count}");
        }
        let none = LearningRate::falling(1e-3, 0.5, 0.0);
        assert!(none.at(0).is_finite(), "a run without updates");
    }
}
