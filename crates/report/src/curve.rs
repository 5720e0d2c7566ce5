//! The learning curve of a run.

use std::path::Path;

use rescore_store::log::Evaluations;
use rescore_store::names::EVALUATIONS;

use crate::ReportError;

/// One evaluation of a run, or the evaluations of several runs at one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Environment steps.
    pub step: f64,
    /// Mean return: over the episodes, or over the runs.
    pub mean: f64,
    /// Standard deviation over the same.
    pub std: f64,
    /// Number of runs that have a part in it.
    pub runs: usize,
}

/// The learning curve of one run or of several together.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Name of the run folder, or of what several runs have in common.
    pub name: String,
    /// Ascending in their steps.
    pub points: Vec<Point>,
    /// Number of runs. A point of fewer of them is drawn as incomplete.
    pub runs: usize,
}

impl Curve {
    /// The curve of the run in the folder `run`. A last evaluation that was not written to its end
    /// is left out with a warning. Gives nothing, with a warning, for a run that has no evaluation
    /// yet.
    ///
    /// # Errors
    /// When `eval.csv` is damaged or cannot be read, and when `run` is no run folder.
    pub fn read(run: &Path) -> Result<Option<Self>, ReportError> {
        let evaluations = Evaluations::read(run)?;
        if evaluations.half_written {
            tracing::warn!(
                "{}: the last row was not written to its end and is left out",
                run.join(EVALUATIONS).display()
            );
        }
        if evaluations.points.is_empty() {
            tracing::warn!("{} has no evaluation yet and is left out", run.display());
            return Ok(None);
        }
        let name = std::fs::canonicalize(run)
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let points = evaluations.points.into_iter().map(|point| Point {
            step: point.step,
            mean: point.mean,
            std: point.std,
            runs: 1,
        });
        Ok(Some(Self {
            name: name.unwrap_or_else(|| run.display().to_string()),
            points: points.collect(),
            runs: 1,
        }))
    }
}
