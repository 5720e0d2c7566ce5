//! The tables of a report, as CSV and as Markdown.

use std::fmt::Write as _;

use crate::aggregate::Aggregates;
use crate::experiment::Experiment;
use crate::statistics::{Bootstrap, Estimate, Scores};

/// A row for each experiment on each task.
#[derive(Debug, Clone)]
pub struct Row {
    /// Task.
    pub task: String,
    /// Name of the experiment.
    pub name: String,
    /// Seeds of its runs.
    pub seeds: Vec<i64>,
    /// Steps that the runs were to have.
    pub planned: f64,
    /// Seeds that have not come so far, with where they stand.
    pub short: Vec<(i64, f64)>,
    /// Mean over runs of the last evaluation.
    pub last: Estimate,
    /// Mean over runs of the best evaluation.
    pub best: Estimate,
    /// Mean hours of a run.
    pub hours: Option<f64>,
}

impl Row {
    /// The row of `experiment`; none where a return is no number.
    pub fn of(experiment: &Experiment, bootstrap: &Bootstrap) -> Option<Self> {
        let mean = |best| {
            let scores = Scores::new(vec![experiment.returns(best)])?;
            Some(bootstrap.estimate(&scores, Scores::mean))
        };
        Some(Self {
            task: experiment.task.clone(),
            name: experiment.name.clone(),
            seeds: experiment.runs.keys().copied().collect(),
            planned: experiment.planned(),
            short: experiment.short(),
            last: mean(false)?,
            best: mean(true)?,
            hours: experiment.hours(),
        })
    }
}

/// A number of a table, with its interval where there is one.
pub fn shown(estimate: &Estimate, decimals: usize) -> String {
    let value = format!("{:.decimals$}", estimate.value);
    match estimate.interval {
        Some([low, high]) => format!("{value} [{low:.decimals$}, {high:.decimals$}]"),
        None => value,
    }
}

/// The least and the most of something, in words.
pub fn counts([fewest, most]: [usize; 2]) -> String {
    if fewest == most {
        return fewest.to_string();
    }
    format!("{fewest} to {most}")
}

/// A line of CSV: cells between commas, with quotes where one holds a comma, a quote or a line end.
pub fn csv_line(cells: &[String]) -> String {
    let quoted = cells.iter().map(|cell| {
        let special = cell.contains([',', '"', '\n']);
        if special {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.clone()
        }
    });
    quoted.collect::<Vec<_>>().join(",") + "\n"
}

/// `returns.csv`.
pub fn returns_csv(rows: &[Row]) -> String {
    let header = [
        "task",
        "experiment",
        "seeds",
        "planned_steps",
        "short_seeds",
        "final",
        "final_low",
        "final_high",
        "best",
        "best_low",
        "best_high",
        "hours",
    ];
    let mut text = header.join(",") + "\n";
    let bounds = |estimate: &Estimate| {
        let bound = |i: usize| {
            estimate
                .interval
                .map_or(String::new(), |b| b[i].to_string())
        };
        [estimate.value.to_string(), bound(0), bound(1)]
    };
    for row in rows {
        let [last, last_low, last_high] = bounds(&row.last);
        let [best, best_low, best_high] = bounds(&row.best);
        text += &csv_line(&[
            row.task.clone(),
            row.name.clone(),
            row.seeds.len().to_string(),
            row.planned.to_string(),
            row.short.len().to_string(),
            last,
            last_low,
            last_high,
            best,
            best_low,
            best_high,
            row.hours
                .map_or(String::new(), |hours| format!("{hours:.4}")),
        ]);
    }
    text
}

/// `report.md`.
pub fn markdown(rows: &[Row], aggregates: Option<&Aggregates>, notes: &[String]) -> String {
    let mut text = String::from(
        "# Report\n\nReturns are means over seeds, in brackets 95 % bootstrap intervals over seeds \
         (one seed has none). *final*: the last evaluation of every run; *best*: the best one.\n\n\
         | task | experiment | seeds | steps | final | best | hours |\n| --- | --- | --- | --- | --- \
         | --- | --- |\n",
    );
    for row in rows {
        let hours = row
            .hours
            .map_or(String::new(), |hours| format!("{hours:.2}"));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {hours} |",
            row.task,
            row.name,
            row.seeds.len(),
            row.planned,
            shown(&row.last, 0),
            shown(&row.best, 0),
        );
    }
    if let Some(all) = aggregates {
        text += "\n## Over tasks\n\nScores are 0 for random actions and 1 for SAC after a million \
                 steps, of the last evaluations.\n\n| experiment | seeds a task | IQM | median | mean \
                 | optimality gap |\n| --- | --- | --- | --- | --- | --- |\n";
        for of in &all.of {
            let seeds = counts(of.seeds);
            let _ = writeln!(
                text,
                "| {} | {seeds} | {} | {} | {} | {} |",
                of.name,
                shown(&of.iqm, 3),
                shown(&of.median, 3),
                shown(&of.mean, 3),
                shown(&of.optimality_gap, 3),
            );
        }
        for (name, lacking) in &all.left_out {
            let _ = write!(
                text,
                "\n{name} is left out: no runs of {}.\n",
                lacking.join(", ")
            );
        }
        if !all.improvements.is_empty() {
            text += "\n| experiment | better than | probability |\n| --- | --- | --- |\n";
        }
        for (a, b, of) in &all.improvements {
            let _ = writeln!(text, "| {a} | {b} | {} |", shown(of, 2));
        }
    }
    if !notes.is_empty() {
        text += "\n## Notes\n\n";
        for note in notes {
            let _ = writeln!(text, "* {note}");
        }
    }
    text
}
