//! `sweep`: many runs that are planned together, run by this program or by a scheduler.

mod emit;
mod run;
mod table;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use rescore_runner::sweep::{Plan, plan};
use rescore_store::durable::read_stream;
use rescore_store::run_folder::CONFIG_LIMIT;

use super::{EXIT_CODES, print};
use crate::{Error, backend};
use emit::Format;
use run::RunArgs;

#[derive(Debug, clap::Args)]
pub(super) struct SweepArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plan the runs of a sweep: a numbered list of resolved configurations, which does not change
    #[command(after_help = EXIT_CODES)]
    Plan {
        /// The sweep: `algorithms`, `tasks`, `seeds`, `steps`, perhaps `preset` and [set]
        #[arg(value_name = "SWEEP.toml")]
        file: PathBuf,
        /// Folder of the sweep, new or empty
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Begin a run of a sweep, go on with it, or find that it is done: one of them, or all
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    /// Print what makes a scheduler run a sweep
    #[command(subcommand, after_help = EXIT_CODES)]
    Emit(Format),
    /// List the runs of a sweep with how far each has come
    #[command(after_help = EXIT_CODES)]
    Status {
        /// Folder of the sweep
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Print last and best returns of all runs of a sweep as CSV
    #[command(after_help = EXIT_CODES)]
    Collect {
        /// Folder of the sweep
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

impl SweepArgs {
    /// Does what the subcommand says.
    pub(super) fn run(self) -> Result<(), Error> {
        match self.command {
            Command::Plan { file, out } => plan_into(&file, &out),
            Command::Run(args) => args.run(),
            Command::Emit(format) => format.print(),
            Command::Status { folder, json } => Ok(table::status(&Plan::read(&folder)?, json)?),
            Command::Collect { folder } => Ok(table::collect(&Plan::read(&folder)?)?),
        }
    }
}

/// Plans the sweep in `file` into the folder `out`; prints the list and the folder.
fn plan_into(file: &Path, out: &Path) -> Result<(), Error> {
    let text = read_stream(file, CONFIG_LIMIT)?;
    let runs = plan(&file.display().to_string(), &text, &backend::request())?;
    let plan = Plan::write(out, &text, runs)?;
    for run in &plan.runs {
        tracing::info!("run {}: {}", run.index, run.describe());
    }
    tracing::info!("{} runs are planned", plan.runs.len());
    Ok(print(&out.display().to_string())?)
}
