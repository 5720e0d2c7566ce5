//! What it costs that a run cannot be lost: checkpoints, and looking for numbers that are not
//! finite, as shares of training time.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rescore_kernels::RescoreBackend;
use rescore_runner::RunError;
use rescore_runner::config::{Config, Request, resolve};
use rescore_runner::interrupt::Interrupt;
use rescore_runner::run::Run;
use rescore_runner::{Environments, folder};
use rescore_store::durable;
use rescore_store::run_folder::RunFolder;
use serde::Serialize;

use crate::backend::{Work, dispatch};
use crate::start;

/// Checkpoints measured, each after as many new transitions as lie between two of them.
const CHECKPOINTS: usize = 3;
/// Iterations of training measured.
const ITERATIONS: usize = 40;

/// Cost of checkpoints and of the guard for one configuration.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// Always "checkpoint".
    pub bench: &'static str,
    /// Name of the algorithm.
    pub variant: String,
    /// Name of the task.
    pub task: String,
    /// Name of the backend.
    pub backend: String,
    /// Environment steps between two checkpoints.
    pub checkpoint_every: u64,
    /// Median milliseconds of an iteration: acting, stepping, updates.
    pub iteration_ms: f64,
    /// Median milliseconds of a checkpoint with the transitions since the one before it, all
    /// brought to the disk.
    pub checkpoint_ms: f64,
    /// The same as a share of the training time between two checkpoints, in percent.
    pub checkpoint_percent: f64,
    /// Median milliseconds of an update.
    pub update_ms: f64,
    /// Median milliseconds of the guard after an update.
    pub guard_ms: f64,
    /// The guard as a share of an update, in percent.
    pub guard_percent: f64,
}

impl Cost {
    /// The result in words.
    pub fn line(&self) -> String {
        format!(
            "{} on {} ({}): checkpoint {:.1} ms every {} steps, {:.3} % of the training between them; \
             guard {:.3} ms after an update of {:.2} ms, {:.2} %",
            self.variant,
            self.task,
            self.backend,
            self.checkpoint_ms,
            self.checkpoint_every,
            self.checkpoint_percent,
            self.guard_ms,
            self.update_ms,
            self.guard_percent,
        )
    }
}

/// Measures what `request` asks for, in a folder below `runs` (on the disk that matters) that is
/// removed again.
///
/// # Errors
/// When the configuration makes no sense or the folder cannot be written.
pub fn measure(request: &Request) -> Result<Cost, RunError> {
    let config = resolve(request)?;
    let folder = PathBuf::from(format!("runs/.bench-{}", std::process::id()));
    let work = CostBench {
        config: &config,
        folder: &folder,
    };
    dispatch(&config, work)?
}

struct CostBench<'a> {
    config: &'a Config,
    folder: &'a Path,
}

impl Work for CostBench<'_> {
    type Output = Result<Cost, RunError>;

    fn run<B: RescoreBackend>(self, device: &B::Device) -> Self::Output {
        let folder = folder::create(Some(self.folder), self.config, start(self.config))?;
        let result = measure_in::<B>(self.config, &folder, device);
        durable::remove(folder.path())?;
        result
    }
}

fn measure_in<B: RescoreBackend>(
    config: &Config,
    folder: &RunFolder,
    device: &B::Device,
) -> Result<Cost, RunError> {
    let training = &config.training;
    let envs = Environments::new(config)?;
    let agent = config.new_agent::<B>(envs.dims(), device)?;
    let mut run = Run::new(config, agent, envs, folder, device)?;
    run.warm_up(&Interrupt::default())?;
    let (mut iterations, mut updates, mut guards) = (Vec::new(), Vec::new(), Vec::new());
    let per_iteration = training.updates_per_step * training.num_envs as f64;
    for _ in 0..ITERATIONS {
        let started = Instant::now();
        let observations = run.observe()?;
        let actions = run.read(run.act(&observations))?;
        run.interact(&observations, &actions)?;
        run.step += training.num_envs as u64;
        let without_update = started.elapsed().as_secs_f64();
        let started = Instant::now();
        run.learn()?;
        let update = started.elapsed().as_secs_f64();
        let started = Instant::now();
        run.read_metrics()?;
        let guard = started.elapsed().as_secs_f64();
        updates.push(update);
        guards.push(guard);
        iterations.push(without_update + (update + guard) * per_iteration);
    }
    let mut checkpoints = Vec::new();
    run.checkpoint(false)?;
    for _ in 0..CHECKPOINTS {
        // All at once, where a run hands over some of them earlier.
        run.store_copies(training.checkpoint_every.min(config.replay.capacity));
        run.step += training.checkpoint_every;
        let started = Instant::now();
        run.checkpoint(false)?;
        checkpoints.push(started.elapsed().as_secs_f64());
    }
    let [iteration, update, guard, checkpoint] =
        [iterations, updates, guards, checkpoints].map(|times| 1e3 * median(times));
    let between = iteration * training.checkpoint_every as f64 / training.num_envs as f64;
    Ok(Cost {
        bench: "checkpoint",
        variant: config.algo.clone(),
        task: config.env.clone(),
        backend: config.backend.clone(),
        checkpoint_every: training.checkpoint_every,
        iteration_ms: iteration,
        checkpoint_ms: checkpoint,
        checkpoint_percent: 100.0 * checkpoint / between,
        update_ms: update,
        guard_ms: guard,
        guard_percent: 100.0 * guard / update,
    })
}

/// The middle one of some times.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
