//! What runs show, of run folders and nothing else: learning curves as SVG and PNG, and a report with
//! tables, statistics and one HTML page. No tensor library is linked.
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

mod aggregate;
mod archive;
mod curve;
mod diagnosis;
mod draw;
mod error;
mod experiment;
mod page;
mod reference;
mod run;
mod seeds;
pub mod statistics;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rescore_store::durable::{create_folder, write_whole};
use rescore_store::output;

use aggregate::Aggregates;
pub use archive::Archive;
pub use curve::{Curve, Point};
pub use error::ReportError;
use experiment::{Experiment, experiments};
use page::Content;
use reference::References;
use run::Run;
pub use seeds::Group;
use statistics::Bootstrap;
use table::Row;
pub use table::csv_line;

/// The files of a report in its folder.
pub const REPORT_FILES: [&str; 3] = ["index.html", "report.md", "returns.csv"];

/// How a report is made.
#[derive(Debug, Clone, Default)]
pub struct ReportOptions {
    /// Files of published values and of what scores are normalised by.
    pub references: Vec<PathBuf>,
    /// Of the intervals: the same runs and the same seed give the same bytes.
    pub bootstrap: Bootstrap,
}

/// Writes the report of `runs` into the folder `out`: [`REPORT_FILES`], where those of an older report
/// are replaced. Runs of different tasks and settings are kept apart; what is missing is said, in the
/// files and in the list that this returns. Runs without an evaluation are left out with a warning.
///
/// # Errors
/// When a run or a file of reference values cannot be read, two runs differ in nothing, no run has an
/// evaluation, `out` holds something else, or a file cannot be written.
pub fn report(
    runs: &[PathBuf],
    out: &Path,
    options: &ReportOptions,
) -> Result<Vec<String>, ReportError> {
    require_report_folder(out)?;
    let references = References::read(&options.references)?;
    let mut found = Vec::new();
    for run in runs {
        found.extend(Run::read(run)?);
    }
    if found.is_empty() {
        return Err(no_evaluations());
    }
    let all = experiments(found)?;
    let bootstrap = &options.bootstrap;
    let rows: Vec<Row> = all.iter().filter_map(|e| Row::of(e, bootstrap)).collect();
    let aggregates = Aggregates::of(&all, &references, bootstrap);
    let notes = notes(&all, &rows);
    let content = Content {
        experiments: &all,
        rows: &rows,
        aggregates: aggregates.as_ref(),
        references: &references,
        notes: &notes,
        bootstrap,
    };
    let [page, words, returns] = REPORT_FILES;
    let texts = [
        (page, page::html(&content)),
        (words, table::markdown(&rows, aggregates.as_ref(), &notes)),
        (returns, table::returns_csv(&rows)),
    ];
    create_folder(out)?;
    for (name, text) in texts {
        write_whole(&out.join(name), text.as_bytes())?;
    }
    Ok(notes)
}

/// Requires that nothing but an older report lies in `out`.
fn require_report_folder(out: &Path) -> Result<(), ReportError> {
    let Ok(entries) = std::fs::read_dir(out) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !REPORT_FILES.iter().any(|known| name == *known) {
            return Err(ReportError::unfit(
                format!(
                    "{} holds {}, which is no file of a report",
                    out.display(),
                    name.display()
                ),
                "a report has a folder of its own, new, empty, or that of an older report",
            ));
        }
    }
    Ok(())
}

/// What a reader of the report must know.
fn notes(all: &[Experiment], rows: &[Row]) -> Vec<String> {
    let mut notes = Vec::new();
    for experiment in all {
        let (name, task) = (&experiment.name, &experiment.task);
        for (seed, step) in experiment.short() {
            let planned = experiment.planned();
            notes.push(format!(
                "{name} on {task}: seed {seed} has come to step {step} of {planned}"
            ));
        }
        let same = all.iter().filter(|other| other.task == *task);
        let seeds = same.flat_map(|other| other.runs.keys());
        let lacking: BTreeSet<i64> = seeds
            .filter(|seed| !experiment.runs.contains_key(seed))
            .copied()
            .collect();
        if !lacking.is_empty() {
            let lacking: Vec<String> = lacking.iter().map(i64::to_string).collect();
            notes.push(format!(
                "{name} on {task} lacks seed {}, which others have there",
                lacking.join(", ")
            ));
        }
        for run in experiment.runs.values().filter(|run| run.not_finite > 0) {
            notes.push(format!(
                "{}: {} numbers of its log are not finite and left out",
                run.path.display(),
                run.not_finite
            ));
        }
        if !rows
            .iter()
            .any(|row| row.name == *name && row.task == *task)
        {
            notes.push(format!(
                "{name} on {task} has a return that is not finite, and so no row in the table"
            ));
        }
    }
    let mut single: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for experiment in all.iter().filter(|e| e.runs.len() == 1) {
        let tasks = single.entry(&experiment.name).or_default();
        tasks.push(&experiment.task);
    }
    for (name, tasks) in single {
        let tasks = tasks.join(", ");
        notes.push(format!("{name} has one seed on {tasks}: no interval there"));
    }
    for experiment in all {
        let (task, steps) = (&experiment.task, experiment.planned());
        let longest = all.iter().filter(|other| other.task == *task);
        let longest = longest.map(Experiment::planned).fold(0.0, f64::max);
        if steps < longest {
            notes.push(format!(
                "{} on {task} is of {steps} steps, others there are not: compare curves, not ends",
                experiment.name
            ));
        }
    }
    notes
}

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

fn no_evaluations() -> ReportError {
    ReportError::unfit(
        "none of the runs has an evaluation yet",
        "runs are evaluated every config.evaluation.every steps",
    )
}

/// Draws the curves, whose bands are over `what`, into `out`.
fn write(curves: &[Curve], what: &str, format: &str, out: &Path) -> Result<(), ReportError> {
    if curves.is_empty() {
        return Err(no_evaluations());
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
