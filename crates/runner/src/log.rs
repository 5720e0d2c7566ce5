//! The two files of results: `eval.csv` and `metrics.jsonl`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::RunError;
use crate::evaluate::Evaluation;

/// `eval.csv`: one row per evaluation, brought to the disk at once.
#[derive(Debug)]
pub struct EvalLog {
    path: PathBuf,
    writer: csv::Writer<File>,
}

impl EvalLog {
    /// Creates the file with its header for evaluations of `episodes` episodes.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create(path: &Path, episodes: usize) -> Result<Self, RunError> {
        let file = File::create_new(path).map_err(RunError::io("create", path))?;
        let mut log = Self {
            path: path.to_owned(),
            writer: csv::Writer::from_writer(file),
        };
        let mut header: Vec<_> = ["step", "episodes", "mean_return", "std_return"]
            .map(String::from)
            .into();
        header.extend((0..episodes).map(|i| format!("return_{i}")));
        log.write(&header)?;
        Ok(log)
    }

    /// Appends the evaluation made at `step`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, step: u64, evaluation: &Evaluation) -> Result<(), RunError> {
        let mut row = vec![
            step.to_string(),
            evaluation.returns.len().to_string(),
            evaluation.mean().to_string(),
            evaluation.std().to_string(),
        ];
        row.extend(evaluation.returns.iter().map(ToString::to_string));
        self.write(&row)
    }

    fn write(&mut self, row: &[String]) -> Result<(), RunError> {
        self.writer
            .write_record(row)
            .map_err(std::io::Error::from)
            .and_then(|()| self.writer.flush())
            .and_then(|()| self.writer.get_ref().sync_data())
            .map_err(RunError::io("write", &self.path))
    }
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, Serialize)]
pub struct MetricsLine {
    /// Environment steps since the end of warm-up.
    pub step: u64,
    /// Gradient updates done.
    pub update: u64,
    /// Seconds since training began, warm-up included.
    pub wall_time_s: f64,
    /// Environment steps per second since the last line.
    pub env_steps_per_s: f64,
    /// Episodes that ended since the last line.
    pub episodes: usize,
    /// Mean return of these episodes, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub episode_return: Option<f64>,
    /// Mean length of these episodes, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub episode_length: Option<f64>,
    /// Warnings of the simulator since the last line; each ended its episode, and its
    /// transition was not stored.
    pub simulator_warnings: u64,
    /// Losses and other metrics, the latest value of each.
    #[serde(flatten, serialize_with = "as_map")]
    pub metrics: Vec<(&'static str, f32)>,
}

fn as_map<S: Serializer>(pairs: &[(&str, f32)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}

/// `metrics.jsonl`: append-only, one object per line.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens the file for appending.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path) -> Result<Self, RunError> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(RunError::io("create", path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Appends a line with a single write, so that a killed run leaves whole lines.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, line: &MetricsLine) -> Result<(), RunError> {
        serde_json::to_string(line)
            .map_err(std::io::Error::from)
            .and_then(|text| self.file.write_all(format!("{text}\n").as_bytes()))
            .map_err(RunError::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eval_csv_has_the_documented_columns() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("eval.csv");
        let mut log = EvalLog::create(&path, 2).expect("writable");
        let evaluation = Evaluation {
            returns: vec![1.0, 2.5],
            lengths: vec![3, 4],
        };
        log.append(50, &evaluation).expect("writable");
        assert_eq!(
            std::fs::read_to_string(&path).expect("just written"),
            "step,episodes,mean_return,std_return,return_0,return_1\n50,2,1.75,0.75,1,2.5\n"
        );
    }

    #[test]
    fn metrics_are_flat_objects_with_short_numbers() {
        let line = MetricsLine {
            step: 5,
            update: 1,
            wall_time_s: 0.5,
            env_steps_per_s: 10.0,
            episodes: 0,
            episode_return: None,
            episode_length: None,
            simulator_warnings: 0,
            metrics: vec![("q1_loss", 0.1), ("policy_loss", 2.0)],
        };
        assert_eq!(
            serde_json::to_string(&line).expect("plain numbers"),
            r#"{"step":5,"update":1,"wall_time_s":0.5,"env_steps_per_s":10.0,"episodes":0,"simulator_warnings":0,"q1_loss":0.1,"policy_loss":2.0}"#
        );
    }
}
