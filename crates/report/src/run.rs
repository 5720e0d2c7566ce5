//! What a report knows of a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rescore_store::durable::read_text;
use rescore_store::names::{CONFIG, METRICS};
use rescore_store::{StoreError, run_folder::CONFIG_LIMIT};

use crate::{Curve, ReportError};

/// A longer log of metrics is not read.
const METRICS_LIMIT: u64 = 1 << 30;

/// Seconds since the run began.
pub const WALL_TIME: &str = "wall_time_s";

/// Points of a curve of a metric at most; between them are means.
const MOST_POINTS: usize = 200;

/// What two runs may differ in, beside the seed, and still be the same experiment: where they were
/// computed and how far they were meant to go.
const NOT_COMPARED: [&str; 4] = ["seed", "steps", "backend", "device"];
/// The same in tables: what is written and how often, which decides nothing.
const NOT_COMPARED_IN: [(&str, &str); 4] = [
    ("training", "checkpoint_every"),
    ("training", "log_every"),
    ("training", "tensorboard"),
    ("replay", "store"),
];

/// Removes from a configuration what runs of one experiment may differ in.
pub fn keep_compared(settings: &mut toml::Table) {
    for key in NOT_COMPARED {
        settings.remove(key);
    }
    for (table, key) in NOT_COMPARED_IN {
        if let Some(toml::Value::Table(table)) = settings.get_mut(table) {
            table.remove(key);
        }
    }
}

/// Of each metric its values by step.
pub type Metrics = BTreeMap<String, Vec<[f64; 2]>>;

/// A run as a report sees it.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its folder.
    pub path: PathBuf,
    /// Algorithm.
    pub algorithm: String,
    /// Task.
    pub task: String,
    /// Seed.
    pub seed: i64,
    /// Steps that it was to have.
    pub planned: f64,
    /// Every other setting that decides what is learned, by its dotted path.
    pub settings: BTreeMap<String, String>,
    /// Evaluations.
    pub curve: Curve,
    /// Of each metric of `metrics.jsonl` its values by step, thinned.
    pub metrics: Metrics,
    /// Numbers in `metrics.jsonl` that are none.
    pub not_finite: usize,
}

impl Run {
    /// The run in the folder `path`; nothing, with a warning, where it has no evaluation yet.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn read(path: &Path) -> Result<Option<Self>, ReportError> {
        let Some(curve) = Curve::read(path)? else {
            return Ok(None);
        };
        let file = path.join(CONFIG);
        let corrupt = |message: String| StoreError::corrupt(&file, message);
        let text = read_text(&file, CONFIG_LIMIT)?;
        let mut table: toml::Table = text.parse().map_err(|e| corrupt(format!("{e}")))?;
        let word = |table: &toml::Table, key: &str| {
            let found = table.get(key).and_then(toml::Value::as_str);
            found
                .map(str::to_owned)
                .ok_or_else(|| corrupt(format!("it has no text `{key}`")))
        };
        let number = |table: &toml::Table, key: &str| {
            let found = table.get(key).and_then(toml::Value::as_integer);
            found.ok_or_else(|| corrupt(format!("it has no whole number `{key}`")))
        };
        let (algorithm, task) = (word(&table, "algo")?, word(&table, "env")?);
        let (seed, planned) = (number(&table, "seed")?, number(&table, "steps")?);
        keep_compared(&mut table);
        table.remove("algo");
        let mut settings = BTreeMap::new();
        flatten("", &table, &mut settings);
        let (log, not_finite) = log(path)?;
        Ok(Some(Self {
            path: path.to_owned(),
            algorithm,
            task,
            seed,
            planned: planned as f64,
            settings,
            curve,
            metrics: metrics(log),
            not_finite,
        }))
    }

    /// The last step that was evaluated.
    pub fn reached(&self) -> f64 {
        self.curve.points.last().map_or(0.0, |point| point.step)
    }

    /// The last and the best mean return.
    pub fn final_and_best(&self) -> [f64; 2] {
        let means = self.curve.points.iter().map(|point| point.mean);
        let best = means.fold(f64::NEG_INFINITY, f64::max);
        let last = self.curve.points.last().map(|point| point.mean);
        [last.unwrap_or(f64::NAN), best]
    }

    /// Seconds since the run began at a step, on the line between lines of the log; none without a log.
    /// A resumption begins the clock of the log anew; its times are added up.
    pub fn seconds_at(&self, step: f64) -> Option<f64> {
        let times = self.metrics.get(WALL_TIME)?;
        let after = times.partition_point(|[at, _]| *at < step);
        let Some([next_step, next]) = times.get(after) else {
            // Evaluations come after the last line of the log.
            return times.last().map(|[_, seconds]| *seconds);
        };
        let Some([before_step, before]) = after.checked_sub(1).map(|i| times[i]) else {
            return Some(*next);
        };
        let share = (step - before_step) / (next_step - before_step);
        Some(before + share * (next - before))
    }
}

