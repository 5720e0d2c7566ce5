//! The command line of the program `rescore`: a file for each command that is more than a call.

mod again;
mod eval;
mod export;
mod policy;
mod prune;
mod render;
mod report;
mod sweep;
mod train;
mod watch;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Parser, Subcommand};
use rescore_agents::Algorithm;
use rescore_report::ReportError;
use rescore_runner::RunError;
use rescore_runner::config::{Request, document};
use rescore_runner::progress::LogWriter;
use rescore_store::StoreError;
use rescore_store::checkpoint::Which;
use rescore_store::state::runs_in;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

#[cfg(feature = "developer")]
use crate::bench::BenchArgs;
#[cfg(feature = "developer")]
use crate::soak::Soak;
use crate::{Error, backend};
use eval::EvalArgs;
use export::ExportArgs;
use prune::PruneArgs;
use render::RenderArgs;
use report::ReportArgs;
use sweep::SweepArgs;
use train::TrainArgs;
use watch::WatchArgs;

const EXIT_CODES: &str = "Exit codes:
  0   done
  2   usage or configuration
  73  the run folder is held by another process
  74  input or output failed
  75  interrupted after a checkpoint
  1   anything else";

/// Online reinforcement learning with diffusion policies.
#[derive(Debug, Parser)]
#[command(name = "rescore", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a policy; prints the run folder
    #[command(after_help = EXIT_CODES)]
    Train(TrainArgs),
    /// Plan many runs, make them here or on a cluster, and collect their returns
    ///
    /// A sweep has a folder: its plan, which does not change, and a run folder for each run.
    #[command(after_help = EXIT_CODES)]
    Sweep(SweepArgs),
    /// Print the complete configuration of an algorithm, every key with what it is for
    #[command(after_help = EXIT_CODES)]
    Config {
        /// Algorithm
        #[arg(value_name = "ALGO", value_parser = algorithms())]
        algo: String,
        /// Preset of the algorithm [default: as of `train`]
        #[arg(long, value_name = "NAME")]
        preset: Option<String>,
        /// Set one key, as for `train`
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Play evaluation episodes with a trained policy
    #[command(after_help = EXIT_CODES)]
    Eval(EvalArgs),
    /// List the tasks with their dimensions
    #[command(after_help = EXIT_CODES)]
    Envs {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// List what this program could compute on
    #[command(after_help = EXIT_CODES)]
    Devices {
        /// Only those of this backend
        #[arg(long, value_name = "NAME")]
        backend: Option<String>,
    },
    #[cfg(feature = "developer")]
    /// Measure milliseconds per update or per act, or steps per second of the tasks
    #[command(after_help = EXIT_CODES)]
    Bench(BenchArgs),
    /// Film a policy, or random actions, as GIF or MP4
    #[command(after_help = EXIT_CODES)]
    Render(RenderArgs),
    #[cfg(feature = "developer")]
    /// Kill runs again and again, and watch the memory of one for hours
    #[command(after_help = EXIT_CODES)]
    Soak(Soak),
    /// Write a trained policy as one file that acts without a tensor library
    ///
    /// The package `rescore-policy` reads it, in browsers too; best of several particles and
    /// normalisation included.
    #[command(after_help = EXIT_CODES)]
    Export(ExportArgs),
    /// Remove the replay buffer, and all checkpoints but the last and the best, of finished runs
    ///
    /// They can still be evaluated, drawn and filmed, but not made longer. Nothing is removed
    /// unless all of the runs have finished and the checkpoints that are kept are whole.
    #[command(after_help = EXIT_CODES)]
    Prune(PruneArgs),
    /// Draw learning curves as SVG or PNG
    #[command(after_help = EXIT_CODES)]
    Plot {
        /// Run folders
        #[arg(required = true, value_name = "RUN_DIR")]
        runs: Vec<PathBuf>,
        /// The drawing; an older picture is replaced, any other file is not
        #[arg(long, value_name = "FILE.svg|FILE.png")]
        out: PathBuf,
        /// Runs that differ in nothing but their seed are one curve, dashed where seeds are missing;
        /// prints best and last returns over the steps that all seeds have
        #[arg(long)]
        over_seeds: bool,
    },
    /// Write tables, statistics and a page with all curves of runs
    #[command(after_help = EXIT_CODES)]
    Report(ReportArgs),
    /// Show runs in the terminal while they go on
    ///
    /// Only reads their files, and may be started and left at any time.
    #[command(after_help = EXIT_CODES)]
    Watch(WatchArgs),
}

/// Whether the user has not asked for output without colours.
fn wants_colors() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Where runs are that nobody has named.
const RUNS: &str = "runs";

/// The run in `folder`, or the runs in its folders, by name.
///
/// # Errors
/// When there is none.
fn runs_of(folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let runs = runs_in(folder)?;
    if runs.is_empty() {
        return Err(no_run(folder));
    }
    Ok(runs)
}

fn no_run(folder: &Path) -> ReportError {
    ReportError::Unfit {
        message: format!("{} holds no run", folder.display()),
        hint: "a run folder has a config.toml; `train` prints where it is".to_owned(),
    }
}

/// The names of all algorithms, each with a line on it.
fn algorithms() -> PossibleValuesParser {
    let all = Algorithm::all().into_iter();
    let value =
        |algorithm: &'static Algorithm| PossibleValue::new(algorithm.name).help(algorithm.about);
    all.map(value).collect::<Vec<_>>().into()
}

fn parse_which(text: &str) -> Result<Which, String> {
    match text {
        "best" => Ok(Which::Best),
        step => step
            .parse()
            .map(Which::Step)
            .map_err(|_| "expected `best` or the step of a checkpoint".into()),
    }
}

/// The program `rescore`, with whatever algorithms and tasks were registered before: reads the command
/// line and says how the process should end.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let colors = std::io::stderr().is_terminal() && wants_colors();
    // What the simulator and the graphics driver have to say about themselves is of interest only
    // when they warn.
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,rescore=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colors)
        .with_target(false)
        .with_writer(|| LogWriter)
        .init();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut stderr = std::io::stderr();
            // Nothing is left to be done when even stderr is closed.
            let _ = writeln!(stderr, "error: {error}");
            if let Some(hint) = error.hint() {
                let _ = writeln!(stderr, "hint: {hint}");
            }
            if let Some(command) = error.command() {
                let _ = stderr.write_all(&[command, b"\n"].concat());
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Whatever ends the command early; [`Error::exit_code`] says how the program should end.
pub fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Train(args) => args.run(),
        Command::Sweep(args) => args.run(),
        Command::Config { algo, preset, set } => {
            let text = document(&Request {
                algo: Some(algo),
                preset,
                set,
                ..backend::request()
            })?;
            Ok(print(text.trim_end())?)
        }
        Command::Eval(args) => Ok(args.run()?),
        Command::Envs { json } => Ok(list_tasks(json)?),
        Command::Devices { backend } => {
            for line in backend::list_devices(backend.as_deref())? {
                print(&line)?;
            }
            Ok(())
        }
        #[cfg(feature = "developer")]
        Command::Bench(args) => Ok(args.run(print)?),
        Command::Render(args) => Ok(args.run()?),
        Command::Export(args) => Ok(args.run()?),
        Command::Prune(args) => args.run(),
        #[cfg(feature = "developer")]
        Command::Soak(soak) => soak.run(&mut |line| Ok(print(line)?)),
        Command::Plot {
            runs,
            out,
            over_seeds: false,
        } => Ok(rescore_report::plot(&runs, &out)?),
        Command::Report(report) => Ok(report.run()?),
        Command::Plot { runs, out, .. } => {
            let summaries = rescore_report::plot_over_seeds(&runs, &out)?;
            Ok(summaries.iter().try_for_each(|line| print(line))?)
        }
        Command::Watch(args) => args.run(),
    }
}

