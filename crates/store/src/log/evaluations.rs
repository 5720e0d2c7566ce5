//! Reading `eval.csv`, of a run that may be writing to it.

use std::path::Path;

use super::EVAL_LIMIT;
use crate::StoreError;
use crate::durable::read_limited;
use crate::names::{CONFIG, EVALUATIONS};

/// One evaluation of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvalPoint {
    /// Environment steps.
    pub step: f64,
    /// Mean return over the episodes.
    pub mean: f64,
    /// Standard deviation over the same.
    pub std: f64,
}

/// The evaluations of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluations {
    /// Ascending in their steps.
    pub points: Vec<EvalPoint>,
    /// Whether a last row was left out because it was not written to its end.
    pub half_written: bool,
}

impl Evaluations {
    /// Reads `eval.csv` of the run folder `run`: no points where the run has no evaluation yet.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read, and when `run` is no run folder.
    pub fn read(run: &Path) -> Result<Self, StoreError> {
        let path = run.join(EVALUATIONS);
        let bytes = match read_limited(&path, EVAL_LIMIT) {
            Ok(bytes) => bytes,
            // A run that has only begun.
            Err(_) if !exists(&path) && exists(&run.join(CONFIG)) => Vec::new(),
            Err(error) => return Err(error),
        };
        parse(&path, &bytes, 0)
    }
}

fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// The rows of the table. A process that dies while it writes leaves a row without a line end; a
/// copy made at that moment may get one behind too few columns. `before` rows stand above those in
/// `bytes`, for the numbers of lines in messages.
pub(super) fn parse(path: &Path, bytes: &[u8], before: usize) -> Result<Evaluations, StoreError> {
    let corrupt = |message: String| StoreError::corrupt(path, message);
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let mut half_written = whole < bytes.len();
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(&bytes[..whole]);
    let header = reader
        .headers()
        .map_err(|e| corrupt(e.to_string()))?
        .clone();
    if header.is_empty() {
        return Ok(Evaluations {
            points: Vec::new(),
            half_written,
        });
    }
    let column = |name: &str| {
        let place = header.iter().position(|column| column == name);
        place.ok_or_else(|| corrupt(format!("it has no column `{name}`")))
    };
    let columns = [
        column("step")?,
        column("mean_return")?,
        column("std_return")?,
    ];
    let records: Result<Vec<_>, _> = reader.records().collect();
    let mut records = records.map_err(|e| corrupt(e.to_string()))?;
    if !half_written && records.last().is_some_and(|row| row.len() < header.len()) {
        records.pop();
        half_written = true;
    }
    let mut points: Vec<EvalPoint> = Vec::with_capacity(records.len());
    for (row, record) in records.iter().enumerate() {
        let line = before + row + 2;
        if record.len() != header.len() {
            let (found, expected) = (record.len(), header.len());
            return Err(corrupt(format!(
                "line {line} has {found} columns, not {expected}"
            )));
        }
        let mut values = [0.0; 3];
        for (value, column) in values.iter_mut().zip(columns) {
            let text = &record[column];
            *value = text
                .parse()
                .ok()
                .filter(|v: &f64| v.is_finite())
                .ok_or_else(|| corrupt(format!("line {line}: `{text}` is no number")))?;
        }
        let [step, mean, std] = values;
        if points.last().is_some_and(|before| before.step >= step) {
            return Err(corrupt(format!(
                "line {line}: step {step} does not follow the one before"
            )));
        }
        points.push(EvalPoint { step, mean, std });
    }
    Ok(Evaluations {
        points,
        half_written,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "step,episodes,mean_return,std_return,return_0\n";

    fn steps(text: &str) -> (Vec<f64>, bool) {
        let read = parse(Path::new(EVALUATIONS), text.as_bytes(), 0).expect("readable");
        let steps = read.points.iter().map(|point| point.step);
        (steps.collect(), read.half_written)
    }

    #[test]
    fn a_file_that_is_not_a_table_of_evaluations_is_named() {
        for (text, complaint) in [
            ("a,b\n1,2\n", "no column `step`"),
            (
                "step,mean_return,std_return\n1,x,0\n",
                "line 2: `x` is no number",
            ),
            (
                "step,mean_return,std_return\n1,NaN,0\n",
                "line 2: `NaN` is no number",
            ),
            (
                "step,mean_return,std_return\n1,2\n3,4,5\n",
                "line 2 has 2 columns, not 3",
            ),
            (
                "step,mean_return,std_return\n1,2,3,4\n",
                "line 2 has 4 columns, not 3",
            ),
            (
                "step,mean_return,std_return\n2,2,3\n1,2,3\n",
                "line 3: step 1",
            ),
        ] {
            let error = parse(Path::new("eval.csv"), text.as_bytes(), 0).expect_err(complaint);
            let error = error.to_string();
            assert!(
                error.contains("eval.csv") && error.contains(complaint),
                "{error}"
            );
        }
    }

    #[test]
    fn a_half_written_last_row_is_left_out() {
        let rows = format!("{HEADER}10,1,-5,0,-5\n20,1,7,0,7\n");
        assert_eq!(steps(&rows), (vec![10.0, 20.0], false));
        // However little or much of the next row is there, its line end is not.
        let next = "30,1,-123.5,0,-123.5";
        for end in 1..=next.len() {
            assert_eq!(
                steps(&format!("{rows}{}", &next[..end])),
                (vec![10.0, 20.0], true)
            );
        }
        assert_eq!(steps(&format!("{rows}30,1,-1\n")), (vec![10.0, 20.0], true));
    }

    #[test]
    fn a_run_without_an_evaluation_has_no_points() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("eval.csv");
        for text in [
            "",
            "step,epi",
            HEADER,
            &format!("{HEADER}10,1,-"),
            &format!("{HEADER}10,1\n"),
        ] {
            std::fs::write(&path, text).expect("writable");
            let read = Evaluations::read(folder.path()).expect("readable");
            assert!(read.points.is_empty(), "{text}");
        }
        std::fs::remove_file(&path).expect("there");
        assert!(Evaluations::read(folder.path()).is_err(), "no run folder");
        std::fs::write(folder.path().join(CONFIG), "").expect("writable");
        let begun = Evaluations::read(folder.path()).expect("a run that has begun");
        assert_eq!(begun, Evaluations::default());
    }
}
