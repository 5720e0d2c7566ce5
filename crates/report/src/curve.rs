//! The learning curve of a run.

use std::path::Path;

use rescore_store::durable::read_text;
use rescore_store::log::Evaluations;
use rescore_store::names::{CONFIG, EVALUATIONS};
use rescore_store::run_folder::CONFIG_LIMIT;

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
    /// The step at which random warm-up ended, where steps count it.
    pub warmup_end: Option<f64>,
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
            warmup_end: warmup_end(run),
            runs: 1,
        }))
    }
}

impl Curve {
    /// The mean return at `step`, or on the line between the evaluations before and after it.
    pub fn on_line(&self, step: f64) -> Option<f64> {
        let after = self.points.partition_point(|point| point.step < step);
        let next = self.points.get(after)?;
        if next.step <= step {
            return Some(next.mean);
        }
        let before = self.points.get(after.checked_sub(1)?)?;
        let share = (step - before.step) / (next.step - before.step);
        Some(before.mean + share * (next.mean - before.mean))
    }
}

/// The step at which the warm-up of `run` ended, where its configuration says that steps count it:
/// that of the last round of all environments. Configurations of earlier versions do not say so,
/// because they counted none. A folder of evaluations alone has no configuration.
fn warmup_end(run: &Path) -> Option<f64> {
    let text = read_text(&run.join(CONFIG), CONFIG_LIMIT).ok()?;
    let config: toml::Table = text.parse().ok()?;
    let training = config.get("training")?;
    let number = |key: &str| u64::try_from(training.get(key)?.as_integer()?).ok();
    let counted = training.get("count_warmup")?.as_bool()?;
    let (steps, num_envs) = (number("warmup_steps")?, number("num_envs")?);
    let end = steps.checked_next_multiple_of(num_envs)?;
    (counted && end > 0).then_some(end as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: Option<&str>) -> Option<f64> {
        let run = tempfile::tempdir().expect("a temporary folder");
        let evaluations = "step,episodes,mean_return,std_return,return_0\n2000,1,-150,0,-150\n";
        std::fs::write(run.path().join(EVALUATIONS), evaluations).expect("writable");
        if let Some(text) = config {
            std::fs::write(run.path().join(CONFIG), text).expect("writable");
        }
        let curve = Curve::read(run.path()).expect("readable");
        curve.expect("an evaluation").warmup_end
    }

    #[test]
    fn the_end_of_a_warm_up_that_counts_is_known() {
        let training = |keys: &str| format!("seed = 0\n[training]\nwarmup_steps = 1001\n{keys}");
        let counted = training("num_envs = 4\ncount_warmup = true\n");
        assert_eq!(read(Some(&counted)), Some(1004.0));
        for config in [
            "num_envs = 4\ncount_warmup = false\n",
            // Of earlier versions.
            "num_envs = 4\n",
            "count_warmup = true\n",
            "num_envs = 0\ncount_warmup = true\n",
            "num_envs = -4\ncount_warmup = true\n",
            "num_envs = 4\ncount_warmup = \"yes\"\n",
            "num_envs = = 4\n",
        ] {
            assert_eq!(read(Some(&training(config))), None, "{config}");
        }
        let none = counted.replace("1001", "0");
        assert_eq!(read(Some(&none)), None, "no warm-up is no event");
        assert_eq!(read(Some("steps = 5\n")), None);
        assert_eq!(read(None), None);
    }
}