fn flatten(prefix: &str, table: &toml::Table, into: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => flatten(&format!("{prefix}{key}."), inner, into),
            value => {
                into.insert(format!("{prefix}{key}"), value.to_string());
            }
        }
    }
}

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Environment steps.
    pub step: f64,
    /// Every finite number by its name, `step` included; `wall_time_s` over all resumptions.
    pub numbers: BTreeMap<String, f64>,
}

/// The log of the run in the folder `path`, and how many numbers in it were none; a run need not have
/// kept it.
///
/// # Errors
/// When it cannot be read or a line is damaged.
pub fn log(path: &Path) -> Result<(Vec<Line>, usize), ReportError> {
    let file = path.join(METRICS);
    if !file.exists() {
        return Ok((Vec::new(), 0));
    }
    let text = read_text(&file, METRICS_LIMIT)?;
    let mut log = Vec::new();
    let (mut bad, mut offset, mut last_time) = (0, 0.0, 0.0);
    let lines: Vec<&str> = text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let parsed: Result<serde_json::Map<String, serde_json::Value>, _> =
            serde_json::from_str(line);
        let entries = match parsed {
            Ok(entries) => entries,
            // A run that is killed may leave half a line behind.
            Err(_) if number + 1 == lines.len() => break,
            Err(error) => {
                let message = format!("line {}: {error}", number + 1);
                return Err(StoreError::corrupt(&file, message).into());
            }
        };
        let Some(step) = entries.get("step").and_then(serde_json::Value::as_f64) else {
            continue;
        };
        let mut numbers = BTreeMap::new();
        for (name, value) in entries {
            let Some(mut number) = value.as_f64().filter(|value| value.is_finite()) else {
                // JSON has no NaN: it is written as null or as text.
                bad += usize::from(!value.is_array() && !value.is_object());
                continue;
            };
            if name == WALL_TIME {
                if number < last_time {
                    offset += last_time;
                }
                last_time = number;
                number += offset;
            }
            numbers.insert(name, number);
        }
        log.push(Line { step, numbers });
    }
    Ok((log, bad))
}

/// Of each metric its values by step, thinned.
fn metrics(log: Vec<Line>) -> Metrics {
    let mut all = Metrics::new();
    for Line { step, numbers } in log {
        for (name, number) in numbers {
            all.entry(name).or_default().push([step, number]);
        }
    }
    for points in all.values_mut() {
        thin(points);
    }
    all
}

/// Means of so many neighbours that few points remain.
fn thin(points: &mut Vec<[f64; 2]>) {
    let every = points.len().div_ceil(MOST_POINTS);
    if every > 1 {
        let mean = |chunk: &[[f64; 2]]| {
            let count = chunk.len() as f64;
            [0, 1].map(|i| chunk.iter().map(|point| point[i]).sum::<f64>() / count)
        };
        *points = points.chunks(every).map(mean).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(log: &str) -> Result<Option<Run>, ReportError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("writable");
        };
        write(
            CONFIG,
            "algo = \"dpmd\"\nenv = \"Ant-v4\"\nseed = 3\nsteps = 40\n[agent.critic]\nmembers = 2\n\
             [training]\nlog_every = 5\ntensorboard = true\n",
        );
        write(
            "eval.csv",
            "step,episodes,mean_return,std_return,return_0\n10,1,-1,0,-1\n30,1,9,0,9\n40,1,7,0,7\n",
        );
        write(METRICS, log);
        Run::read(folder.path())
    }

    #[test]
    fn a_run_is_known_by_its_files() {
        let log = "{\"step\":10,\"wall_time_s\":2.0,\"q\":1.5}\n{\"step\":20,\"wall_time_s\":4.0,\"q\":null}\n\
                   {\"step\":30,\"wall_time_s\":1.0}\n{\"step\":40,\"wall_ti";
        let run = run(log).expect("readable").expect("evaluations");
        assert_eq!(
            (run.algorithm.as_str(), run.task.as_str(), run.seed),
            ("dpmd", "Ant-v4", 3)
        );
        assert_eq!(
            run.settings.keys().collect::<Vec<_>>(),
            ["agent.critic.members", "env"]
        );
        assert_eq!(
            run.final_and_best().map(f64::to_bits),
            [7.0, 9.0].map(f64::to_bits)
        );
        assert_eq!(run.metrics["q"], [[10.0, 1.5]]);
        assert_eq!(run.not_finite, 1);
        // 2 seconds at step 10, 4 at 20, and after a resumption 5 at 30.
        assert_eq!(run.seconds_at(15.0), Some(3.0));
        assert_eq!(run.seconds_at(30.0), Some(5.0));
        assert_eq!(run.seconds_at(40.0), Some(5.0));
    }

    #[test]
    fn a_damaged_line_is_named() {
        let error = run("{\"step\":1}\n{\"step\"\n{\"step\":3}\n").expect_err("damaged");
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn long_logs_are_thinned_to_means() {
        let mut points: Vec<[f64; 2]> = (0..1000)
            .map(|i| [f64::from(i), f64::from(i % 2)])
            .collect();
        thin(&mut points);
        assert_eq!(points.len(), 200);
        assert_eq!(points[0].map(f64::to_bits), [2.0, 0.4].map(f64::to_bits));
    }
}
