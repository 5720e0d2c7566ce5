//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   any other failure
  2   wrong usage or configuration
  73  the run folder is held by another process
  74  reading or writing failed
  75  interrupted after a checkpoint";

/// Trains diffusion policies with online reinforcement learning. Every command prepares what it
/// needs by itself: MuJoCo, the task models, the program.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXIT_CODES)]
#[command(max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a policy
    #[command(after_help = EXIT_CODES)]
    Train(Train),
    /// Evaluate the policy of a run
    #[command(after_help = EXIT_CODES)]
    Eval(Eval),
    /// List the tasks with their dimensions
    Envs {
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Measure updates (`update`), actions (`act`), ...
    Bench(Bench),
    /// Film the policy of a run, or random actions
    #[command(after_help = EXIT_CODES)]
    Render(Render),
    /// Kill runs again and again, and watch the memory of one for hours
    Soak {
        /// Hours over which memory and open files are watched (default: 1)
        #[arg(long, value_name = "H")]
        hours: Option<f64>,
        /// How often runs of each algorithm are killed (default: 100)
        #[arg(long, value_name = "N")]
        kills: Option<u32>,
        /// Folder for the runs; removed when all is well (default: runs/soak)
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Draw learning curves
    Plot {
        /// Run folders
        #[arg(value_name = "RUN_DIR", required = true)]
        runs: Vec<PathBuf>,
        /// The SVG file to write
        #[arg(long, value_name = "FILE.svg")]
        out: PathBuf,
    },
    /// Obtain the MuJoCo library and the task models (the other commands do it when they need it)
    Setup {
        /// Take them from this folder: an unpacked MuJoCo release, or one that holds wheels
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
    /// Put the program and all that it needs into one folder, for a machine without Rust
    Bundle {
        /// The folder, which must not be there yet
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// GPU backends that the program shall have besides those of the processor
        #[arg(long = "backend", value_name = "cuda|wgpu|vulkan|metal")]
        backends: Vec<String>,
    },
    /// Check toolchain, MuJoCo, drivers and processor
    Doctor,
    /// List what a backend can compute on
    Devices {
        /// flex, ndarray, cuda, wgpu, vulkan or metal (default: those of the processor)
        #[arg(long, value_name = "NAME")]
        backend: Option<String>,
    },
    /// Run the tests: all, or those named
    #[command(after_help = "\
`parity` reads the folder named by RESCORE_FIXTURES (default tests/fixtures), `golden` the one
named by RESCORE_GOLDEN (default tests/golden). Any other name is that of a file in tests/tests,
or else a filter on the names of all tests.")]
    Test {
        /// `parity`, `golden`, another whole-program test, or a filter
        #[arg(value_name = "NAME", conflicts_with = "backends")]
        names: Vec<String>,
        /// The tests that compute on this GPU backend, instead of all others
        #[arg(long = "backend", value_name = "cuda|wgpu|vulkan|metal")]
        backends: Vec<String>,
    },
}

/// Options of `train`.
#[derive(Debug, Args)]
pub struct Train {
    /// dpmd (default), sdac or sac
    #[arg(long, value_name = "NAME")]
    pub algo: Option<String>,
    /// The task (default: InvertedPendulum-v4); `cargo xtask envs` lists them
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// Seed of all randomness
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Environment steps, counted from the end of warm-up
    #[arg(long, value_name = "N", value_parser = steps)]
    pub steps: Option<String>,
    /// flex (default), ndarray, cuda, wgpu, vulkan or metal
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
    /// Which of the backend's devices (default: the first GPU); `cargo xtask devices` lists them
    #[arg(long, value_name = "N")]
    pub device: Option<String>,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting: a full path, or the last name where it is unique
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// The run folder (default: a new one in runs/)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with this run from its last checkpoint; with --steps to a later end, with --set under
    /// another learning rate or with evaluations, checkpoints or logs at other intervals
    #[arg(long, value_name = "RUN_DIR", group = "going_on", conflicts_with_all = ["algo", "env", "seed", "config", "out"])]
    pub resume: Option<PathBuf>,
    /// Begin the run in --out, go on with it if it has begun, or say that it is done: one command
    /// for jobs that are requeued
    #[arg(long = "continue", requires = "out", group = "going_on")]
    pub go_on: bool,
    /// Go on with another --backend than the run had, which changes the last bits of its results
    #[arg(long, requires = "going_on")]
    pub allow_different_bits: bool,
    /// Stop where an older checkpoint would be used because the last is damaged
    #[arg(long, requires = "going_on")]
    pub strict: bool,
}

/// Options of `eval`.
#[derive(Debug, Args)]
pub struct Eval {
    /// The run folder
    #[arg(value_name = "RUN_DIR")]
    pub run: PathBuf,
    /// Number of episodes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub episodes: Option<u64>,
    /// `best`, or the step of a checkpoint (default: the last)
    #[arg(long, value_name = "best|STEP")]
    pub checkpoint: Option<String>,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
    /// flex, ndarray, cuda, wgpu, vulkan or metal (default: as in training)
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
    /// Which of the backend's devices (default: the first GPU)
    #[arg(long, value_name = "N")]
    pub device: Option<String>,
}

/// Options of `render`.
#[derive(Debug, Args)]
pub struct Render {
    /// The run folder
    #[arg(
        value_name = "RUN_DIR",
        required_unless_present = "env",
        conflicts_with = "env"
    )]
    pub run: Option<PathBuf>,
    /// A task, to be filmed with random actions
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// The film; .mp4 needs the program ffmpeg
    #[arg(long, value_name = "FILE.gif|FILE.mp4")]
    pub out: PathBuf,
    /// Number of episodes (default: 1)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub episodes: Option<u32>,
    /// Steps of each episode to show (default: all)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// A camera of the model (default: the one that Gymnasium looks through)
    #[arg(long, value_name = "NAME")]
    pub camera: Option<String>,
    /// Width and height in pixels (default: 320x240)
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    pub size: Option<String>,
    /// `best`, or the step of a checkpoint (default: the last)
    #[arg(long, value_name = "best|STEP", conflicts_with = "env")]
    pub checkpoint: Option<String>,
}

