//! Benchmarks: how long things take, beside what the machine could do.
//!
//! Random data of a task's sizes; a warm-up, then the median of repetitions. Floating-point
//! operations are counted naively (`flops.rs`): what the formulas ask for, not what a kernel that
//! saves work still does. They are given as a share of two yardsticks of the same run
//! ([`Yardsticks`]): a large matrix product, and multiply-adds that touch no memory.

mod agent;
mod chain;
mod checkpoint;
mod command;
mod critic;
pub mod envs;
mod flops;
mod iteration;
mod timeline;
mod yardsticks;

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use rescore_agents::settings::DiffusionActorSettings;
use rescore_agents::{dpmd, dpmd_reference, sdac, sdac_reference};
use rescore_kernels::{NoiseKey, Precision, RescoreBackend, upload};
use rescore_runner::config::{Config, Request, resolve};
use rescore_runner::{RunError, backend::computes_at_once};
use rescore_store::durable::{read_stream, write_json};
use rescore_store::machine;
use serde::{Deserialize, Serialize};

use crate::backend::{Work, check_config, dispatch};

pub use command::BenchArgs;
pub use timeline::DeviceTimes;
pub use yardsticks::Yardsticks;

/// Repetitions before the first that counts.
const WARM_UP: usize = 2;
/// Repetitions end when so many have been made ...
const REPETITIONS: usize = 30;
/// ... or when so much time has passed and there are enough of them for a median.
const TIME: Duration = Duration::from_secs(10);
const FEWEST: usize = 5;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Sampling `batch_size` states times particles by the denoising chain, without scoring.
    Chain,
    /// Both critics forward and backward on a batch, and their Adam step.
    Critic,
    /// One gradient update on a batch: the mean over an even and an odd one, because the policy
    /// learns on every second update only.
    Update,
    /// The actions of all parallel environments for one step, scoring and exploration included.
    Act,
    /// Whole iterations of training: act, step the environments, store, draw a batch, update.
    Train,
}

impl Subject {
    const fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Critic => "critic",
            Self::Update => "update",
            Self::Act => "act",
            Self::Train => "train",
        }
    }
}

/// One measured result.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// "chain", "critic", "update", "act" or "train".
    pub bench: &'static str,
    /// "plain": tensor code with the algebraic Mish; "fused-f32" and "fused-bf16": kernels.
    pub variant: &'static str,
    /// Name of the algorithm.
    pub algo: String,
    /// Name of the backend.
    pub backend: String,
    /// The task whose observation and action lengths are used.
    pub task: String,
    /// Rows of the chain, transitions of an update, or environments of an act.
    pub rows: usize,
    /// Candidate actions per observation, where the algorithm has them.
    pub particles: Option<usize>,
    /// Precision of sampling.
    pub precision: &'static str,
    /// Threads available to the computation.
    pub threads: usize,
    /// Model of the processor.
    pub cpu: String,
    /// Median milliseconds.
    pub ms: f64,
    /// Fastest repetition.
    pub ms_min: f64,
    /// Slowest repetition.
    pub ms_max: f64,
    /// Repetitions measured.
    pub repetitions: usize,
    /// Billions of operations a second by the naive count, where there is one.
    pub gflops: Option<f64>,
    /// Rate of a 2048^3 matrix product in `f32` in this run.
    pub matmul_gflops: f64,
    /// Rate of multiply-adds that touch no memory in this run, where it could be measured.
    pub peak_gflops: Option<f64>,
    /// Milliseconds of each part, where it was measured in parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<(&'static str, f64)>,
    /// What a device that computes by itself is occupied with, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceTimes>,
    /// Largest memory of the process so far in MB, where the system tells.
    pub peak_memory_mb: Option<f64>,
}

impl Measurement {
    /// The result in words.
    pub fn line(&self) -> String {
        let mut line = format!(
            "{:6} {:4} {:10} {}",
            self.bench, self.algo, self.variant, self.backend
        );
        let _ = write!(line, ", {} rows", self.rows);
        if let Some(particles) = self.particles {
            let _ = write!(line, ", {particles} particles");
        }
        let _ = write!(
            line,
            ": {:.2} ms (min {:.2}, max {:.2}, {} repetitions)",
            self.ms, self.ms_min, self.ms_max, self.repetitions
        );
        if let Some(gflops) = self.gflops {
            let _ = write!(line, ", {gflops:.0} GFLOP/s");
            // The yardsticks are the processor's.
            if computes_at_once(&self.backend) {
                let share = 100.0 * gflops / self.matmul_gflops;
                let _ = write!(line, " = {share:.0} % of the product");
                if let Some(peak) = self.peak_gflops {
                    let _ = write!(line, ", {:.0} % of the peak", 100.0 * gflops / peak);
                }
            }
        }
        for (name, ms) in &self.parts {
            let _ = write!(line, "\n         {name} {ms:.3} ms");
        }
        line.extend(self.device.iter().map(|device| device.picture.as_str()));
        line
    }
}

