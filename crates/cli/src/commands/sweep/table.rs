//! `sweep status` and `sweep collect`: what is known of all runs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rescore_report::csv_line;
use rescore_runner::RunError;
use rescore_runner::sweep::{Plan, PlannedRun, State, Status};
use rescore_store::log::Evaluations;
use serde::Serialize;

use crate::commands::{print, print_json};

/// In place of a number that there is not.
const MISSING: &str = "missing";

/// A run of `status --json`.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    run: &'a PlannedRun,
    /// The run folder.
    path: PathBuf,
    #[serde(flatten)]
    status: Status,
}

/// Prints how far each run of `plan` has come.
pub(super) fn status(plan: &Plan, json: bool) -> Result<(), RunError> {
    let row = |run| {
        Ok(Row {
            run,
            path: plan.path(run),
            status: plan.status(run)?,
        })
    };
    let rows = plan.runs.iter().map(row);
    let rows = rows.collect::<Result<Vec<_>, RunError>>()?;
    if json {
        return print_json(&rows);
    }
    print(&format!(
        "{:>5}  {:<11}  {:>10} {:>10}  folder",
        "run", "state", "step", "of"
    ))?;
    for Row { run, path, status } in &rows {
        let step = status
            .step
            .map_or_else(|| "-".into(), |step| step.to_string());
        let detail = status.detail.iter().map(|detail| format!("  ({detail})"));
        print(&format!(
            "{:>5}  {:<11}  {step:>10} {:>10}  {}{}",
            run.index,
            status.state,
            run.steps,
            path.display(),
            detail.collect::<String>()
        ))?;
    }
    print(&State::count(rows.iter().map(|row| row.status.state)))
}

/// Prints a CSV with a row for each run of `plan`: its last and its best mean return of evaluations.
pub(super) fn collect(plan: &Plan) -> Result<(), RunError> {
    let runs = plan.runs.iter();
    let keys: BTreeSet<&String> = runs.flat_map(|run| run.settings.keys()).collect();
    let columns = ["run", "folder", "algorithm", "task", "seed"];
    let results = [
        "state",
        "planned_steps",
        "step",
        "final_return",
        "best_return",
    ];
    let mut header: Vec<String> = columns.map(str::to_owned).to_vec();
    header.extend(keys.iter().map(|key| (*key).clone()));
    header.extend(results.map(str::to_owned));
    print(csv_line(&header).trim_end())?;
    for run in &plan.runs {
        let status = plan.status(run)?;
        let mut cells = vec![
            run.index.to_string(),
            run.folder.clone(),
            run.algorithm.clone(),
            run.task.clone(),
            run.seed.to_string(),
        ];
        cells.extend(keys.iter().map(|key| {
            let value = run.settings.get(*key);
            value.map_or_else(String::new, |value| match value.as_str() {
                Some(text) => text.to_owned(),
                None => value.to_string(),
            })
        }));
        cells.extend([status.state.to_string(), run.steps.to_string()]);
        cells.extend(returns(plan, run, &status)?);
        print(csv_line(&cells).trim_end())?;
    }
    Ok(())
}

/// The step of the last evaluation, its mean return and the best mean return.
fn returns(plan: &Plan, run: &PlannedRun, status: &Status) -> Result<[String; 3], RunError> {
    let missing = || [MISSING; 3].map(str::to_owned);
    if !status.is_own {
        return Ok(missing());
    }
    let points = Evaluations::read(&plan.path(run))?.points;
    let Some(last) = points.last() else {
        return Ok(missing());
    };
    let best = points.iter().map(|point| point.mean);
    let best = best.fold(f64::NEG_INFINITY, f64::max);
    Ok([last.step, last.mean, best].map(|number| number.to_string()))
}
