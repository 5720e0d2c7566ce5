//! The command line of the program `rescore`.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use rescore_kernels::RescoreBackend;
use serde::Serialize;

use crate::backend::{self, AUTO, Work, dispatch};
use crate::bench::BenchArgs;
use crate::checkpoint::{Checkpoints, Description, Which};
use crate::config::{Config, Request, resolve};
use crate::evaluate::{Evaluation, Evaluator};
use crate::interrupt::Interrupt;
use crate::run_folder::{CONFIG_FILE, RunFolder};
use crate::soak::Soak;
use crate::train::{Begin, Environments, train};
use crate::{RunError, plot, policy};

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
    /// Measure milliseconds per update or per act, or steps per second of the tasks
    #[command(after_help = EXIT_CODES)]
    Bench(BenchArgs),
    /// Film a policy, or random actions, as GIF or MP4
    #[command(after_help = EXIT_CODES)]
    Render(RenderArgs),
    /// Kill runs again and again, and watch the memory of one for hours
    #[command(after_help = EXIT_CODES)]
    Soak(SoakArgs),
    /// Draw learning curves as SVG
    #[command(after_help = EXIT_CODES)]
    Plot {
        /// Run folders
        #[arg(required = true, value_name = "RUN_DIR")]
        runs: Vec<PathBuf>,
        /// The drawing
        #[arg(long, value_name = "FILE.svg")]
        out: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct TrainArgs {
    /// Algorithm: dpmd, sdac or sac [default: dpmd]
    #[arg(long, value_name = "NAME")]
    algo: Option<String>,
    /// Task, see `envs` [default: InvertedPendulum-v4]
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Seed of all random streams [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Environment steps, counted from the end of warm-up [default: the task's, else 1000000]
    #[arg(long, value_name = "N", value_parser = parse_steps)]
    steps: Option<u64>,
    /// Tensor backend: flex, ndarray, cuda, wgpu, vulkan or metal [default: flex]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Device of the backend, see `devices` [default: the first GPU]
    #[arg(long, value_name = "N")]
    device: Option<String>,
    /// Configuration file; see configs/
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, by its full path or by its last name where that is unique
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Run folder, new or empty [default: a fresh one below runs/]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with a run from its last checkpoint; with --steps to a later end
    #[arg(long, value_name = "RUN_DIR", conflicts_with_all = ["algo", "env", "seed", "backend", "device", "config", "set", "out"])]
    resume: Option<PathBuf>,
    /// Stop where --resume would use an older checkpoint because the last is damaged
    #[arg(long, requires = "resume")]
    strict: bool,
}

#[derive(Debug, clap::Args)]
struct SoakArgs {
    /// Hours over which memory and open files are watched
    #[arg(long, value_name = "H", default_value_t = 1.0, value_parser = parse_hours)]
    hours: f64,
    /// How often runs of each algorithm are killed
    #[arg(long, value_name = "N", default_value_t = 100)]
    kills: u32,
    /// Folder for the runs; removed when all is well
    #[arg(long, value_name = "DIR", default_value = "runs/soak")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
struct EvalArgs {
    /// Run folder
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// Episodes to play [default: as in training]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    episodes: Option<u32>,
    /// Checkpoint: `best` or its step [default: the last]
    #[arg(long, value_name = "best|STEP", value_parser = parse_which)]
    checkpoint: Option<Which>,
    /// Tensor backend [default: as in training]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Device of the backend, see `devices` [default: as in training, with --backend the first GPU]
    #[arg(long, value_name = "N")]
    device: Option<String>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct RenderArgs {
    /// Run folder of the policy
    #[arg(
        value_name = "RUN_DIR",
        required_unless_present = "env",
        conflicts_with = "env"
    )]
    run: Option<PathBuf>,
    /// Task, to be filmed with random actions
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// The film; .mp4 needs the program ffmpeg
    #[arg(long, value_name = "FILE.gif|FILE.mp4")]
    out: PathBuf,
    /// Episodes to show
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    episodes: u32,
    /// Steps of each episode to show [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Camera of the model [default: the one that Gymnasium looks through]
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Width and height in pixels
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "320x240", value_parser = parse_size)]
    size: (u16, u16),
    /// Checkpoint: `best` or its step [default: the last]
    #[arg(long, value_name = "best|STEP", value_parser = parse_which, conflicts_with = "env")]
    checkpoint: Option<Which>,
}

/// Whole steps, also written like `50_000` or `1e6`.
fn parse_steps(text: &str) -> Result<u64, String> {
    let error = || format!("`{text}` is not a whole number of at least 1");
    let plain = text.replace('_', "");
    let steps = plain.parse().ok().or_else(|| {
        let number: f64 = plain.parse().ok()?;
        // Every whole number up to 2^53 is exact in f64.
        (number.fract() == 0.0 && (0.0..=2f64.powi(53)).contains(&number)).then_some(number as u64)
    });
    steps.filter(|steps| *steps >= 1).ok_or_else(error)
}

fn parse_size(text: &str) -> Result<(u16, u16), String> {
    let parse = |(width, height): (&str, &str)| Some((width.parse().ok()?, height.parse().ok()?));
    text.split_once('x')
        .and_then(parse)
        .ok_or_else(|| format!("`{text}` is no size; 320x240 is one"))
}

fn parse_hours(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|hours| (0.0..=1000.0).contains(hours))
        .ok_or_else(|| format!("`{text}` is not a number of hours from 0 to 1000"))
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

/// Runs the command.
///
/// # Errors
/// Whatever ends the command early; [`RunError::exit_code`] says how the program should end.
pub fn run(cli: Cli) -> Result<(), RunError> {
    match cli.command {
        Command::Train(args) => run_train(args),
        Command::Eval(args) => run_eval(&args),
        Command::Envs { json } => run_envs(json),
        Command::Devices { backend } => {
            for line in backend::list_devices(backend.as_deref())? {
                print(&line)?;
            }
            Ok(())
        }
        Command::Bench(args) => args.run(print),
        Command::Render(args) => run_render(&args),
        Command::Soak(args) => Soak {
            hours: args.hours,
            kills: args.kills,
            out: args.out,
        }
        .run(&mut print),
        Command::Plot { runs, out } => plot::plot(&runs, &out),
    }
}

/// Writes a line to stdout. A reader that has gone away (`| head`) is an I/O error, not a panic.
fn print(line: &str) -> Result<(), RunError> {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{line}").map_err(RunError::io("write", Path::new("stdout")))
}

fn print_json(value: &impl Serialize) -> Result<(), RunError> {
    let text = serde_json::to_string(value).map_err(std::io::Error::from);
    print(&text.map_err(RunError::io("encode", Path::new("stdout")))?)
}

struct Train<'a> {
    config: &'a Config,
    envs: Environments,
    folder: &'a RunFolder,
    begin: Begin,
    interrupt: &'a Interrupt,
}

