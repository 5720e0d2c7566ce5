//! The learning curve of a run.

use std::path::Path;

use crate::RunError;
use crate::durable::read_text;
use crate::log::EVAL_LIMIT;

/// The learning curve of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Name of the run folder, or of what several runs have in common.
    pub name: String,
    /// Step, mean return and standard deviation of each evaluation, over its episodes or, for
    /// several runs, over them.
    pub points: Vec<(f64, f64, f64)>,
}

impl Curve {
    /// Reads `eval.csv` of the run folder `run`.
    ///
    /// # Errors
    /// When the file is missing, damaged or holds no evaluation yet.
    pub fn read(run: &Path) -> Result<Self, RunError> {
        let path = run.join("eval.csv");
        let text = read_text(&path, EVAL_LIMIT)?;
        let corrupt = |message: String| RunError::Corrupt {
            path: path.clone(),
            message,
        };
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().map_err(|e| corrupt(e.to_string()))?;
        let column = |name: &str| {
            let place = header.iter().position(|column| column == name);
            place.ok_or_else(|| corrupt(format!("it has no column `{name}`")))
        };
        let columns = [
            column("step")?,
            column("mean_return")?,
            column("std_return")?,
        ];
        let mut points = Vec::new();
        for (row, record) in reader.records().enumerate() {
            let record = record.map_err(|e| corrupt(e.to_string()))?;
            let mut values = [0.0; 3];
            for (value, column) in values.iter_mut().zip(columns) {
                let text = record.get(column).unwrap_or_default();
                *value = text
                    .parse()
                    .ok()
                    .filter(|v: &f64| v.is_finite())
                    .ok_or_else(|| corrupt(format!("line {}: `{text}` is no number", row + 2)))?;
            }
            points.push((values[0], values[1], values[2]));
        }
        if points.is_empty() {
            return Err(corrupt("it holds no evaluation yet".into()));
        }
        let name = std::fs::canonicalize(run)
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Ok(Self {
            name: name.unwrap_or_else(|| run.display().to_string()),
            points,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_a_table_of_evaluations_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (text, complaint) in [
            ("a,b\n1,2\n", "no column `step`"),
            (
                "step,mean_return,std_return\n1,x,0\n",
                "line 2: `x` is no number",
            ),
            ("step,mean_return,std_return\n", "no evaluation yet"),
        ] {
            std::fs::write(folder.path().join("eval.csv"), text).expect("writable");
            let error = Curve::read(folder.path()).expect_err("damaged").to_string();
            assert!(
                error.contains("eval.csv") && error.contains(complaint),
                "{error}"
            );
        }
    }
}
