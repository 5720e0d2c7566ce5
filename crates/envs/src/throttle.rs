//! Warnings that repeat.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A message that repeats is let through so often.
const INTERVAL: Duration = Duration::from_mins(1);

/// Kinds that are remembered. MuJoCo has fewer.
const MOST_KINDS: usize = 64;

/// Lets one message of a kind through a minute and counts the others. Messages that differ in
/// numbers alone are of one kind.
#[derive(Debug, Default)]
pub struct Throttle {
    /// By kind: when one was let through, and how many were not since.
    seen: Mutex<HashMap<String, (Instant, u64)>>,
}

impl Throttle {
    /// The text to log for a message at the time `now`, if any.
    pub fn admit(&self, text: &str, now: Instant) -> Option<String> {
        let kind = text.replace(|c: char| c.is_ascii_digit(), "");
        // A panic elsewhere cannot have left the map half-written.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST_KINDS && !seen.contains_key(&kind) {
            seen.clear();
        }
        match seen.get_mut(&kind) {
            Some((last, suppressed)) if now.duration_since(*last) < INTERVAL => {
                *suppressed += 1;
                None
            }
            Some((last, suppressed)) => {
                *last = now;
                match std::mem::take(suppressed) {
                    0 => Some(text.to_owned()),
                    count => Some(format!("{text} ({count} more like it since the last line)")),
                }
            }
            None => {
                seen.insert(kind, (now, 0));
                Some(text.to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_kind_is_let_through_a_minute() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let bad = |n: u64| format!("Nan in QACC at DOF {n}. Time = 0.0{n}0.");
        assert_eq!(throttle.admit(&bad(1), at(0)), Some(bad(1)));
        for n in 2..9 {
            assert_eq!(throttle.admit(&bad(n), at(n)), None);
        }
        let other = "too many contacts";
        assert_eq!(throttle.admit(other, at(9)).as_deref(), Some(other));
        let next = throttle.admit(&bad(3), at(60)).expect("a minute later");
        assert!(
            next.starts_with(&bad(3)) && next.contains("7 more"),
            "{next}"
        );
        assert_eq!(throttle.admit(&bad(3), at(119)), None);
        assert_eq!(throttle.admit(other, at(119)).as_deref(), Some(other));
    }

    #[test]
    fn endlessly_many_kinds_take_no_memory() {
        let throttle = Throttle::default();
        for n in 0..1000 {
            let kind = "x".repeat(n);
            assert_eq!(throttle.admit(&kind, Instant::now()), Some(kind));
        }
        let seen = throttle.seen.into_inner().expect("no panic");
        assert!(seen.len() <= MOST_KINDS);
    }
}
