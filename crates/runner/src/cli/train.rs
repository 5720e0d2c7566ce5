//! `train`: a new run, or going on with one.

use std::path::{Path, PathBuf};

use rescore_kernels::RescoreBackend;

use super::print;
use crate::RunError;
use crate::backend::{self, Work, dispatch};
use crate::checkpoint::Checkpoints;
use crate::config::{Config, Request, resolve};
use crate::interrupt::Interrupt;
use crate::run_folder::{CONFIG_FILE, RunFolder};
use crate::train::{Begin, Environments, train};

#[derive(Debug, clap::Args)]
pub(super) struct TrainArgs {
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

impl TrainArgs {
    /// Trains, or goes on with a run; prints the run folder.
    pub(super) fn run(self) -> Result<(), RunError> {
        if let Some(run) = &self.resume {
            return resume(run, self.steps, self.strict);
        }
        let config = resolve(&Request {
            config_file: self.config,
            algo: self.algo,
            env: self.env,
            seed: self.seed,
            steps: self.steps,
            backend: self.backend,
            device: self.device,
            set: self.set,
        })?;
        backend::check_config(&config)?;
        let envs = Environments::new(&config)?;
        let folder = RunFolder::create(self.out.as_deref(), &config)?;
        begin(&config, envs, &folder, Begin::Fresh)
    }
}

fn resume(run: &Path, steps: Option<u64>, strict: bool) -> Result<(), RunError> {
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
    #[cfg(feature = "mujoco")]
    let _model = crate::model_copy::restore(run, &config)?;
    let envs = Environments::new(&config)?;
    if config.steps != before.steps {
        folder.write_config(&config)?;
    }
    begin(&config, envs, &folder, Begin::Resumed { strict })
}

fn begin(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_whole_numbers_of_at_least_one() {
        assert_eq!(parse_steps("1000"), Ok(1000));
        assert_eq!(parse_steps("50_000"), Ok(50_000));
        assert_eq!(parse_steps("1e6"), Ok(1_000_000));
        for wrong in ["0", "-5", "1.5", "NaN", "inf", "1e300", "", "many"] {
            assert!(parse_steps(wrong).is_err(), "{wrong} was accepted");
        }
    }
}
