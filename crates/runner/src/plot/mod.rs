//! Learning curves as SVG and PNG.

mod curve;
mod draw;
mod seeds;

use std::path::{Path, PathBuf};

use crate::durable::write_whole;
use crate::{RunError, output};
pub use curve::{Curve, Point};
pub use seeds::Group;

/// Draws the curves of `runs` over each other into `out`: mean return of the evaluations against
/// environment steps, with a band of one standard deviation over the episodes. Runs without an
/// evaluation are left out with a warning.
///
/// # Errors
/// When `out` is no name for a picture or must not be replaced, when a run cannot be read or none
/// has an evaluation, and when the file cannot be written.
pub fn plot(runs: &[PathBuf], out: &Path) -> Result<(), RunError> {
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
pub fn plot_over_seeds(runs: &[PathBuf], out: &Path) -> Result<Vec<String>, RunError> {
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
fn write(curves: &[Curve], what: &str, format: &str, out: &Path) -> Result<(), RunError> {
    if curves.is_empty() {
        return Err(RunError::usage(
            "none of the runs has an evaluation yet",
            "runs are evaluated every training.eval_every steps",
        ));
    }
    let picture = match format {
        "png" => draw::png(curves, what),
        _ => draw::svg(curves, what),
    };
    let picture = picture.map_err(|error| RunError::Plot {
        path: out.to_owned(),
        message: error.to_string(),
    })?;
    write_whole(out, &picture)
}
