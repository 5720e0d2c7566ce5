//! `watch`: runs that go on, in the terminal.
//!
//! [`runs`] finds run folders and reads of each file what was appended ([`run`], [`training`]); a
//! [`row`] is what is known of a run. [`plain`] writes rows as lines, [`terminal`] shows them until a
//! key of [`screen`] ends that, drawn by [`view`] and [`curve`].

mod curve;
mod plain;
mod row;
mod run;
mod runs;
mod screen;
mod terminal;
#[cfg(test)]
mod tests;
mod training;
mod view;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use super::{RUNS, print, print_json};
use crate::Error;
use runs::Runs;

#[derive(Debug, clap::Args)]
pub(super) struct WatchArgs {
    /// Run folders, folders that hold some, or folders of sweeps [default: runs]
    #[arg(value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// How often files are read
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = parse_every)]
    every: Duration,
    /// Print the table once and exit, which is the default where stdout is no terminal
    #[arg(long)]
    once: bool,
    /// Print one JSON array and exit
    #[arg(long)]
    json: bool,
}

fn parse_every(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (0.1..=86400.0).contains(seconds));
    let seconds = seconds.ok_or("expected seconds, from 0.1 to 86400")?;
    Ok(Duration::from_secs_f64(seconds))
}

impl WatchArgs {
    /// Shows the runs until the user leaves, or prints them once.
    pub(super) fn run(self) -> Result<(), Error> {
        let folders = if self.folders.is_empty() {
            vec![PathBuf::from(RUNS)]
        } else {
            self.folders
        };
        let mut runs = Runs::of(&folders)?;
        if !self.once && !self.json && std::io::stdout().is_terminal() {
            return terminal::show(&mut runs, self.every);
        }
        if !self.json {
            runs.require_some()?;
        }
        runs.refresh()?;
        let rows: Vec<_> = runs.rows().collect();
        if self.json {
            return Ok(print_json(&rows)?);
        }
        Ok(plain::lines(&rows)
            .iter()
            .try_for_each(|line| print(line))?)
    }
}
