//! Simulators that do nothing but warn.

use std::time::Duration;

use crate::{Env, EnvError};

/// Counts steps in a row in which a simulator warned, until they are too many: the model then
/// diverges whatever is done, and going on would take for ever.
///
/// [`VecEnv`](crate::VecEnv) keeps one for each environment. A loop of your own that has to end
/// needs one too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WarningStreak {
    steps: u64,
    time: Duration,
}

impl WarningStreak {
    /// So many steps in a row are too many.
    pub const MOST_STEPS: u64 = 1_000;
    /// Steps in a row that took so long are too many.
    pub const MOST_TIME: Duration = Duration::from_secs(10);
    /// Below this many steps, time does not count: a process may have been stopped meanwhile.
    const FEWEST_STEPS: u64 = 3;

    /// Takes `steps` steps into account, each with a warning, that took the time `took`.
    ///
    /// # Errors
    /// The number of steps in a row, if they are too many.
    pub fn add(&mut self, steps: u64, took: Duration) -> Result<(), u64> {
        self.steps += steps;
        self.time += took;
        let slow = self.steps >= Self::FEWEST_STEPS && self.time >= Self::MOST_TIME;
        if slow || self.steps >= Self::MOST_STEPS {
            Err(self.steps)
        } else {
            Ok(())
        }
    }

    /// A step without a warning ends the row.
    pub fn end(&mut self) {
        *self = Self::default();
    }

    /// Steps in a row so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }
}

/// The error that `env` warned in each of the last `steps` steps, of which `warning` was the last
/// (see [`Env::warning`]).
pub fn diverged(env: &dyn Env, steps: u64, warning: Option<String>) -> EnvError {
    EnvError::Diverged {
        task: env.name().to_owned(),
        steps,
        warning: warning.unwrap_or_else(|| "the environment does not say which".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_in_a_row_are_too_many() {
        let mut streak = WarningStreak::default();
        for _ in 0..999 {
            assert_eq!(streak.add(1, Duration::ZERO), Ok(()));
        }
        let mut ended = streak;
        ended.end();
        assert_eq!(ended.add(1, Duration::ZERO), Ok(()));
        assert_eq!(streak.add(1, Duration::ZERO), Err(1000));
    }

    #[test]
    fn ten_seconds_are_too_long_but_not_for_a_single_step() {
        let mut streak = WarningStreak::default();
        assert_eq!(streak.add(1, Duration::from_hours(1)), Ok(()));
        assert_eq!(streak.add(1, Duration::ZERO), Ok(()));
        assert_eq!(streak.add(1, Duration::ZERO), Err(3));
    }
}
