//! Reading logs that runs may be writing to: each time what was appended since the time before.

use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::evaluations::{EvalPoint, parse};
use crate::StoreError;
use crate::durable::open_regular;
use crate::names::EVALUATIONS;

/// Bytes that are read at once. What is left of a longer log comes the next time.
const AT_ONCE: u64 = 16 << 20;
/// Of the last line that was read so many bytes are compared the next time.
const COMPARED: usize = 64 << 10;

/// A log of lines, and how far it has been read.
#[derive(Debug)]
pub struct Follow {
    path: PathBuf,
    /// Behind the last whole line that was read.
    offset: u64,
    /// That line, by which a log is known again: a run that goes on from a checkpoint cuts its log, and
    /// what it writes instead has another clock.
    last: Vec<u8>,
}

/// What was read of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Whether the log is another than before, or was cut: what was read of it before is void.
    pub anew: bool,
    /// Whole lines.
    pub lines: Vec<u8>,
    /// Whether there is more to be read at once.
    pub more: bool,
}

impl Follow {
    /// The log in the file `path`, which need not be there yet; nothing is read.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            last: Vec::new(),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole lines that were appended since the last time. A line that has no end yet is left for
    /// the next time.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is longer than makes sense.
    pub fn read(&mut self) -> Result<Appended, StoreError> {
        let (mut file, length) = match open_regular(&self.path) {
            Ok(opened) => opened,
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(self.begin_anew());
            }
            Err(error) => return Err(error),
        };
        let io = |error| StoreError::io("read", &self.path)(error);
        // In one reading, so that the file cannot be cut between the comparison and the rest.
        let known = self.last.len() as u64;
        let mut bytes = Vec::new();
        if length >= self.offset {
            file.seek(SeekFrom::Start(self.offset - known))
                .map_err(io)?;
            (&file)
                .take(known + AT_ONCE)
                .read_to_end(&mut bytes)
                .map_err(io)?;
        }
        let mut appended = Appended::default();
        if length >= self.offset && bytes.starts_with(&self.last) {
            bytes.drain(..self.last.len());
        } else {
            bytes.clear();
            file.seek(SeekFrom::Start(0)).map_err(io)?;
            (&file).take(AT_ONCE).read_to_end(&mut bytes).map_err(io)?;
            appended = self.begin_anew();
        }
        appended.more = bytes.len() as u64 == AT_ONCE;
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let end = end.map_or(0, |end| end + 1);
        if end == 0 && appended.more {
            let message = format!("a line is longer than {AT_ONCE} bytes");
            return Err(StoreError::corrupt(&self.path, message));
        }
        bytes.truncate(end);
        self.offset += end as u64;
        if let Some(last) = bytes.split_inclusive(|byte| *byte == b'\n').next_back() {
            self.last = last[last.len().saturating_sub(COMPARED)..].to_vec();
        }
        appended.lines = bytes;
        Ok(appended)
    }

    fn begin_anew(&mut self) -> Appended {
        let anew = self.offset > 0;
        self.offset = 0;
        self.last.clear();
        Appended {
            anew,
            ..Appended::default()
        }
    }
}

/// The evaluations of a run that goes on.
#[derive(Debug)]
pub struct FollowEvaluations {
    log: Follow,
    header: Vec<u8>,
    rows: usize,
    points: Vec<EvalPoint>,
    damage: Option<String>,
}

impl FollowEvaluations {
    /// Those of the run folder `run`, of which none is read yet.
    pub fn of(run: &Path) -> Self {
        Self {
            log: Follow::new(run.join(EVALUATIONS)),
            header: Vec::new(),
            rows: 0,
            points: Vec::new(),
            damage: None,
        }
    }

    /// Reads the rows that were appended since the last time.
    ///
    /// # Errors
    /// When the file cannot be read. What it says that cannot be understood is in [`Self::damage`].
    pub fn read(&mut self) -> Result<(), StoreError> {
        loop {
            let appended = self.log.read()?;
            if appended.anew {
                (self.header, self.rows, self.points, self.damage) = Default::default();
            }
            let mut lines = &appended.lines[..];
            if self.header.is_empty()
                && let Some(end) = lines.iter().position(|byte| *byte == b'\n')
            {
                let (header, rows) = lines.split_at(end + 1);
                self.header = header.to_vec();
                lines = rows;
            }
            // Of a table that is damaged the rows before the damage are shown.
            if self.damage.is_none() && !self.header.is_empty() {
                self.take_in(lines);
            }
            if !appended.more {
                return Ok(());
            }
        }
    }

