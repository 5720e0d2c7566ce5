//! The two files of results, `eval.csv` and `metrics.jsonl`, and event files of the same numbers for
//! TensorBoard.
//!
//! A run that is resumed cuts what was written after its checkpoint, so that no row is doubled.

mod evaluations;
mod follow;
mod tensorboard;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use crate::StoreError;
use crate::durable::{open_regular, read_text, write_whole};
use crate::lacking::tolerate_sync;

pub use evaluations::{EvalPoint, Evaluations};
pub use follow::{Appended, Follow, FollowEvaluations};
pub use tensorboard::EventLog;

/// Evaluations of a long run with many episodes are shorter.
pub const EVAL_LIMIT: u64 = 256 << 20;

/// A row of `eval.csv`: the evaluation made at a step.
#[derive(Debug, Clone, Copy)]
pub struct EvalRow<'a> {
    /// Environment steps, as the run counts them.
    pub step: u64,
    /// Mean of the returns.
    pub mean: f64,
    /// Their population standard deviation.
    pub std: f64,
    /// The return of each episode.
    pub returns: &'a [f64],
}

/// `eval.csv`: one row per evaluation, brought to the disk at once.
#[derive(Debug)]
pub struct EvalLog {
    path: PathBuf,
    writer: csv::Writer<File>,
    rows: u64,
    /// Columns of the header. A row of fewer episodes ends with empty cells.
    columns: usize,
}

impl EvalLog {
    /// Opens the file for evaluations of `episodes` episodes, with its header and the first `rows`
    /// rows that it has; those behind them are cut off.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(path: &Path, episodes: usize, rows: u64) -> Result<Self, StoreError> {
        let mut header: Vec<_> = ["step", "episodes", "mean_return", "std_return"]
            .map(String::from)
            .into();
        header.extend((0..episodes).map(|i| format!("return_{i}")));
        let kept = cut(path, rows + 1)?;
        let columns = match kept.lines {
            0 => header.len(),
            _ => widen(path, &header)?,
        };
        let mut log = Self {
            path: path.to_owned(),
            writer: csv::Writer::from_writer(append_to(path)?),
            rows: kept.lines.saturating_sub(1),
            columns,
        };
        if kept.lines == 0 {
            log.write(&header)?;
        }
        Ok(log)
    }

    /// Appends an evaluation.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, row: EvalRow<'_>) -> Result<(), StoreError> {
        let mut cells = vec![
            row.step.to_string(),
            row.returns.len().to_string(),
            row.mean.to_string(),
            row.std.to_string(),
        ];
        cells.extend(row.returns.iter().map(ToString::to_string));
        cells.resize(self.columns.max(cells.len()), String::new());
        self.write(&cells)?;
        self.rows += 1;
        Ok(())
    }

    /// Rows below the header.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    fn write(&mut self, row: &[String]) -> Result<(), StoreError> {
        crate::fault::write_step(true)
            .and_then(|()| Ok(self.writer.write_record(row)?))
            .and_then(|()| self.writer.flush())
            .and_then(|()| tolerate_sync(&self.path, self.writer.get_ref().sync_data()))
            .map_err(StoreError::io("write", &self.path))
    }
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, Serialize)]
pub struct MetricsLine {
    /// Environment steps, as the run counts them.
    pub step: u64,
    /// Gradient updates done.
    pub update: u64,
    /// Seconds since training began, warm-up included.
    pub wall_time_s: f64,
    /// Environment steps per second since the last line.
    pub env_steps_per_s: f64,
    /// Episodes that ended since the last line.
    pub episodes: u64,
    /// Mean return of the last [`EPISODES`](crate::checkpoint::EPISODES) episodes that have ended,
    /// warm-up included, once any has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub episode_return: Option<f64>,
    /// Mean length of the same episodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub episode_length: Option<f64>,
    /// Warnings of the simulator since the last line; each ended its episode, and its
    /// transition was not stored.
    pub simulator_warnings: u64,
    /// `info/NAME`: means over the steps since the last line of what the task gives with each
    /// step, such as the terms of the reward.
    #[serde(flatten, serialize_with = "as_map")]
    pub info: Vec<(String, f64)>,
    /// Losses and other metrics, the latest value of each.
    #[serde(flatten, serialize_with = "as_map")]
    pub metrics: Vec<(String, f32)>,
}