impl Work for Train<'_> {
    type Output = Result<(), RunError>;
    fn run<B: RescoreBackend>(self, device: &B::Device) -> Self::Output {
        train::<B>(
            self.config,
            self.envs,
            self.folder,
            self.begin,
            self.interrupt,
            device,
        )
    }
}

fn run_train(args: TrainArgs) -> Result<(), RunError> {
    if let Some(run) = &args.resume {
        return run_resume(run, args.steps, args.strict);
    }
    let config = resolve(&Request {
        config_file: args.config,
        algo: args.algo,
        env: args.env,
        seed: args.seed,
        steps: args.steps,
        backend: args.backend,
        device: args.device,
        set: args.set,
    })?;
    backend::check_config(&config)?;
    let envs = Environments::new(&config)?;
    let folder = RunFolder::create(args.out.as_deref(), &config)?;
    begin_training(&config, envs, &folder, Begin::Fresh)
}

fn run_resume(run: &Path, steps: Option<u64>, strict: bool) -> Result<(), RunError> {
    let folder = RunFolder::open(run)?;
    let mut request = Request::from_file(&run.join(CONFIG_FILE));
    let before = resolve(&request)?;
    request.steps = steps;
    let config = resolve(&request)?;
    backend::check_config(&config)?;
    if folder.is_done() && config.steps == before.steps {
        tracing::info!(
            "the run has reached its last step, {}; --steps N makes it longer",
            config.steps
        );
        return print(&run.display().to_string());
    }
    let reached = Checkpoints::of(run).steps()?.last().copied();
    if let Some(reached) = reached.filter(|reached| config.steps < *reached) {
        return Err(RunError::usage(
            format!(
                "--steps {} is behind the run, which has reached step {reached}",
                config.steps
            ),
            "a run can be made longer, not shorter",
        ));
    }
    let envs = Environments::new(&config)?;
    if config.steps != before.steps {
        folder.write_config(&config)?;
    }
    begin_training(&config, envs, &folder, Begin::Resumed { strict })
}

fn begin_training(
    config: &Config,
    envs: Environments,
    folder: &RunFolder,
    begin: Begin,
) -> Result<(), RunError> {
    tracing::info!(
        algo = config.algo.name(),
        env = config.env,
        seed = config.seed,
        steps = config.steps,
        folder = %folder.path().display(),
        "training"
    );
    let interrupt =
        Interrupt::install().map_err(RunError::io("handle signals in", folder.path()))?;
    let work = Train {
        config,
        envs,
        folder,
        begin,
        interrupt: &interrupt,
    };
    dispatch(config, work)??;
    print(&folder.path().display().to_string())
}

/// What `eval --json` prints.
#[derive(Debug, Serialize)]
struct EvalReport {
    algo: String,
    env: String,
    step: u64,
    update: u64,
    episodes: usize,
    mean_return: f64,
    std_return: f64,
    returns: Vec<f64>,
    lengths: Vec<u32>,
}

