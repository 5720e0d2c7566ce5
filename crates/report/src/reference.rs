//! Reference values: what others reached, with sources, and what scores are normalised by.

use std::path::Path;

use rescore_store::{StoreError, durable::read_text};
use serde::Deserialize;

use crate::ReportError;

/// Larger files are no tables of reference values.
const LIMIT: u64 = 16 << 20;

/// A published return.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Task with its version.
    pub task: String,
    /// Method, or "random".
    pub method: String,
    /// Environment steps.
    pub steps: u64,
    /// Updates for each environment step.
    pub update_to_data: Option<f64>,
    /// "final" or "best" evaluation of a run.
    pub protocol: String,
    /// Runs.
    pub seeds: Option<u32>,
    /// Mean return.
    pub mean: f64,
    /// Standard deviation over runs.
    pub std: Option<f64>,
    /// Whether the source could be read.
    pub verified: bool,
    /// Where it is from.
    pub source: String,
}

/// Reference values of one or more files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct References(pub Vec<Reference>);

/// Method whose return is the score 0.
const LOW: &str = "random";
/// Method whose return after a million steps is the score 1.
const HIGH: &str = "SAC";
const HIGH_STEPS: u64 = 1_000_000;

impl References {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them cannot be read or a row of it is wrong.
    pub fn read(files: &[impl AsRef<Path>]) -> Result<Self, ReportError> {
        let mut all = Vec::new();
        for file in files {
            let path = file.as_ref();
            let text = read_text(path, LIMIT)?;
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            for (number, row) in reader.deserialize().enumerate() {
                let row: Reference = row.map_err(|error| {
                    StoreError::corrupt(path, format!("row {}: {error}", number + 1))
                })?;
                if !["final", "best"].contains(&row.protocol.as_str()) || !row.mean.is_finite() {
                    let message = format!(
                        "row {}: the protocol is \"final\" or \"best\", and the mean a number",
                        number + 1
                    );
                    return Err(StoreError::corrupt(path, message).into());
                }
                all.push(row);
            }
        }
        Ok(Self(all))
    }

    /// The reference values of `task`.
    pub fn of<'a>(&'a self, task: &'a str) -> impl Iterator<Item = &'a Reference> {
        self.0.iter().filter(move |row| row.task == task)
    }

    /// The returns that are the scores 0 and 1 of `task`: those of random actions and of SAC after a
    /// million steps.
    pub fn scale(&self, task: &str) -> Option<[f64; 2]> {
        let find = |method: &str, steps: Option<u64>| {
            let fits = |row: &&Reference| {
                row.verified
                    && row.protocol == "final"
                    && row.method == method
                    && steps.is_none_or(|steps| row.steps == steps)
            };
            self.of(task).find(fits).map(|row| row.mean)
        };
        let [low, high] = [find(LOW, None)?, find(HIGH, Some(HIGH_STEPS))?];
        (high > low).then_some([low, high])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "task,method,steps,update_to_data,protocol,seeds,mean,std,verified,source\n";

    fn read(rows: &str) -> Result<References, ReportError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("values.csv");
        std::fs::write(&file, format!("{HEADER}{rows}")).expect("writable");
        References::read(&[file])
    }

    #[test]
    fn a_scale_is_of_verified_final_values() {
        let rows = "Ant-v4,random,1000,,final,1,-50,,true,here\n\
                    Ant-v4,SAC,200000,1,final,10,2296,,true,there\n\
                    Ant-v4,SAC,1000000,1,final,10,5734,674,true,there\n\
                    Hopper-v4,random,1000,,final,1,18,,true,here\n\
                    Hopper-v4,SAC,1000000,1,best,10,3000,,true,there\n\
                    Hopper-v4,SAC,1000000,1,final,10,2787,,false,hearsay\n";
        let values = read(rows).expect("a table");
        assert_eq!(values.scale("Ant-v4"), Some([-50.0, 5734.0]));
        assert_eq!(values.scale("Hopper-v4"), None);
        assert_eq!(values.of("Ant-v4").count(), 3);
    }

    #[test]
    fn wrong_rows_are_named() {
        for row in [
            "Ant-v4,SAC,many,1,final,10,1,,true,x\n",
            "Ant-v4,SAC,10,1,last,10,1,,true,x\n",
            "Ant-v4,SAC,10,1,final,10,NaN,,true,x\n",
        ] {
            let error = read(row).expect_err(row);
            assert!(error.to_string().contains("row 1"), "{error}");
        }
    }
}
