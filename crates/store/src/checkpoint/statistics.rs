//! Sums from which the next line of the log is made. They are part of a checkpoint, so that a run
//! that is resumed writes the same lines.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::exact;

/// `episode_return` and `episode_length` are means over so many episodes, the last that ended.
pub const EPISODES: usize = 20;

/// The episodes that have ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndedEpisodes {
    /// How many since the last line of the log (warm-up does not count).
    pub since_log: u64,
    /// The last [`EPISODES`] of the run, warm-up included; the oldest first.
    latest: VecDeque<EndedEpisode>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndedEpisode {
    /// Undiscounted return.
    #[serde(with = "exact")]
    total_reward: f64,
    /// Steps.
    length: u32,
}

impl EndedEpisodes {
    /// Adds one with this undiscounted return and so many steps.
    pub fn add(&mut self, total_reward: f64, length: u32) {
        self.since_log += 1;
        while self.latest.len() >= EPISODES {
            self.latest.pop_front();
        }
        self.latest.push_back(EndedEpisode {
            total_reward,
            length,
        });
    }

    /// Mean return of the latest episodes, if any has ended.
    pub fn mean_return(&self) -> Option<f64> {
        self.mean(|episode| episode.total_reward)
    }

    /// Mean length of the latest episodes, if any has ended.
    pub fn mean_length(&self) -> Option<f64> {
        self.mean(|episode| episode.length.into())
    }

    fn mean(&self, value: impl Fn(&EndedEpisode) -> f64) -> Option<f64> {
        let count = self.latest.len();
        (count > 0).then(|| self.latest.iter().map(value).sum::<f64>() / count as f64)
    }
}

/// Means of the named quantities that the task gives with each step, since the last line of the
/// log. In the order in which they were first given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InfoMeans(Vec<InfoMean>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InfoMean {
    name: String,
    #[serde(with = "exact")]
    sum: f64,
    count: u64,
}

impl InfoMeans {
    /// Adds the quantities of one step of one environment. A value that is not finite has no
    /// place in a mean, and is left out.
    pub fn add(&mut self, info: &[(&str, f64)]) {
        for (place, (name, value)) in info.iter().enumerate() {
            // A task gives the same names in the same order, nearly always.
            let known = match self.0.get(place) {
                Some(mean) if mean.name == *name => Some(place),
                _ => self.0.iter().position(|mean| mean.name == *name),
            };
            let index = known.unwrap_or_else(|| {
                self.0.push(InfoMean {
                    name: (*name).to_owned(),
                    sum: 0.0,
                    count: 0,
                });
                self.0.len() - 1
            });
            let mean = &mut self.0[index];
            if (mean.sum + value).is_finite() {
                mean.sum += value;
                mean.count += 1;
            }
        }
    }

    /// Names in the log, `info/NAME`, with means.
    pub fn means(&self) -> impl Iterator<Item = (String, f64)> {
        let any = self.0.iter().filter(|mean| mean.count > 0);
        any.map(|mean| (format!("info/{}", mean.name), mean.sum / mean.count as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_are_of_the_latest_episodes() {
        let mut episodes = EndedEpisodes::default();
        assert_eq!(
            (episodes.mean_return(), episodes.mean_length()),
            (None, None)
        );
        for number in 1..=EPISODES as u32 + 5 {
            episodes.add(f64::from(number), 2 * number);
        }
        // 6 to 25.
        assert_eq!(episodes.mean_return(), Some(15.5));
        assert_eq!(episodes.mean_length(), Some(31.0));
        assert_eq!(episodes.since_log, 25);
        let text = serde_json::to_string(&episodes).expect("plain");
        let read: EndedEpisodes = serde_json::from_str(&text).expect("just written");
        assert_eq!(read, episodes);
    }

    #[test]
    fn quantities_are_averaged_by_name() {
        let mut means = InfoMeans::default();
        means.add(&[("x", 1.0), ("y", 10.0)]);
        means.add(&[("y", 20.0), ("x", f64::NAN), ("z", 0.1)]);
        means.add(&[("x", f64::MAX), ("x", f64::MAX)]);
        let found: Vec<_> = means.means().collect();
        let expected = [
            ("info/x", f64::MAX / 2.0),
            ("info/y", 15.0),
            ("info/z", 0.1),
        ];
        let expected = expected.map(|(name, mean)| (name.to_owned(), mean));
        assert_eq!(found, expected);
        let text = serde_json::to_string(&means).expect("plain");
        let read: InfoMeans = serde_json::from_str(&text).expect("just written");
        assert_eq!(read, means);
    }
}