fn run_eval(args: &EvalArgs) -> Result<(), RunError> {
    let mut request = Request::from_file(&args.run.join(CONFIG_FILE));
    request.backend.clone_from(&args.backend);
    let auto = || args.backend.as_ref().map(|_| AUTO.to_owned());
    request.device = args.device.clone().or_else(auto);
    if let Some(episodes) = args.episodes {
        request
            .set
            .push(format!("training.eval_episodes={episodes}"));
    }
    let config = resolve(&request)?;
    backend::check_config(&config)?;
    let path = Checkpoints::of(&args.run).find(args.checkpoint.unwrap_or(Which::Last))?;
    let work = Eval {
        config: &config,
        path: &path,
    };
    let (description, evaluation) = dispatch(&config, work)??;
    let report = EvalReport {
        algo: description.algo,
        env: description.env,
        step: description.step,
        update: description.update,
        episodes: evaluation.returns.len(),
        mean_return: evaluation.mean(),
        std_return: evaluation.std(),
        returns: evaluation.returns,
        lengths: evaluation.lengths,
    };
    if args.json {
        return print_json(&report);
    }
    print(&format!(
        "{} on {} at step {}: mean return {:.2}, standard deviation {:.2}, {} episodes",
        report.algo,
        report.env,
        report.step,
        report.mean_return,
        report.std_return,
        report.episodes,
    ))
}

struct Eval<'a> {
    config: &'a Config,
    path: &'a Path,
}

impl Work for Eval<'_> {
    type Output = Result<(Description, Evaluation), RunError>;

    fn run<B: RescoreBackend>(self, device: &B::Device) -> Self::Output {
        let config = self.config;
        let episodes = config.training.eval_episodes;
        let mut evaluator = Evaluator::new(&config.env, &config.task, episodes, config.seed)?;
        let dims = evaluator.dims();
        let policy = policy::load::<B>(config, self.path, dims, device)?;
        evaluator.set_statistics(policy.statistics.as_ref());
        // Nothing here asks to stop: a signal ends the program.
        let evaluation = evaluator.run(policy.agent.as_ref(), device, &Interrupt::default())?;
        Ok((policy.description, evaluation.unwrap_or_default()))
    }
}

#[cfg(feature = "render")]
fn run_render(args: &RenderArgs) -> Result<(), RunError> {
    use crate::render::{Scene, film_policy, film_random};
    let scene = Scene {
        out: &args.out,
        episodes: args.episodes,
        steps: args.steps,
        camera: args.camera.as_deref(),
        size: args.size,
    };
    let shown = match (&args.run, &args.env) {
        (Some(run), _) => {
            let config = resolve(&Request::from_file(&run.join(CONFIG_FILE)))?;
            backend::check_config(&config)?;
            let which = args.checkpoint.unwrap_or(Which::Last);
            let path = Checkpoints::of(run).find(which)?;
            film_policy(&config, &path, &scene)?
        }
        (None, Some(env)) => film_random(env, 0, &scene)?,
        (None, None) => unreachable!("one of the two is required"),
    };
    let returns: Vec<_> = shown.returns.iter().map(|r| format!("{r:.2}")).collect();
    print(&format!(
        "{}: {} frames, returns {}",
        args.out.display(),
        shown.frames,
        returns.join(", ")
    ))
}

#[cfg(not(feature = "render"))]
fn run_render(args: &RenderArgs) -> Result<(), RunError> {
    Err(RunError::usage(
        format!("this program cannot draw {}", args.out.display()),
        "`cargo xtask render` builds one that can (cargo feature `render`, which needs MuJoCo)",
    ))
}

fn run_envs(json: bool) -> Result<(), RunError> {
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn steps_are_whole_numbers_of_at_least_one() {
        assert_eq!(parse_steps("1000"), Ok(1000));
        assert_eq!(parse_steps("50_000"), Ok(50_000));
        assert_eq!(parse_steps("1e6"), Ok(1_000_000));
        for wrong in ["0", "-5", "1.5", "NaN", "inf", "1e300", "", "many"] {
            assert!(parse_steps(wrong).is_err(), "{wrong} was accepted");
        }
    }

    #[test]
    fn a_film_shows_a_run_or_a_task() {
        let parse = |arguments: &[&str]| {
            let program = ["rescore", "render", "--out", "a.gif"];
            Cli::try_parse_from(program.iter().chain(arguments)).is_ok()
        };
        assert!(parse(&["run"]) && parse(&["--env", "Hopper-v4", "--steps", "5"]));
        assert!(parse(&["run", "--checkpoint", "best", "--size", "64x48"]));
        assert!(!parse(&[]) && !parse(&["run", "--env", "Hopper-v4"]));
        assert!(!parse(&["run", "--size", "64"]) && !parse(&["run", "--size", "axb"]));
    }

    #[test]
    fn a_checkpoint_is_best_or_a_step() {
        assert_eq!(parse_which("best"), Ok(Which::Best));
        assert_eq!(parse_which("500"), Ok(Which::Step(500)));
        assert!(parse_which("first").is_err());
    }
}
