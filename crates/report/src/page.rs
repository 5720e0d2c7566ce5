//! The report as one HTML file that needs no other and no network.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::aggregate::Aggregates;
use crate::diagnosis::DIAGNOSES;
use crate::experiment::{Band, Experiment};
use crate::reference::References;
use crate::statistics::Bootstrap;
use crate::table::{Row, counts, shown};

const PAGE: &str = include_str!("../assets/page.html");
const STYLE: &str = include_str!("../assets/page.css");
const SCRIPT: &str = include_str!("../assets/page.js");

/// Everything that a page shows.
#[derive(Debug)]
pub struct Content<'a> {
    /// Of every task.
    pub experiments: &'a [Experiment],
    /// Of the table.
    pub rows: &'a [Row],
    /// Over tasks, where there are reference values.
    pub aggregates: Option<&'a Aggregates>,
    /// Published values.
    pub references: &'a References,
    /// What a reader must know.
    pub notes: &'a [String],
    /// Of the intervals.
    pub bootstrap: &'a Bootstrap,
}

/// The text of the page.
pub fn html(content: &Content<'_>) -> String {
    let runs: usize = content.experiments.iter().map(|e| e.runs.len()).sum();
    let tasks = tasks(content.experiments);
    let names = names(content.experiments);
    let summary = format!(
        "{} of {} on {}. Intervals are of {} resamples with seed {}.",
        counted(runs, "run"),
        counted(names.len(), "experiment"),
        counted(tasks.len(), "task"),
        content.bootstrap.replications,
        content.bootstrap.seed
    );
    let fill = [
        ("{{style}}", STYLE.to_owned()),
        ("{{script}}", SCRIPT.to_owned()),
        ("{{summary}}", escaped(&summary)),
        ("{{notes}}", notes(content.notes)),
        ("{{returns}}", returns(content.rows)),
        ("{{aggregates}}", aggregates(content.aggregates)),
        ("{{references}}", references(content.references, &tasks)),
        // Nothing in it ends the script element.
        (
            "{{data}}",
            data(content, &tasks, &names)
                .to_string()
                .replace('<', "\\u003c"),
        ),
    ];
    // From one place to the next, so that no filled-in text is filled in again.
    let mut page = String::with_capacity(PAGE.len() + SCRIPT.len());
    let mut rest = PAGE;
    while let Some(at) = rest.find("{{") {
        page += &rest[..at];
        rest = &rest[at..];
        let (name, text) = (fill.iter())
            .find(|(name, _)| rest.starts_with(name))
            .expect("every place of the page is known");
        page += text;
        rest = &rest[name.len()..];
    }
    page + rest
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

fn unique<'a>(all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found: Vec<&str> = all.collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn tasks(experiments: &[Experiment]) -> Vec<&str> {
    unique(experiments.iter().map(|e| e.task.as_str()))
}

fn names(experiments: &[Experiment]) -> Vec<&str> {
    unique(experiments.iter().map(|e| e.name.as_str()))
}

/// Text for an element of HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn notes(notes: &[String]) -> String {
    if notes.is_empty() {
        return String::new();
    }
    let items = notes
        .iter()
        .map(|note| format!("<li>{}</li>", escaped(note)));
    format!(
        "<div class=\"notes\"><ul>{}</ul></div>",
        items.collect::<String>()
    )
}

/// A table whose columns after the first `words` are numbers.
fn table(header: &[&str], words: usize, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = String::from("<div class=\"scroll\"><table><thead><tr>");
    let class = |column: usize| {
        if column < words {
            ""
        } else {
            " class=\"number\""
        }
    };
    for (column, name) in header.iter().enumerate() {
        let _ = write!(text, "<th{}>{}</th>", class(column), escaped(name));
    }
    text += "</tr></thead><tbody>";
    for row in rows {
        text += "<tr>";
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(text, "<td{}>{}</td>", class(column), escaped(cell));
        }
        text += "</tr>";
    }
    text + "</tbody></table></div>"
}

fn returns(rows: &[Row]) -> String {
    let header = [
        "task",
        "experiment",
        "seeds",
        "steps",
        "final",
        "best",
        "hours a run",
    ];
    let cells = |row: &Row| {
        let seeds = match row.short.len() {
            0 => row.seeds.len().to_string(),
            short => format!("{} ({short} short)", row.seeds.len()),
        };
        vec![
            row.task.clone(),
            row.name.clone(),
            seeds,
            row.planned.to_string(),
            shown(&row.last, 0),
            shown(&row.best, 0),
            row.hours
                .map_or(String::new(), |hours| format!("{hours:.2}")),
        ]
    };
    table(&header, 2, rows.iter().map(cells))
}

fn aggregates(all: Option<&Aggregates>) -> String {
    let Some(all) = all else {
        return String::new();
    };
    let tasks: Vec<String> = all
        .tasks
        .iter()
        .map(|(task, [low, high])| format!("{task} ({low:.0}, {high:.0})"))
        .collect();
    let mut text = format!(
        "<h2>Over tasks</h2><p>Scores of the last evaluations, 0 for random actions and 1 for SAC after \
         a million steps: {}.</p>",
        escaped(&tasks.join(", "))
    );
    let header = [
        "experiment",
        "seeds a task",
        "IQM",
        "median",
        "mean",
        "optimality gap",
    ];
    let rows = all.of.iter().map(|of| {
        let seeds = counts(of.seeds);
        let numbers = [&of.iqm, &of.median, &of.mean, &of.optimality_gap];
        let numbers = numbers.map(|estimate| shown(estimate, 3));
        [vec![of.name.clone(), seeds], numbers.to_vec()].concat()
    });
    text += &table(&header, 1, rows);
    for (name, lacking) in &all.left_out {
        let _ = write!(
            text,
            "<p class=\"short\">{} is left out: no runs of {}.</p>",
            escaped(name),
            escaped(&lacking.join(", "))
        );
    }
    if !all.improvements.is_empty() {
        let rows = all.improvements.iter();
        let rows = rows.map(|(a, b, of)| vec![a.clone(), b.clone(), shown(of, 2)]);
        text += "<p>Probability that a run of the first has a higher score than one of the second, mean \
                 over tasks:</p>";
        text += &table(&["experiment", "better than", "probability"], 2, rows);
    }
    text
}

