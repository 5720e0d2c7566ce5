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
mod tests {
    use super::*;

    fn temporary() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    fn line(step: u64, loss: f32) -> MetricsLine {
        MetricsLine {
            step,
            update: 3,
            wall_time_s: 0.5,
            env_steps_per_s: 10.0,
            episodes: 0,
            episode_return: None,
            episode_length: None,
            simulator_warnings: 0,
            info: vec![("info/reward_ctrl".into(), -0.1)],
            metrics: vec![("q1_loss".into(), loss), ("temperature".into(), 2.0)],
        }
    }

    /// CRC-32C bit by bit, masked.
    fn naive_checksum(bytes: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
            }
        }
        let crc = u64::from(!crc);
        ((((crc >> 15) | (crc << 17)) + 0xa282_ead8) & 0xffff_ffff) as u32
    }

    /// The payloads of a file of records, with all checksums compared.
    fn payloads(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(12);
            let length = u64::from_le_bytes(head[..8].try_into().expect("eight")) as usize;
            assert_eq!(head[8..], naive_checksum(&head[..8]).to_le_bytes());
            let (payload, rest) = rest.split_at(length);
            assert_eq!(rest[..4], naive_checksum(payload).to_le_bytes());
            payloads.push(payload.to_owned());
            bytes = &rest[4..];
        }
        payloads
    }

    /// The fields of a protobuf message, understood without `prost`: number and value as bytes (of a
    /// varint: little-endian).
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let mut value = 0;
            for shift in (0..).step_by(7) {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                value |= u64::from(byte & 127) << shift;
                if byte < 128 {
                    break;
                }
            }
            value
        }
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let length = match key & 7 {
                0 => {
                    let value = varint(&mut bytes);
                    fields.push((key >> 3, value.to_le_bytes().to_vec()));
                    continue;
                }
                1 => 8,
                2 => varint(&mut bytes) as usize,
                5 => 4,
                kind => panic!("field of kind {kind}"),
            };
            fields.push((key >> 3, bytes[..length].to_vec()));
            bytes = &bytes[length..];
        }
        fields
    }

    /// What an event says: its step and the number of the field that says it, or its tags and values.
    fn read(payload: &[u8]) -> (u64, String) {
        let (mut step, mut what) = (0, String::new());
        for (number, value) in fields(payload) {
            match number {
                1 => assert!(f64::from_le_bytes(value.try_into().expect("eight")) > 1e9),
                2 => step = u64::from_le_bytes(value.try_into().expect("eight")),
                3 => what = String::from_utf8(value).expect("text"),
                5 => {
                    let scalars = fields(&value).into_iter().map(|(_, scalar)| {
                        let scalar = fields(&scalar);
                        let [(1, tag), (2, value)] = &scalar[..] else {
                            panic!("{scalar:?}");
                        };
                        let tag = String::from_utf8_lossy(tag);
                        let value = f32::from_le_bytes(value[..].try_into().expect("four"));
                        format!("{tag}={value}")
                    });
                    what = scalars.collect::<Vec<_>>().join(" ");
                }
                7 => {
                    let expected = (1, 1u64.to_le_bytes().to_vec());
                    assert_eq!(fields(&value), [expected], "START");
                    what = "start".to_owned();
                }
                other => panic!("field {other}"),
            }
        }
        (step, what)
    }

    /// The events of all files in the order in which viewers read them.
    fn events(run: &Path) -> Vec<(u64, String)> {
        let folder = run.join(TENSORBOARD);
        let names = event_files(&folder).expect("readable");
        let files = names.iter().map(|name| fs::read(folder.join(name)));
        let bytes: Vec<u8> = files.flat_map(|bytes| bytes.expect("readable")).collect();
        payloads(&bytes).iter().map(|bytes| read(bytes)).collect()
    }

    #[test]
    fn checksums_are_those_of_known_vectors() {
        let mask = |crc: u32| crc.rotate_right(15).wrapping_add(0xa282_ead8);
        // RFC 3720, B.4; and the catalogue's check value.
        let ascending: Vec<u8> = (0..32).collect();
        for (bytes, crc) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[255; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
            (b"123456789", 0xe306_9283),
        ] {
            assert_eq!(checksum(bytes), mask(crc));
            assert_eq!(naive_checksum(bytes), mask(crc));
        }
    }

    /// The beginning of a file that TensorFlow's own writer made.
    #[test]
    fn a_record_has_the_known_bytes() {
        let event = Event {
            wall_time: 1.0,
            step: 0,
            what: Some(What::FileVersion(FILE_VERSION.to_owned())),
        };
        let payload = event.encode_to_vec();
        let expected = b"\x09\0\0\0\0\0\0\xf0\x3f\x1a\x0dbrain.Event:2";
        assert_eq!(payload, expected);
        let record = record(&payload);
        let head = b"\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22";
        assert_eq!(record, [head, &payload[..], b"\x86\xbf\x57\x7a"].concat());
    }

    #[test]
    fn a_line_and_an_evaluation_are_read_back() {
        let folder = temporary();
        let run = folder.path();
        let mut log = EventLog::open(run, 0).expect("writable");
        log.metrics(&line(10, 0.1)).expect("writable");
        let row = EvalRow {
            step: 1 << 40,
            mean: -1.5,
            std: 0.0,
            returns: &[-1.5],
        };
        log.evaluation(row).expect("writable");
        log.metrics(&line(20, f32::INFINITY)).expect("writable");
        log.sync().expect("writable");
        let numbers = |loss| {
            let before = "time/env_steps_per_s=10 train/episodes=0 info/reward_ctrl=-0.1";
            let after = "train/simulator_warnings=0 metrics/temperature=2 time/update=3";
            format!("{before} loss/q1_loss={loss} {after} time/wall_time_s=0.5")
        };
        let expected = [
            (0, FILE_VERSION.to_owned()),
            (10, numbers("0.1")),
            (
                1 << 40,
                "eval/mean_return=-1.5 eval/std_return=0".to_owned(),
            ),
            (20, numbers("NaN")),
        ];
        let sorted = |(step, what): &(u64, String)| {
            let mut words: Vec<_> = what.split(' ').map(str::to_owned).collect();
            words.sort();
            (*step, words)
        };
        let found: Vec<_> = events(run).iter().map(sorted).collect();
        assert_eq!(found, expected.iter().map(sorted).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_of_a_run_that_goes_on_voids_and_repeats() {
        let folder = temporary();
        let run = folder.path();
        let lines = "{\"step\":10,\"update\":1}\n{\"step\":20,\"update\":2}\n";
        fs::write(run.join(METRICS), lines).expect("writable");
        let table = "step,mean_return,std_return\n10,1,0\n20,2,0\n";
        fs::write(run.join(crate::names::EVALUATIONS), table).expect("writable");
        let events_of = |step| {
            let before = events(run).len();
            EventLog::open(run, step).expect("writable");
            events(run).split_off(before)
        };
        let event = |step, what: &str| (step, what.to_owned());
        fs::create_dir(run.join(TENSORBOARD)).expect("writable");
        // Switched on on the way: everything so far.
        let all = [
            event(0, FILE_VERSION),
            event(10, "time/update=1"),
            event(20, "time/update=2"),
            event(10, "eval/mean_return=1 eval/std_return=0"),
            event(20, "eval/mean_return=2 eval/std_return=0"),
        ];
        assert_eq!(events_of(20), all);
        let last = [
            event(0, FILE_VERSION),
            event(20, "start"),
            event(20, "time/update=2"),
            event(20, "eval/mean_return=2 eval/std_return=0"),
        ];
        assert_eq!(events_of(20), last);
        assert_eq!(events_of(21), [event(0, FILE_VERSION), event(21, "start")]);
    }

    #[test]
    fn names_are_in_the_order_of_their_making() {
        let mut names = Vec::new();
        // In the same second, and after a clock that is behind.
        for now in [1_700_000_000, 1_700_000_000, 5, 1_800_000_000] {
            names.push(next_name(&names, now));
        }
        assert!(names.is_sorted(), "{names:?}");
        assert!(names[0].starts_with("events.out.tfevents.1700000000."));
        assert!(names[2].starts_with("events.out.tfevents.1700000002."));
        assert!(names[3].ends_with(&format!(".{}.3", std::process::id())));
    }
}