    fn take_in(&mut self, lines: &[u8]) {
        let table = [&self.header, lines].concat();
        let last = self.points.last().map(|point| point.step);
        match parse(self.log.path(), &table, self.rows) {
            Ok(read) => {
                let first = read.points.first().map(|point| point.step);
                if let (Some(last), Some(first)) = (last, first)
                    && first <= last
                {
                    let path = self.log.path().display();
                    self.damage = Some(format!(
                        "{path} is damaged: step {first} does not follow the one before"
                    ));
                    return;
                }
                self.rows += lines.split_inclusive(|byte| *byte == b'\n').count();
                self.points.extend(read.points);
            }
            Err(error) => self.damage = Some(error.to_string()),
        }
    }

    /// The evaluations so far, ascending in their steps.
    pub fn points(&self) -> &[EvalPoint] {
        &self.points
    }

    /// What in the file cannot be understood.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn lines(log: &mut Follow) -> (bool, String) {
        let read = log.read().expect("readable");
        (read.anew, String::from_utf8(read.lines).expect("text"))
    }

    #[test]
    fn only_what_was_appended_is_read_and_a_partial_line_is_left() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        let mut log = Follow::new(path.clone());
        let append = |text: &str| {
            let file = fs::File::options().create(true).append(true).open(&path);
            file.expect("writable")
                .write_all(text.as_bytes())
                .expect("writable");
        };
        assert_eq!(log.read().expect("no file yet"), Appended::default());
        append("one\ntwo\nth");
        assert_eq!(lines(&mut log), (false, "one\ntwo\n".to_owned()));
        assert_eq!(lines(&mut log), (false, String::new()));
        append("ree");
        assert_eq!(lines(&mut log), (false, String::new()));
        append("\n");
        assert_eq!(lines(&mut log), (false, "three\n".to_owned()));
    }

    #[test]
    fn a_log_that_was_cut_or_replaced_is_read_anew() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        let mut log = Follow::new(path.clone());
        let mut after = |text: &str| {
            fs::write(&path, text).expect("writable");
            lines(&mut log)
        };
        assert_eq!(after("one\ntwo\n"), (false, "one\ntwo\n".to_owned()));
        // Shorter.
        assert_eq!(after("one\n"), (true, "one\n".to_owned()));
        // Of the same length, and longer, with another line in place of the last that was read.
        assert_eq!(after("two\n"), (true, "two\n".to_owned()));
        assert_eq!(after("six\nseven\n"), (true, "six\nseven\n".to_owned()));
        assert_eq!(after(""), (true, String::new()));
        assert_eq!(after("six\n"), (false, "six\n".to_owned()));
        fs::remove_file(&path).expect("there");
        assert_eq!(lines(&mut log), (true, String::new()));
    }

    #[test]
    fn evaluations_are_followed_and_damage_is_kept_until_the_file_is_another() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(EVALUATIONS);
        let header = "step,episodes,mean_return,std_return,return_0\n";
        let mut evaluations = FollowEvaluations::of(folder.path());
        let mut after = |text: &str| {
            fs::write(&path, format!("{header}{text}")).expect("writable");
            evaluations.read().expect("readable");
            let means = evaluations.points().iter().map(|point| point.mean);
            let damage = evaluations.damage().unwrap_or_default().to_owned();
            (means.collect::<Vec<_>>(), damage)
        };
        assert_eq!(after(""), (vec![], String::new()));
        assert_eq!(after("10,1,1,0,1\n20,1,2,"), (vec![1.0], String::new()));
        let all = "10,1,1,0,1\n20,1,2,0,2\n";
        assert_eq!(after(all), (vec![1.0, 2.0], String::new()));
        // More episodes from here on: the table was written anew.
        let wider = "10,1,1,0,1,\n20,1,2,0,2,\n30,2,3,0,3,3\n";
        let header = "step,episodes,mean_return,std_return,return_0,return_1\n";
        fs::write(&path, format!("{header}{wider}")).expect("writable");
        evaluations.read().expect("readable");
        assert_eq!(evaluations.points().len(), 3);
        for (row, complaint) in [
            ("40,2,x,0,3,3\n", "line 5: `x`"),
            ("30,2,1,0,1,1\n", "step 30"),
        ] {
            fs::write(&path, format!("{header}{wider}{row}50,1,1,0,1,\n")).expect("writable");
            evaluations.read().expect("readable");
            assert_eq!(evaluations.points().len(), 3);
            let damage = evaluations.damage().unwrap_or_default();
            assert!(damage.contains(complaint), "{damage}");
            fs::write(&path, format!("{header}{wider}")).expect("writable");
            evaluations.read().expect("readable");
            assert_eq!(evaluations.damage(), None);
        }
    }
}
