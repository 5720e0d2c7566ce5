//! A run as a line of the table: its values, and how they are written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rescore_runner::progress::clock;
use rescore_store::state::State;
use serde::Serialize;

/// What is known of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    /// The run folder.
    pub path: PathBuf,
    /// How far it has come.
    pub state: State,
    /// Who is at it, why it failed, or what of it is damaged.
    pub detail: Option<String>,
    pub algorithm: Option<String>,
    pub task: Option<String>,
    pub seed: Option<i64>,
    /// Of a run of a sweep: the settings in which its runs differ.
    pub settings: BTreeMap<String, String>,
    /// The last step that a log or a checkpoint shows.
    pub step: Option<u64>,
    /// The step at which it is done.
    pub steps: Option<u64>,
    /// Mean return of the last evaluation.
    pub last_return: Option<f64>,
    /// Mean return of the best one.
    pub best_return: Option<f64>,
    /// Mean return of the last training episodes.
    pub episode_return: Option<f64>,
    pub env_steps_per_s: Option<f64>,
    /// Of a run that a process is at, at the rate of late.
    pub seconds_left: Option<f64>,
}

impl Row {
    /// A run of which nothing is known but its folder.
    pub(super) fn of(path: PathBuf) -> Self {
        Self {
            path,
            state: State::NotStarted,
            detail: None,
            algorithm: None,
            task: None,
            seed: None,
            settings: BTreeMap::new(),
            step: None,
            steps: None,
            last_return: None,
            best_return: None,
            episode_return: None,
            env_steps_per_s: None,
            seconds_left: None,
        }
    }

    /// The part of its steps that it has done, from 0 to 1.
    pub(super) fn share(&self) -> Option<f64> {
        let steps = self.steps.filter(|steps| *steps > 0)?;
        Some((self.step.unwrap_or(0) as f64 / steps as f64).min(1.0))
    }

    /// The detail on one line.
    pub(super) fn detail(&self) -> Option<String> {
        self.detail.as_deref().map(harmless)
    }

    /// The name of the folder, behind the settings in which the run differs from others of its sweep.
    pub(super) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        self.with_settings(&name.to_string_lossy())
    }

    /// Likewise, with the path of the folder.
    pub(super) fn whole_name(&self) -> String {
        self.with_settings(&self.path.to_string_lossy())
    }

    fn with_settings(&self, folder: &str) -> String {
        let settings = self.settings.iter();
        let settings = settings.map(|(key, value)| format!("{key}={value} "));
        harmless(&(settings.collect::<String>() + folder))
    }
}

/// A text without line ends and whatever else a terminal would obey.
fn harmless(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// A column of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub title: &'static str,
    /// Whether it holds numbers, which end below each other.
    pub is_number: bool,
    /// Where a terminal is too narrow, columns with a higher number are left out first.
    pub rank: u8,
    pub cell: fn(&Row) -> String,
}

const fn words(title: &'static str, rank: u8, cell: fn(&Row) -> String) -> Column {
    Column {
        title,
        is_number: false,
        rank,
        cell,
    }
}

const fn numbers(title: &'static str, rank: u8, cell: fn(&Row) -> String) -> Column {
    Column {
        is_number: true,
        ..words(title, rank, cell)
    }
}

/// The columns, from left to right. The folder comes behind them.
pub(super) const COLUMNS: [Column; 11] = [
    words("state", 0, |row| row.state.to_string()),
    words("algorithm", 2, |row| or_dash(row.algorithm.as_ref())),
    words("task", 3, |row| or_dash(row.task.as_ref())),
    numbers("seed", 5, |row| or_dash(row.seed.as_ref())),
    numbers("step", 8, steps),
    numbers("%", 1, percent),
    numbers("last", 4, |row| returned(row.last_return)),
    numbers("best", 7, |row| returned(row.best_return)),
    numbers("training", 9, |row| returned(row.episode_return)),
    numbers("steps/s", 10, |row| returned(row.env_steps_per_s)),
    numbers("left", 6, |row| {
        or_dash(row.seconds_left.map(clock).as_ref())
    }),
];

fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

fn steps(row: &Row) -> String {
    let (step, steps) = (or_dash(row.step.as_ref()), or_dash(row.steps.as_ref()));
    format!("{step}/{steps}")
}

fn percent(row: &Row) -> String {
    // Rounded down: 100 means that the last step has been made.
    let percent = row
        .share()
        .map(|share| format!("{:.0}%", (share * 100.0).floor()));
    or_dash(percent.as_ref())
}

fn returned(number: Option<f64>) -> String {
    or_dash(number.map(short).as_ref())
}

/// A number with as many digits as a reader compares.
pub(super) fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 1e7 => format!("{number:.2e}"),
        size if size >= 1000.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        0.0 => "0".to_owned(),
        size if size >= 0.01 => format!("{number:.3}"),
        _ => format!("{number:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (-0.25, "-0.250"),
            (1e-5, "1.0e-5"),
            (-123.45, "-123.5"),
            (12345.6, "12346"),
            (-1.25e9, "-1.25e9"),
        ] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let mut row = Row::of("run".into());
        let cells = |row: &Row| COLUMNS.map(|column| (column.cell)(row));
        let dashes = ["-"; 5];
        assert_eq!(cells(&row)[..6], ["not started", "-", "-", "-", "-/-", "-"]);
        assert_eq!(cells(&row)[6..], dashes);
        (row.step, row.steps) = (Some(999), Some(1000));
        (row.seconds_left, row.last_return) = (Some(62.0), Some(-1200.4));
        assert_eq!(cells(&row)[4..7], ["999/1000", "99%", "-1200"]);
        assert_eq!(cells(&row)[10], "0:01:02");
        row.step = Some(2000);
        assert_eq!(cells(&row)[5], "100%");
    }

    #[test]
    fn a_detail_is_one_line_without_control_characters() {
        let mut row = Row::of("run".into());
        row.detail = Some("expected `=`\n  |\n1 | x\u{1b}[2J\n".to_owned());
        assert_eq!(row.detail().as_deref(), Some("expected `=` | 1 | x [2J"));
    }
}
