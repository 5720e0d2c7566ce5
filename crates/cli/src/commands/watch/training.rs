//! What `metrics.jsonl` says of a run that goes on: its step, its rate, returns of training episodes.

use std::collections::VecDeque;
use std::path::Path;

use rescore_store::StoreError;
use rescore_store::log::Follow;
use rescore_store::names::METRICS;
use serde::{Deserialize, Deserializer};

/// Lines over which the rate is taken: a single one may contain an evaluation, or none.
const RECENT: usize = 20;
/// Points of the curve beyond which every other one is dropped: no terminal has as many columns.
const MOST_POINTS: usize = 4000;

/// A line, as far as it is of interest.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default, deserialize_with = "number")]
    step: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    wall_time_s: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    env_steps_per_s: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    episode_return: Option<f64>,
}

/// A finite number. JSON has no NaN: it is written as null or as text.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_f64().filter(|number| number.is_finite()))
}

/// The log of metrics of one run, and what is known from it so far.
#[derive(Debug)]
pub(super) struct Training {
    log: Follow,
    read: Read,
}

#[derive(Debug, Default)]
struct Read {
    lines: usize,
    step: Option<f64>,
    /// Step and seconds of the last lines.
    recent: VecDeque<[f64; 2]>,
    /// As the last line says.
    rate: Option<f64>,
    /// Steps and mean returns of training episodes, thinned.
    returns: Vec<(f64, f64)>,
    /// One of so many points is kept.
    every: usize,
    last_return: Option<f64>,
    damage: Option<String>,
}

impl Training {
    /// The log of the run folder `run`, of which nothing is read yet.
    pub(super) fn of(run: &Path) -> Self {
        Self {
            log: Follow::new(run.join(METRICS)),
            read: Read::default(),
        }
    }

    /// Reads the lines that were appended since the last time.
    ///
    /// # Errors
    /// When the file cannot be read. A line that cannot be understood is in [`Self::damage`].
    pub(super) fn read(&mut self) -> Result<(), StoreError> {
        loop {
            let appended = self.log.read()?;
            if appended.anew {
                self.read = Read::default();
            }
            let lines = appended.lines.split_inclusive(|byte| *byte == b'\n');
            for line in lines {
                self.read.lines += 1;
                match serde_json::from_slice(line) {
                    Ok(line) => self.read.take_in(&line),
                    Err(error) if self.read.damage.is_none() => {
                        let (path, line) = (self.log.path().display(), self.read.lines);
                        self.read.damage = Some(format!("{path} is damaged: line {line}: {error}"));
                    }
                    Err(_) => {}
                }
            }
            if !appended.more {
                return Ok(());
            }
        }
    }

    /// The step of the last line.
    pub(super) fn step(&self) -> Option<f64> {
        self.read.step
    }

    /// Environment steps per second over the last lines.
    pub(super) fn rate(&self) -> Option<f64> {
        let (first, last) = (self.read.recent.front()?, self.read.recent.back()?);
        let seconds = last[1] - first[1];
        if seconds > 0.0 {
            return Some((last[0] - first[0]) / seconds);
        }
        self.read.rate
    }

    /// The mean return of the last training episodes.
    pub(super) fn last_return(&self) -> Option<f64> {
        self.read.last_return
    }

    /// Mean returns of training episodes by step.
    pub(super) fn returns(&self) -> &[(f64, f64)] {
        &self.read.returns
    }

    /// What in the file cannot be understood.
    pub(super) fn damage(&self) -> Option<&str> {
        self.read.damage.as_deref()
    }
}

impl Read {
    fn take_in(&mut self, line: &Line) {
        let Some(step) = line.step else {
            return;
        };
        self.step = Some(step);
        self.rate = line.env_steps_per_s.or(self.rate);
        if let Some(seconds) = line.wall_time_s {
            // The clock of a run that began from its configuration again starts at zero.
            if self
                .recent
                .back()
                .is_some_and(|last| last[1] > seconds || last[0] > step)
            {
                self.recent.clear();
            }
            self.recent.push_back([step, seconds]);
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        let Some(value) = line.episode_return else {
            return;
        };
        self.last_return = Some(value);
        self.every = self.every.max(1);
        if self.lines.is_multiple_of(self.every) {
            self.returns.push((step, value));
        }
        if self.returns.len() > MOST_POINTS {
            self.every *= 2;
            let mut number = 0;
            self.returns.retain(|_| {
                number += 1;
                number % 2 == 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    /// The whole numbers of what is known.
    fn known(training: &Training) -> [Option<i64>; 3] {
        [training.step(), training.rate(), training.last_return()]
            .map(|number| number.map(|number| number as i64))
    }

    #[test]
    fn a_log_is_followed_while_it_grows() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(METRICS);
        let mut training = Training::of(folder.path());
        let mut after = |text: &str| {
            let file = fs::File::options().create(true).append(true).open(&path);
            file.expect("writable")
                .write_all(text.as_bytes())
                .expect("writable");
            training.read().expect("readable");
            assert_eq!(training.damage(), None);
            known(&training)
        };
        assert_eq!(after(""), [None; 3]);
        let first = "{\"step\":10,\"wall_time_s\":2.0,\"env_steps_per_s\":7.0}\n";
        assert_eq!(after(first), [Some(10), Some(7), None]);
        let half = "{\"step\":30,\"wall_time_s\":6.0,\"episode_re";
        assert_eq!(after(half), [Some(10), Some(7), None]);
        assert_eq!(after("turn\":-3.0}\n"), [Some(30), Some(5), Some(-3)]);
        // Not numbers.
        let next = "{\"step\":50,\"wall_time_s\":null,\"episode_return\":null,\"q\":null}\n\
                    {\"step\":70,\"wall_time_s\":\"NaN\",\"env_steps_per_s\":\"inf\"}\n";
        assert_eq!(after(next), [Some(70), Some(5), Some(-3)]);
        // The clock begins anew.
        let next = "{\"step\":80,\"wall_time_s\":1.0,\"env_steps_per_s\":3.0}\n";
        assert_eq!(after(next), [Some(80), Some(3), Some(-3)]);
        assert_eq!(training.returns(), [(30.0, -3.0)]);
    }

    #[test]
    fn a_log_that_is_cut_is_read_anew_and_damage_is_said() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(METRICS);
        let mut training = Training::of(folder.path());
        let line = |step: u32| format!("{{\"step\":{step},\"episode_return\":{step}}}\n");
        let mut after = |text: &str| {
            fs::write(&path, text).expect("writable");
            training.read().expect("readable");
            let damage = training.damage().unwrap_or_default().to_owned();
            (training.returns().len(), damage)
        };
        assert_eq!(after(&(line(1) + &line(2))), (2, String::new()));
        assert_eq!(after(&line(1)), (1, String::new()));
        let (points, damage) = after(&(line(1) + "{\"step\n" + &line(3)));
        assert_eq!(points, 2);
        assert!(
            damage.contains("metrics.jsonl is damaged: line 2"),
            "{damage}"
        );
        assert_eq!(after(&line(5)), (1, String::new()));
    }

    #[test]
    fn a_long_curve_is_thinned() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let line = |step: usize| format!("{{\"step\":{step},\"episode_return\":1}}\n");
        let text: String = (0..3 * MOST_POINTS).map(line).collect();
        fs::write(folder.path().join(METRICS), text).expect("writable");
        let mut training = Training::of(folder.path());
        training.read().expect("readable");
        let points = training.returns();
        assert!(points.len() > MOST_POINTS / 2 && points.len() <= MOST_POINTS);
        assert!(points.is_sorted_by(|a, b| a.0 < b.0));
    }
}
