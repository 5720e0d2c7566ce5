//! Learning curves as SVG and PNG, of run folders and nothing else: no tensor library is linked.
//!
//! ```
//! let run = tempfile::tempdir()?; // in place of the folder of a run
//! let evaluations = "step,episodes,mean_return,std_return,return_0,return_1\n\
//!                    1000,2,-300,50,-350,-250\n\
//!                    2000,2,-150,10,-160,-140\n";
//! std::fs::write(run.path().join("eval.csv"), evaluations)?;
//!
//! let picture = run.path().join("curve.svg");
//! rescore_report::plot(&[run.path().to_owned()], &picture)?;
//! assert!(std::fs::read_to_string(picture)?.starts_with("<svg"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod curve;
mod draw;
mod error;
mod seeds;

use std::path::{Path, PathBuf};

use rescore_store::{durable::write_whole, output};

pub use curve::{Curve, Point};
pub use error::ReportError;
pub use seeds::Group;

/// Draws the curves of `runs` over each other into `out`: mean return of the evaluations against
/// environment steps, with a band of one standard deviation over the episodes. A dashed line marks
/// where random warm-up ended in runs whose steps count it. Runs without an
/// evaluation are left out with a warning.
///
/// # Errors
/// When `out` is no name for a picture or must not be replaced, when a run cannot be read or none
/// has an evaluation, and when the file cannot be written.
pub fn plot(runs: &[PathBuf], out: &Path) -> Result<(), ReportError> {
    let format = output::picture(out, output::PICTURES)?;
    let mut curves = Vec::new();
    for run in runs {
        curves.extend(Curve::read(run)?);
    }
    write(&curves, "episodes", format, out)
}

/// As [`plot`], but runs that differ in nothing but their seed are one curve: their mean, with a
/// band of one standard deviation over them. Gives [`Group::summary`] of each.
///
/// # Errors
/// Also when two such runs have the same seed, or no evaluation at a step that all have.
pub fn plot_over_seeds(runs: &[PathBuf], out: &Path) -> Result<Vec<String>, ReportError> {
    let format = output::picture(out, output::PICTURES)?;
    let groups = Group::of(runs)?;
    let curves: Vec<_> = groups.iter().map(Group::curve).collect();
    let summaries = groups.iter().map(Group::summary);
    let summaries = summaries.collect::<Result<Vec<_>, _>>()?;
    write(&curves, "seeds", format, out)?;
    for group in &groups {
        group
            .missing()
            .iter()
            .for_each(|line| tracing::warn!("{line}"));
    }
    Ok(summaries)
}

/// Draws the curves, whose bands are over `what`, into `out`.
fn write(curves: &[Curve], what: &str, format: &str, out: &Path) -> Result<(), ReportError> {
    if curves.is_empty() {
        return Err(ReportError::unfit(
            "none of the runs has an evaluation yet",
            "runs are evaluated every config.evaluation.every steps",
        ));
    }
    let picture = match format {
        "png" => draw::png(curves, what),
        _ => draw::svg(curves, what),
    };
    let picture = picture.map_err(|error| ReportError::Draw {
        path: out.to_owned(),
        message: error.to_string(),
    })?;
    Ok(write_whole(out, &picture)?)
}