fn list_tasks(json: bool) -> Result<(), RunError> {
    let tasks = rescore_envs::list();
    if json {
        return print_json(&tasks);
    }
    print(&format!(
        "{:<34} {:>11} {:>6} {:>10}  description",
        "task", "observation", "action", "time limit"
    ))?;
    for task in tasks {
        let limit = task
            .time_limit
            .map_or_else(|| "-".into(), |n| n.to_string());
        print(&format!(
            "{:<34} {:>11} {:>6} {:>10}  {}",
            task.name, task.observation_dim, task.action_dim, limit, task.description
        ))?;
    }
    Ok(())
}

/// Writes a line to stdout. A reader that has gone away (`| head`) is an I/O error, not a panic.
fn print(line: &str) -> Result<(), RunError> {
    writeln!(std::io::stdout(), "{line}").map_err(StoreError::io("write", Path::new("stdout")))?;
    Ok(())
}

fn print_json(value: &impl Serialize) -> Result<(), RunError> {
    let text = serde_json::to_string(value).map_err(std::io::Error::from);
    print(&text.map_err(StoreError::io("encode", Path::new("stdout")))?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_checkpoint_is_best_or_a_step() {
        assert_eq!(parse_which("best"), Ok(Which::Best));
        assert_eq!(parse_which("500"), Ok(Which::Step(500)));
        assert!(parse_which("first").is_err());
    }
}