fn references(references: &References, tasks: &[&str]) -> String {
    let rows: Vec<_> = tasks.iter().flat_map(|task| references.of(task)).collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = [
        "task",
        "method",
        "protocol",
        "source",
        "steps",
        "updates a step",
        "seeds",
        "mean",
        "std",
    ];
    let optional = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let cells = rows.into_iter().map(|row| {
        let source = if row.verified {
            row.source.clone()
        } else {
            format!("unverified: {}", row.source)
        };
        vec![
            row.task.clone(),
            row.method.clone(),
            row.protocol.clone(),
            source,
            row.steps.to_string(),
            optional(row.update_to_data),
            optional(row.seeds.map(f64::from)),
            row.mean.to_string(),
            optional(row.std),
        ]
    });
    let text = "<h2>Published values</h2><p>Protocols differ: compare what has the same steps and the \
                same protocol.</p>";
    text.to_owned() + &table(&header, 4, cells)
}

/// Numbers as the script takes them: x, mean, bounds or null, and whether all seeds have come so far.
fn points(curve: &[Band], seeds: usize, unit: f64) -> Value {
    let point = |band: &Band| {
        let bounds = band.mean.interval;
        let bound = |i: usize| bounds.map(|bounds| rounded(bounds[i]));
        let all = band.runs == seeds;
        json!([
            rounded(band.at / unit),
            rounded(band.mean.value),
            bound(0),
            bound(1),
            all
        ])
    };
    curve.iter().map(point).collect()
}

/// Six digits, which no figure shows more of.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

fn data(content: &Content<'_>, tasks: &[&str], names: &[&str]) -> Value {
    let of_task = |task: &str| -> Vec<&Experiment> {
        content
            .experiments
            .iter()
            .filter(|e| e.task == task)
            .collect()
    };
    let experiment = |e: &&Experiment| {
        let curve = e.learning_curve(content.bootstrap);
        let seeds = e.runs.len();
        let runs = e.runs.values().map(|run| -> Value {
            let points = run.curve.points.iter();
            points
                .map(|p| json!([p.step, rounded(p.mean), null, null, true]))
                .collect()
        });
        json!({
            "name": e.name,
            "steps": points(&curve, seeds, 1.0),
            "time": e.by_time(&curve).map(|curve| points(&curve, seeds, 3600.0)),
            "runs": runs.collect::<Vec<_>>(),
            "warmup": e.runs.values().find_map(|run| run.curve.warmup_end),
        })
    };
    let task = |name: &&str| {
        let experiments: Vec<Value> = of_task(name).iter().map(experiment).collect();
        json!({ "name": name, "experiments": experiments })
    };
    let figure = |metric: &'static str, task: &str| -> Option<Value> {
        let series: Vec<Value> = of_task(task)
            .into_iter()
            .filter_map(|e| Some(json!({ "name": e.name, "points": mean_metric(e, metric)? })))
            .collect();
        (!series.is_empty()).then(|| json!({ "task": task, "series": series }))
    };
    let diagnosis = |of: &crate::diagnosis::Diagnosis| -> Option<Value> {
        let figures = tasks.iter().filter_map(|task| figure(of.metric, task));
        let figures: Vec<Value> = figures.collect();
        (!figures.is_empty()).then(|| {
            json!({
                "title": of.title, "meaning": of.meaning, "trouble": of.trouble, "figures": figures,
            })
        })
    };
    let profile = |of: &crate::aggregate::Aggregate| {
        let points = of.profile.iter().map(|(at, share)| {
            let bound = |i: usize| share.interval.map(|bounds| rounded(bounds[i]));
            json!([rounded(*at), rounded(share.value), bound(0), bound(1), true])
        });
        json!({ "name": of.name, "points": points.collect::<Vec<_>>() })
    };
    let profiles = content.aggregates.map_or(&[][..], |all| &all.of);
    json!({
        "names": names,
        "tasks": tasks.iter().map(task).collect::<Vec<_>>(),
        "profiles": profiles.iter().map(profile).collect::<Vec<_>>(),
        "diagnoses": DIAGNOSES.iter().filter_map(diagnosis).collect::<Vec<_>>(),
    })
}

/// The mean of a metric over the runs that have it, at the steps of the first of them.
fn mean_metric(experiment: &Experiment, metric: &str) -> Option<Value> {
    let runs: Vec<_> = (experiment.runs.values())
        .filter_map(|run| run.metrics.get(metric))
        .collect();
    let first = runs.first()?;
    let at = |index: usize| {
        let values: Vec<f64> = runs
            .iter()
            .filter_map(|run| run.get(index))
            .map(|p| p[1])
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let complete = values.len() == experiment.runs.len();
        json!([first[index][0], rounded(mean), null, null, complete])
    };
    Some((0..first.len()).map(at).collect())
}
