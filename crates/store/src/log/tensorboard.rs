//! TensorBoard's event files: the numbers of `metrics.jsonl` and `eval.csv` for its page.
//!
//! An event file is a sequence of records, each a protobuf `Event` between its length and two
//! checksums (TFRecord). It is append-only, because a viewer that follows it has read what is there:
//! a run that goes on begins another file, whose first event tells the viewer to forget what
//! lies behind the checkpoint.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message as _;
use serde_json::{Map, Value};

use super::{EvalRow, Evaluations, MetricsLine};
use crate::StoreError;
use crate::durable::{create, create_folder, open_regular, refuse_link, write_all};
use crate::lacking::tolerate_sync;
use crate::machine::host_name;
use crate::names::{METRICS, TENSORBOARD};

/// What TensorBoard knows event files by.
const PREFIX: &str = "events.out.tfevents.";
/// The version of the format, which is the first event of a file.
const FILE_VERSION: &str = "brain.Event:2";

/// The messages of TensorFlow's `event.proto` and `summary.proto`, with the fields that are written.
mod messages {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Event {
        /// Seconds since 1970.
        #[prost(double, tag = "1")]
        pub wall_time: f64,
        #[prost(int64, tag = "2")]
        pub step: i64,
        #[prost(oneof = "What", tags = "3, 5, 7")]
        pub what: Option<What>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum What {
        #[prost(string, tag = "3")]
        FileVersion(String),
        #[prost(message, tag = "5")]
        Summary(Summary),
        #[prost(message, tag = "7")]
        SessionLog(SessionLog),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Summary {
        #[prost(message, repeated, tag = "1")]
        pub value: Vec<Scalar>,
    }

    /// `Summary.Value`, of which a scalar is one kind.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Scalar {
        #[prost(string, tag = "1")]
        pub tag: String,
        /// Written even if it is 0, as a member of a `oneof` is.
        #[prost(float, optional, tag = "2")]
        pub simple_value: Option<f32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct SessionLog {
        #[prost(enumeration = "SessionStatus", tag = "1")]
        pub status: i32,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
    #[repr(i32)]
    pub enum SessionStatus {
        Unspecified = 0,
        /// A process begins: what there was of this step and later ones is void.
        Start = 1,
    }
}

use messages::{Event, Scalar, SessionLog, SessionStatus, Summary, What};

/// An event file of this process, in the folder `tensorboard` of a run.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: File,
}

impl EventLog {
    /// Begins an event file of the run in the folder `run`, which goes on from `step` (0 where it
    /// begins), and whose other logs have been cut.
    ///
    /// If there are event files already, viewers forget what these hold of `step` and later ones. What
    /// the other logs hold of these, or in total if there are no event files yet, is written again.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn open(run: &Path, step: u64) -> Result<Self, StoreError> {
        let folder = run.join(TENSORBOARD);
        refuse_link(&folder)?;
        create_folder(&folder)?;
        let earlier = event_files(&folder)?;
        let path = folder.join(next_name(&earlier, seconds() as u64));
        let file = create(&path).map_err(StoreError::io("create", &path))?;
        let mut log = Self { path, file };
        log.write(0, What::FileVersion(FILE_VERSION.to_owned()))?;
        let from = if earlier.is_empty() { 0 } else { step };
        if !earlier.is_empty() {
            let status = SessionStatus::Start.into();
            log.write(from, What::SessionLog(SessionLog { status }))?;
        }
        log.repeat(run, from)?;
        Ok(log)
    }

    /// Writes what the other logs of `run` hold of the step `from` and later ones.
    fn repeat(&mut self, run: &Path, from: u64) -> Result<(), StoreError> {
        let path = run.join(METRICS);
        let lines = match open_regular(&path) {
            Ok((file, _)) => Some(BufReader::new(file).split(b'\n')),
            Err(_) if !path.exists() => None,
            Err(error) => return Err(error),
        };
        for line in lines.into_iter().flatten() {
            let line = line.map_err(StoreError::io("read", &path))?;
            // A line that is damaged is not this log's business.
            let Ok(entries) = serde_json::from_slice::<Map<_, _>>(&line) else {
                continue;
            };
            match entries.get("step").and_then(Value::as_u64) {
                Some(step) if step >= from => self.scalars(step, of_metrics(&entries))?,
                _ => {}
            }
        }
        let evaluations = Evaluations::read(run).unwrap_or_else(|error| {
            tracing::warn!("{error}: {TENSORBOARD}/ lacks the evaluations so far");
            Evaluations::default()
        });
        for point in evaluations.points {
            let step = point.step as u64;
            if step >= from {
                self.scalars(step, of_evaluation(point.mean, point.std))?;
            }
        }
        Ok(())
    }