fn as_map<T: Serialize, S: Serializer>(
    pairs: &[(String, T)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

/// `metrics.jsonl`: append-only, one object per line.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    lines: u64,
    wall_time_s: f64,
}

impl MetricsLog {
    /// Opens the file with the first `lines` lines that it has; those behind them are cut off.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(path: &Path, lines: u64) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Clock {
            wall_time_s: f64,
        }
        let kept = cut(path, lines)?;
        let clock = serde_json::from_slice(&kept.last);
        Ok(Self {
            path: path.to_owned(),
            file: append_to(path)?,
            lines: kept.lines,
            wall_time_s: clock.map_or(0.0, |clock: Clock| clock.wall_time_s),
        })
    }

    /// Appends a line with a single write, so that a killed run leaves whole lines.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, line: &MetricsLine) -> Result<(), StoreError> {
        crate::fault::write_step(true)
            .and_then(|()| Ok(serde_json::to_string(line)?))
            .and_then(|text| self.file.write_all(format!("{text}\n").as_bytes()))
            .map_err(StoreError::io("write", &self.path))?;
        self.lines += 1;
        Ok(())
    }

    /// Brings all lines to the disk.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn sync(&self) -> Result<(), StoreError> {
        crate::fault::write_step(true)
            .and_then(|()| tolerate_sync(&self.path, self.file.sync_data()))
            .map_err(StoreError::io("write", &self.path))
    }

    /// Lines in the file.
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// The clock of the last line that was there when the file was opened, in seconds; else 0.
    pub const fn wall_time_s(&self) -> f64 {
        self.wall_time_s
    }
}

/// Gives the table in `path` the columns of `header`, where it has fewer: those of evaluations with
/// more episodes from now on. Gives the number of columns that it has then.
fn widen(path: &Path, header: &[String]) -> Result<usize, StoreError> {
    let columns = |line: &[u8]| line.split(|byte| *byte == b',').count();
    let mut first = Vec::new();
    BufReader::new(open_regular(path)?.0)
        .take(LONGEST_LINE)
        .read_until(b'\n', &mut first)
        .map_err(StoreError::io("read", path))?;
    let found = columns(&first);
    if found >= header.len() {
        return Ok(found);
    }
    let text = read_text(path, EVAL_LIMIT)?;
    let rows = text.lines().skip(1).map(|row| {
        let missing = header.len().saturating_sub(columns(row.as_bytes()));
        format!("{row}{}\n", ",".repeat(missing))
    });
    let table: String = std::iter::once(header.join(",") + "\n")
        .chain(rows)
        .collect();
    write_whole(path, table.as_bytes())?;
    Ok(header.len())
}

fn append_to(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(StoreError::io("create", path))
}

/// What was left of a file of lines.
#[derive(Debug, Default, PartialEq)]
struct Kept {
    lines: u64,
    /// The last of them, without its end; empty if it is longer than [`LINE_LIMIT`].
    last: Vec<u8>,
}

/// A line of either file is far shorter.
const LINE_LIMIT: u64 = 1 << 20;
/// No line is longer, however many episodes an evaluation has.
const LONGEST_LINE: u64 = 64 << 20;

/// Cuts the file behind its first `lines` lines, or behind the last whole line if it has fewer,
/// which is said. A file that is not there has none; in one that has no end of a line for long the
/// end is not sought.
fn cut(path: &Path, lines: u64) -> Result<Kept, StoreError> {
    let mut kept = Kept::default();
    if fs::symlink_metadata(path).is_err() {
        return Ok(kept);
    }
    let (file, _) = open_regular(path)?;
    let mut reader = BufReader::new(file);
    let mut length = 0;
    let mut part = Vec::new();
    let mut bytes = 0;
    while kept.lines < lines {
        part.clear();
        let read = (&mut reader).take(LINE_LIMIT).read_until(b'\n', &mut part);
        bytes += read.map_err(StoreError::io("read", path))? as u64;
        if part.last() == Some(&b'\n') {
            part.pop();
            kept.last = if bytes > LINE_LIMIT {
                Vec::new()
            } else {
                part.clone()
            };
            kept.lines += 1;
            length += std::mem::take(&mut bytes);
        } else if bytes > LONGEST_LINE {
            let message = format!(
                "its line {} is longer than {LONGEST_LINE} bytes",
                kept.lines + 1
            );
            return Err(StoreError::corrupt(path, message));
        } else if part.is_empty() {
            tracing::warn!(
                "{} has {} whole lines, but had {lines} at the checkpoint",
                path.display(),
                kept.lines
            );
            break;
        }
    }
    set_length(path, length).map(|()| kept)
}