/// What to measure and where.
#[derive(Debug, Clone)]
pub struct Bench {
    /// What is measured.
    pub subject: Subject,
    /// Name of the algorithm.
    pub algo: String,
    /// Name of the task that gives the sizes.
    pub task: String,
    /// Name of the backend.
    pub backend: Option<String>,
    /// Other settings, as for `--set`.
    pub set: Vec<String>,
}

impl Bench {
    /// Measures, after a warm-up: one result for each variant.
    ///
    /// # Errors
    /// When the configuration or the backend does not exist, or the subject is one that the
    /// algorithm does not have.
    pub fn run(&self, yardsticks: Yardsticks) -> Result<Vec<Measurement>, RunError> {
        let config = resolve(&request(
            &self.algo,
            &self.task,
            self.backend.as_deref(),
            &self.set,
        ))?;
        check_config(&config)?;
        let work = Timing {
            config: &config,
            subject: self.subject,
            yardsticks,
        };
        dispatch(&config, work)?
    }
}

/// The configuration of a benchmark; `set` wins over the defaults.
pub(crate) fn request(algo: &str, task: &str, backend: Option<&str>, set: &[String]) -> Request {
    Request {
        algo: Some(algo.to_owned()),
        env: Some(task.to_owned()),
        backend: backend.map(str::to_owned),
        set: set.to_vec(),
        ..crate::backend::request()
    }
}

/// Writes results as a JSON array.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, results: &[Measurement]) -> Result<(), RunError> {
    Ok(write_json(path, &results)?)
}

struct Timing<'a> {
    config: &'a Config,
    subject: Subject,
    yardsticks: Yardsticks,
}

/// Times of one variant.
struct Times {
    variant: &'static str,
    precision: Precision,
    /// Milliseconds of each repetition.
    ms: Vec<f64>,
    rows: usize,
    /// Operations of one repetition.
    flops: Option<f64>,
    parts: Vec<(&'static str, f64)>,
    /// What a device that computes by itself does meanwhile.
    device: Option<DeviceTimes>,
}

impl Work for Timing<'_> {
    type Output = Result<Vec<Measurement>, RunError>;

    fn run<B: RescoreBackend>(self, device: &B::Device) -> Self::Output {
        let config = self.config;
        let times = match self.subject {
            Subject::Chain => chain::measure::<B>(config, device)?,
            Subject::Critic => critic::measure::<B>(config, device)?,
            Subject::Update => vec![agent::measure_update::<B>(config, device)?],
            Subject::Act => vec![agent::measure_act::<B>(config, device)?],
            Subject::Train => vec![iteration::measure::<B>(config, device)?],
        };
        let measurement = |mut times: Times| {
            times.ms.sort_by(f64::total_cmp);
            let ms = median(&times.ms);
            Measurement {
                bench: self.subject.name(),
                variant: times.variant,
                algo: config.algo.clone(),
                backend: config.backend.clone(),
                task: config.env.clone(),
                rows: times.rows,
                particles: diffusion(config).map(|(_, particles)| particles),
                precision: times.precision.name(),
                threads: rayon::current_num_threads(),
                cpu: machine::cpu_name(),
                ms,
                ms_min: times.ms[0],
                ms_max: times.ms[times.ms.len() - 1],
                repetitions: times.ms.len(),
                gflops: times.flops.map(|flops| flops / ms / 1e6),
                matmul_gflops: self.yardsticks.matmul_gflops,
                peak_gflops: self.yardsticks.peak_gflops,
                parts: times.parts,
                device: times.device,
                peak_memory_mb: peak_memory_mb(),
            }
        };
        Ok(times.into_iter().map(measurement).collect())
    }
}

