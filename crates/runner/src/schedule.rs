//! When things happen: exact numbers of updates, and multiples that a step crosses.

use crate::config::TrainingConfig;

/// Gives `floor(steps * ratio)` updates for `steps` environment steps since the end of warm-up,
/// without drift.
///
/// The ratio is taken as the decimal number that was written (0.2 is 1/5, not the nearest binary
/// fraction), and all arithmetic is in whole numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateSchedule {
    numerator: u128,
    denominator: u128,
    /// The step at which warm-up ends.
    begin: u64,
}

impl UpdateSchedule {
    /// The schedule of a run.
    pub fn of(training: &TrainingConfig) -> Self {
        Self::new(training.updates_per_step, training.warmup_end())
    }

    /// A schedule of `updates_per_step`, which the configuration keeps within 1e-6 and 1e3, from the
    /// step `begin` on.
    fn new(updates_per_step: f64, begin: u64) -> Self {
        // The shortest decimal that reads back as this number: at most 17 digits, and for numbers
        // in that range at most 23 behind the point, so neither part exceeds 10^26.
        let decimal = updates_per_step.to_string();
        let (whole, fraction) = decimal.split_once('.').unwrap_or((&decimal, ""));
        let digits = format!("{whole}{fraction}");
        Self {
            numerator: digits.parse().unwrap_or(0),
            denominator: 10_u128.pow(fraction.len().min(30) as u32),
            begin,
        }
    }

    /// Updates due at `step`, in total.
    pub fn due(&self, step: u64) -> u64 {
        let steps = step.saturating_sub(self.begin);
        // Below 2^128 for up to 10^12 steps.
        (u128::from(steps).saturating_mul(self.numerator) / self.denominator) as u64
    }
}

/// Whether a multiple of `every` lies in `(before, now]`.
pub const fn crosses(every: u64, before: u64, now: u64) -> bool {
    now / every > before / every
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_reference_ratio_is_one_update_per_vector_step_forever() {
        let schedule = UpdateSchedule::new(0.2, 0);
        for iteration in [1, 2, 3, 1_000_000, 200_000_000_000] {
            assert_eq!(schedule.due(5 * iteration), iteration);
        }
    }

    #[test]
    fn ratios_above_one_and_whole_ratios_work() {
        assert_eq!(UpdateSchedule::new(1.0, 0).due(7), 7);
        assert_eq!(UpdateSchedule::new(20.0, 0).due(7), 140);
        assert_eq!(UpdateSchedule::new(2.5, 0).due(3), 7);
        assert_eq!(UpdateSchedule::new(0.000_001, 0).due(1_999_999), 1);
    }

    #[test]
    fn steps_of_a_counted_warm_up_make_no_updates_due() {
        let schedule = UpdateSchedule::new(0.25, 5000);
        assert_eq!(
            [0, 5000, 5003, 5004].map(|step| schedule.due(step)),
            [0, 0, 0, 1]
        );
        assert_eq!(schedule.due(200_000), 48_750);
    }

    proptest! {
        #[test]
        fn updates_are_the_floor_of_steps_times_the_decimal_ratio(
            thousandths in 1u64..5000, steps in 0u64..1_000_000_000_000,
        ) {
            let schedule = UpdateSchedule::new(thousandths as f64 / 1000.0, 0);
            prop_assert_eq!(schedule.due(steps), (u128::from(steps) * u128::from(thousandths) / 1000) as u64);
        }

        #[test]
        fn a_crossing_is_seen_exactly_once(every in 1u64..50, stride in 1u64..70, strides in 1u64..100) {
            let seen = (0..strides).filter(|i| crosses(every, i * stride, (i + 1) * stride)).count() as u64;
            let multiples_hit: std::collections::BTreeSet<_> =
                (1..=strides * stride / every).map(|m| (m * every).div_ceil(stride)).collect();
            prop_assert_eq!(seen, multiples_hit.len() as u64);
        }
    }
}
