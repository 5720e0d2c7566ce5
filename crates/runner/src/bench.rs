//! Milliseconds per update and per act, on random data of a task's sizes.

use std::time::{Duration, Instant};

use burn::tensor::{Tensor, TensorData};
use rescore_agents::{Agent, Batch};
use rescore_kernels::{NoiseKey, RescoreBackend};
use serde::Serialize;

use crate::RunError;
use crate::backend::{Work, dispatch};
use crate::config::{Config, Request, resolve};
use crate::device;
use crate::evaluate::to_vec;

/// Repetitions end when so many have been made ...
const REPETITIONS: usize = 30;
/// ... or when so much time has passed and there are enough of them for a median.
const TIME: Duration = Duration::from_secs(20);
const FEWEST: usize = 5;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// One gradient update on a batch: the mean over an even and an odd one, because some
    /// networks learn on every second update only.
    Update,
    /// The actions of all parallel environments for one step, exploration included.
    Act,
}

/// One measured result.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// "update" or "act".
    pub bench: &'static str,
    /// Name of the algorithm.
    pub variant: &'static str,
    /// Name of the backend.
    pub backend: String,
    /// The task whose observation and action lengths are used.
    pub task: String,
    /// Transitions per update, or environments per act.
    pub rows: usize,
    /// Candidate actions per observation, where the algorithm has them.
    pub particles: Option<i64>,
    /// Type of the numbers computed with.
    pub precision: String,
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
    /// Measures, after a warm-up.
    ///
    /// # Errors
    /// When the configuration or the backend does not exist.
    pub fn run(&self) -> Result<Measurement, RunError> {
        let config = resolve(&Request {
            algo: Some(self.algo.clone()),
            env: Some(self.task.clone()),
            backend: self.backend.clone(),
            set: self.set.clone(),
            ..Request::default()
        })?;
        let work = Timing {
            config: &config,
            subject: self.subject,
        };
        dispatch(&config.backend, work)?
    }
}

struct Timing<'a> {
    config: &'a Config,
    subject: Subject,
}

impl Work for Timing<'_> {
    type Output = Result<Measurement, RunError>;

    fn run<B: RescoreBackend>(self, device: &B::Device) -> Self::Output {
        let config = self.config;
        let task = rescore_envs::find(&config.env)?;
        let dims = (task.observation_dim, task.action_dim);
        let mut agent = config.agent.build::<B>(dims.0, dims.1, config.seed, device);
        let (bench, rows, mut times) = match self.subject {
            Subject::Update => {
                let rows = config.training.batch_size;
                let batch = random_batch::<B>(rows, dims, device);
                ("update", rows, time_updates(agent.as_mut(), &batch))
            }
            Subject::Act => {
                let rows = config.training.num_envs;
                let observations = random::<B>(rows, dims.0, 0, device);
                ("act", rows, time_acts(agent.as_ref(), &observations))
            }
        };
        times.sort_by(f64::total_cmp);
        let agent_table = toml::Table::try_from(&config.agent).unwrap_or_default();
        Ok(Measurement {
            bench,
            variant: config.algo.name(),
            backend: config.backend.clone(),
            task: config.env.clone(),
            rows,
            particles: agent_table
                .get("particles")
                .and_then(toml::Value::as_integer),
            precision: format!("{:?}", random::<B>(1, 1, 0, device).dtype()).to_lowercase(),
            threads: rayon::current_num_threads(),
            cpu: device::cpu_name(),
            ms: median(&times),
            ms_min: times[0],
            ms_max: times[times.len() - 1],
            repetitions: times.len(),
        })
    }
}

/// Milliseconds per update; each entry is the mean of an even and an odd one.
fn time_updates<B: RescoreBackend>(agent: &mut dyn Agent<B>, batch: &Batch<B>) -> Vec<f64> {
    let mut pair = || {
        let start = Instant::now();
        for _ in 0..2 {
            // Reading the metrics waits until the device is done.
            std::hint::black_box(agent.update(batch).read());
        }
        start.elapsed().as_secs_f64() * 1e3 / 2.0
    };
    pair();
    repeat(pair)
}

/// Milliseconds per act.
fn time_acts<B: RescoreBackend>(agent: &dyn Agent<B>, observations: &Tensor<B, 2>) -> Vec<f64> {
    let mut counter = 0;
    let mut act = || {
        let start = Instant::now();
        std::hint::black_box(to_vec(agent.act(observations.clone(), counter)));
        counter += 1;
        start.elapsed().as_secs_f64() * 1e3
    };
    for _ in 0..3 {
        act();
    }
    repeat(act)
}

fn repeat(mut once: impl FnMut() -> f64) -> Vec<f64> {
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < FEWEST || (times.len() < REPETITIONS && start.elapsed() < TIME) {
        times.push(once());
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
    rows: usize,
    columns: usize,
    counter: u32,
    device: &B::Device,
) -> Tensor<B, 2> {
    let key = NoiseKey::new(0, "bench");
    let mut values = vec![0.0; rows * columns];
    key.fill_normals(&mut values, columns, 0, 0, counter);
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

/// A batch of standard normals in which no episode ends.
fn random_batch<B: RescoreBackend>(
    rows: usize,
    (observation_dim, action_dim): (usize, usize),
    device: &B::Device,
) -> Batch<B> {
    Batch {
        observations: random(rows, observation_dim, 1, device),
        actions: random(rows, action_dim, 2, device),
        rewards: random::<B>(rows, 1, 3, device).reshape([rows]),
        next_observations: random(rows, observation_dim, 4, device),
        terminated: Tensor::zeros([rows], device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
        // Halves and whole numbers are exact, so the text is too.
        let medians = [median(&[1.0, 2.0, 4.0, 100.0]), median(&[1.0, 2.0, 100.0])];
        assert_eq!(medians.map(|ms| ms.to_string()), ["3", "2"]);
    }
}