fn set_length(path: &Path, length: u64) -> Result<(), StoreError> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| {
            file.set_len(length)?;
            tolerate_sync(path, file.sync_all())
        })
        .map_err(StoreError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eval_csv_has_the_documented_columns() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("eval.csv");
        let mut log = EvalLog::open(&path, 2, 0).expect("writable");
        let row = EvalRow {
            step: 50,
            mean: 1.75,
            std: 0.75,
            returns: &[1.0, 2.5],
        };
        log.append(row).expect("writable");
        assert_eq!(
            fs::read_to_string(&path).expect("just written"),
            "step,episodes,mean_return,std_return,return_0,return_1\n50,2,1.75,0.75,1,2.5\n"
        );
    }

    #[test]
    fn a_table_gets_the_columns_of_more_episodes_and_keeps_those_of_fewer() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("eval.csv");
        for (rows, step, mean, std, returns) in [
            (0, 10, 1.0, 0.0, &[1.0][..]),
            (1, 20, 2.0, 1.0, &[1.0, 3.0]),
            (2, 30, 5.0, 0.0, &[5.0]),
        ] {
            let mut log = EvalLog::open(&path, returns.len(), rows).expect("writable");
            let row = EvalRow {
                step,
                mean,
                std,
                returns,
            };
            log.append(row).expect("writable");
            assert_eq!(log.rows(), rows + 1);
        }
        assert_eq!(
            fs::read_to_string(&path).expect("just written"),
            "step,episodes,mean_return,std_return,return_0,return_1\n\
             10,1,1,0,1,\n20,2,2,1,1,3\n30,1,5,0,5,\n"
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
            info: vec![("info/reward_ctrl".into(), -0.1)],
            metrics: vec![("q1_loss".into(), 0.1), ("policy_loss".into(), 2.0)],
        };
        assert_eq!(
            serde_json::to_string(&line).expect("plain numbers"),
            r#"{"step":5,"update":1,"wall_time_s":0.5,"env_steps_per_s":10.0,"episodes":0,"simulator_warnings":0,"info/reward_ctrl":-0.1,"q1_loss":0.1,"policy_loss":2.0}"#
        );
    }

    #[test]
    fn a_log_is_cut_behind_the_lines_asked_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        let left = |text: &str, lines| {
            fs::write(&path, text).expect("writable");
            let kept = cut(&path, lines).expect("readable");
            let last = String::from_utf8(kept.last).expect("text");
            (kept.lines, last, fs::read_to_string(&path).expect("there"))
        };
        let all = |n, last: &str, text: &str| (n, last.to_owned(), text.to_owned());
        assert_eq!(left("a\nb\nc\n", 2), all(2, "b", "a\nb\n"));
        assert_eq!(left("a\nb\n", 2), all(2, "b", "a\nb\n"));
        assert_eq!(left("a\nb\n", 0), all(0, "", ""));
        // A line that was not written to its end, and one that is missing.
        assert_eq!(left("a\nb\nha", 2), all(2, "b", "a\nb\n"));
        assert_eq!(left("a\nha", 2), all(1, "a", "a\n"));
        assert_eq!(left("\n\0\u{ff}\n", 9), all(2, "\0\u{ff}", "\n\0\u{ff}\n"));
        let long = "x".repeat(LINE_LIMIT as usize + 5);
        let text = format!("{long}\nb\n");
        assert_eq!(left(&text, 1), all(1, "", &format!("{long}\n")));
        fs::remove_file(&path).expect("there");
        assert_eq!(cut(&path, 3).expect("nothing to cut"), Kept::default());
    }
}