/// The settings of a diffusion policy and the particles of an update's chain, if the algorithm has
/// one.
fn diffusion(config: &Config) -> Option<(&DiffusionActorSettings, usize)> {
    let settings = &config.agent.settings;
    let dpmd = settings.get::<dpmd::DpmdSettings>();
    let dpmd = dpmd.map(|of| (&of.recipe.actor, of.regression.particles));
    let sdac = settings.get::<sdac::SdacSettings>();
    let sdac = sdac.map(|of| (&of.recipe.actor, of.recipe.acting.bootstrap_particles));
    let published = settings.get::<dpmd_reference::DpmdSettings>();
    let published = published.map(|of| &of.base).or_else(|| {
        let sdac = settings.get::<sdac_reference::SdacSettings>()?;
        Some(&sdac.base)
    });
    let published = published.map(|base| (&base.actor, base.particles));
    dpmd.or(sdac).or(published)
}

/// The precision in which the policy is sampled.
fn precision(config: &Config) -> Precision {
    let sizes = config.agent.settings.outline().sizes;
    sizes.map_or(Precision::F32, |sizes| sizes.precision)
}

/// Name of the variant that a backend runs by itself.
fn variant_of(config: &Config) -> &'static str {
    // `NdArray` runs the default bodies, the others have kernels.
    match (config.backend.as_str(), precision(config)) {
        ("ndarray", _) => "plain",
        (_, Precision::F32) => "fused-f32",
        (_, Precision::Bf16) => "fused-bf16",
    }
}

/// Lengths of observation and action of the task.
fn dims(config: &Config) -> Result<[usize; 2], RunError> {
    let task = rescore_envs::find(&config.env)?;
    Ok([task.observation_dim, task.action_dim])
}

/// A result of another program, measured on the same machine: of [`Measurement`]'s form.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Other {
    /// As [`Measurement::bench`].
    pub bench: String,
    /// "other", or the name of what was measured.
    pub variant: String,
    /// As [`Measurement::algo`]; results without it are compared with every algorithm.
    #[serde(default)]
    pub algo: Option<String>,
    /// As [`Measurement::task`].
    pub task: String,
    /// As [`Measurement::rows`].
    pub rows: usize,
    /// As [`Measurement::particles`].
    #[serde(default)]
    pub particles: Option<usize>,
    /// Milliseconds.
    pub ms: f64,
}

/// Results of another program are far shorter.
const OTHERS_LIMIT: u64 = 16 << 20;

impl Other {
    /// Reads a JSON array of results.
    ///
    /// # Errors
    /// When the file cannot be read or has another form.
    pub fn read(path: &Path) -> Result<Vec<Self>, RunError> {
        let text = read_stream(path, OTHERS_LIMIT)?;
        serde_json::from_str(&text).map_err(|error| {
            RunError::usage(
                format!(
                    "{} is no array of benchmark results: {error}",
                    path.display()
                ),
                "`--json FILE` writes one: objects with at least bench, variant, task, rows, ms"
                    .to_owned(),
            )
        })
    }

    /// Whether it is of the same thing as `ours`.
    fn compares_with(&self, ours: &Measurement) -> bool {
        self.bench == ours.bench
            && self.algo.as_ref().is_none_or(|algo| *algo == ours.algo)
            && self.task == ours.task
            && self.rows == ours.rows
            && (self.particles.is_none() || self.particles == ours.particles)
            && self.ms > 0.0
    }

    /// The comparison in words, if there is one.
    pub fn ratio(&self, ours: &Measurement) -> Option<String> {
        self.compares_with(ours).then(|| {
            format!(
                "{:6} {:4} {:10} {} takes {:.2} ms, {:.2} times as long",
                ours.bench,
                ours.algo,
                ours.variant,
                self.variant,
                self.ms,
                self.ms / ours.ms
            )
        })
    }
}

/// Largest memory that this process has had, in millions of bytes, where the system tells.
fn peak_memory_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Milliseconds of repetitions of `once`, after a warm-up.
fn repeat(mut once: impl FnMut()) -> Vec<f64> {
    let mut timed = || {
        let start = Instant::now();
        once();
        start.elapsed().as_secs_f64() * 1e3
    };
    for _ in 0..WARM_UP {
        timed();
    }
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < FEWEST || (times.len() < REPETITIONS && start.elapsed() < TIME) {
        times.push(timed());
    }
    times
}

/// Median of sorted values, of which there is at least one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// Standard normals `[rows, columns]` from the stream "bench".
fn random<B: RescoreBackend>(
    [rows, columns]: [usize; 2],
    counter: u32,
    device: &B::Device,
) -> Tensor<B, 2> {
    let key = NoiseKey::new(0, "bench");
    let mut values = vec![0.0; rows * columns];
    key.fill_normals(&mut values, columns, 0, 0, counter);
    upload(values, [rows, columns], device)
}

#[cfg(test)]
mod tests;