    /// Appends the numbers of a line of `metrics.jsonl`.
    ///
    /// # Errors
    /// When the file cannot be written.
    #[expect(
        clippy::missing_panics_doc,
        reason = "a line is a struct of numbers, which is an object"
    )]
    pub fn metrics(&mut self, line: &MetricsLine) -> Result<(), StoreError> {
        let entries = serde_json::to_value(line).expect("a line is a struct of numbers");
        let entries = entries.as_object().expect("a struct is an object");
        self.scalars(line.step, of_metrics(entries))
    }

    /// Appends an evaluation.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn evaluation(&mut self, row: EvalRow<'_>) -> Result<(), StoreError> {
        self.scalars(row.step, of_evaluation(row.mean, row.std))
    }

    /// Brings all events to the disk.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn sync(&self) -> Result<(), StoreError> {
        crate::fault::write_step(true)
            .and_then(|()| tolerate_sync(&self.path, self.file.sync_data()))
            .map_err(StoreError::io("write", &self.path))
    }

    fn scalars(&mut self, step: u64, value: Vec<Scalar>) -> Result<(), StoreError> {
        self.write(step, What::Summary(Summary { value }))
    }

    /// Appends an event with a single write, so that viewers see it at once.
    fn write(&mut self, step: u64, what: What) -> Result<(), StoreError> {
        let event = Event {
            wall_time: seconds(),
            step: step as i64,
            what: Some(what),
        };
        write_all(&mut self.file, &record(&event.encode_to_vec()))
            .map_err(StoreError::io("write", &self.path))
    }
}

/// Seconds since 1970.
fn seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// The names of the event files in `folder`, in the order in which viewers read them.
fn event_files(folder: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(StoreError::io("read", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(StoreError::io("read", folder))?.file_name();
        names.extend(name.into_string().ok().filter(|n| n.starts_with(PREFIX)));
    }
    names.sort();
    Ok(names)
}

/// A name that viewers read after those of `earlier`, even if the clock that made these is ahead of
/// `now`: the order of names is that of the seconds, which have ten digits.
fn next_name(earlier: &[String], now: u64) -> String {
    let second = |name: &String| -> Option<u64> {
        let (digits, _) = name.strip_prefix(PREFIX)?.split_once('.')?;
        digits.parse().ok()
    };
    let latest = earlier.iter().filter_map(second).max();
    let second = latest.map_or(now, |latest| now.max(latest.saturating_add(1)));
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let host: String = host_name().chars().map(plain).take(64).collect();
    let (process, count) = (std::process::id(), earlier.len());
    format!("{PREFIX}{second:010}.{host}.{process}.{count}")
}

/// `payload` as a record: its length, the checksum of that, itself, its checksum.
fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    [
        &length[..],
        &checksum(&length).to_le_bytes(),
        payload,
        &checksum(payload).to_le_bytes(),
    ]
    .concat()
}

/// CRC-32C, masked as TFRecord does, so that checksums of data that holds checksums stay good.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// Every number of a line of `metrics.jsonl` but its step. One that is not finite, which JSON writes
/// as null, is NaN: TensorBoard marks it in the curve.
fn of_metrics(entries: &Map<String, Value>) -> Vec<Scalar> {
    let number = |value: &Value| match value {
        Value::Null => Some(f64::NAN),
        value => value.as_f64(),
    };
    let scalar = |(name, value): (&String, &Value)| Some(scalar(tag(name), number(value)?));
    let entries = entries.iter().filter(|(name, _)| *name != "step");
    entries.filter_map(scalar).collect()
}

fn of_evaluation(mean: f64, std: f64) -> Vec<Scalar> {
    vec![
        scalar("eval/mean_return".to_owned(), mean),
        scalar("eval/std_return".to_owned(), std),
    ]
}

fn scalar(tag: String, value: f64) -> Scalar {
    Scalar {
        tag,
        simple_value: Some(value as f32),
    }
}

/// The tag of an entry of `metrics.jsonl`. TensorBoard's page has a section for what stands before
/// the slash. A name with a slash, as of `info/NAME`, says its section itself.
fn tag(name: &str) -> String {
    let section = match name {
        "episodes" | "episode_return" | "episode_length" | "simulator_warnings" => "train",
        "update" | "wall_time_s" | "env_steps_per_s" => "time",
        _ if name.contains('/') => return name.to_owned(),
        _ if name.ends_with("loss") => "loss",
        _ if name.ends_with("_norm") => "norm",
        _ => "metrics",
    };
    format!("{section}/{name}")
}

#[cfg(test)]
mod tests;