/// Options of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Options, all handed on to `rescore bench` (its own --help lists more):
  --algo NAME     dpmd, sdac or sac
  --backend NAME  flex, ndarray, cuda, wgpu, vulkan or metal
  --device N      which of the backend's devices
  --json FILE     write the results as JSON")]
pub struct Bench {
    /// What to measure, and options
    #[arg(value_name = "WHAT", required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

/// Whole steps, also written like `50_000` or `1e6`, handed on as they are written.
fn steps(text: &str) -> Result<String, String> {
    let number: Option<f64> = text.replace('_', "").parse().ok();
    number
        .filter(|steps| *steps >= 1.0 && steps.fract() == 0.0)
        .map(|_| text.to_owned())
        .ok_or_else(|| format!("`{text}` is not a whole number of at least 1"))
}

impl Bench {
    /// All values of `--NAME VALUE` and `--NAME=VALUE`, in order.
    pub fn options(&self, name: &str) -> Vec<String> {
        let flag = format!("--{name}");
        let mut values = Vec::new();
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            let value = if *argument == flag {
                arguments.next().map(String::as_str)
            } else {
                argument
                    .strip_prefix(&flag)
                    .and_then(|rest| rest.strip_prefix('='))
            };
            values.extend(value.map(str::to_owned));
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("xtask").chain(arguments.iter().copied()))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nothing_is_needed_to_train_or_to_ask_for_help() {
        assert!(parse(&[]).is_ok_and(|cli| cli.command.is_none()));
        assert!(parse(&["train"]).is_ok());
        assert!(parse(&["train", "--steps", "1e6"]).is_ok());
        assert!(parse(&["train", "--steps", "50_000"]).is_ok());
        assert!(parse(&["train", "--resume", "run", "--set", "lr=1e-4", "--strict"]).is_ok());
        let other = ["--backend", "flex", "--allow-different-bits"];
        assert!(parse(&[&["train", "--resume", "run"], &other[..]].concat()).is_ok());
        let job = ["train", "--algo", "sac", "--out", "run", "--continue"];
        assert!(parse(&[&job[..], &other].concat()).is_ok());
        assert!(parse(&["render", "run", "--out", "a.gif", "--steps", "5"]).is_ok());
        assert!(parse(&["render", "--env", "Hopper-v4", "--out", "a.gif"]).is_ok());
    }

    #[test]
    fn bad_numbers_and_unknown_options_are_usage_errors() {
        for bad in [
            &["train", "--steps", "0"][..],
            &["train", "--steps", "many"],
            &["train", "--steps", "1.5"],
            &["train", "--steps", "nan"],
            &["train", "--seed", "-1"],
            &["train", "--sead", "1"],
            &["train", "--continue"],
            &["train", "--allow-different-bits"],
            &["train", "--resume", "run", "--out", "run", "--continue"],
            &["eval"],
            &["eval", "run", "--episodes", "0"],
            &["plot", "run"],
            &["render", "--out", "a.gif"],
            &["render", "run"],
            &["render", "run", "--env", "Hopper-v4", "--out", "a.gif"],
            &["plot", "--out", "a.svg"],
            &["bench"],
            &["fly"],
        ] {
            let error = parse(bad).expect_err("must be refused");
            assert_eq!(error.exit_code(), 2, "{bad:?}");
        }
    }

    #[test]
    fn bench_hands_on_what_it_does_not_know_and_still_sees_the_backend() {
        for arguments in [
            &["bench", "update", "--particles", "8", "--backend", "flx"][..],
            &["bench", "update", "--backend=flx", "--particles", "8"],
        ] {
            let cli = parse(arguments).expect("free options");
            let Some(Command::Bench(bench)) = cli.command else {
                panic!("not bench: {arguments:?}");
            };
            assert_eq!(bench.options("backend"), ["flx"]);
            assert_eq!(bench.options("particles"), ["8"]);
            assert!(bench.options("algo").is_empty());
        }
    }
}
