//! `bench` on the command line.

use std::path::PathBuf;

use clap::ValueEnum;
use rescore_envs::{EnvError, TaskSettings};
use rescore_runner::config::{Request, resolve};
use rescore_runner::{RunError, backend::computes_at_once};
use rescore_store::durable::write_json;
use rescore_store::output;

use super::envs::{self, EnvMeasurement};
use super::{Bench, Other, Subject, Yardsticks, checkpoint, write};
use crate::backend::{self, COMPILED, device_name};

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// What to measure
    #[arg(value_enum)]
    subject: SubjectArg,
    /// Algorithm, several times for several [default: dpmd and sdac]
    #[arg(long, value_name = "NAME")]
    algo: Vec<String>,
    /// Preset of the algorithm [default: the one that `train` would take]
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Task that gives the sizes [default: HalfCheetah-v4; for `envs`: all]
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Tensor backend [default: flex]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Device of the backend, see `devices` [default: the first GPU]
    #[arg(long, value_name = "N")]
    device: Option<String>,
    /// Candidate actions per observation [default: 32, as published]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    particles: Option<u32>,
    /// Threads of the computation [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Set one key, as for `train`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Compare with the results in a file of the form that --json writes, of another program say
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// With `gpu`: also SDAC, the critics, Ant and Humanoid
    #[arg(long)]
    all: bool,
    /// Also write the results to a file, as a JSON array
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SubjectArg {
    /// The denoising chain: plain tensor code, and kernels in each precision
    Chain,
    /// Both critics forward, backward and Adam: plain tensor code, and kernels
    Critic,
    /// One gradient update (mean of an even and an odd one)
    Update,
    /// The actions of all environments for one step
    Act,
    /// Whole iterations of training, in parts
    Train,
    /// A checkpoint, and the guard against numbers that are not finite, beside the training time
    Checkpoint,
    /// Steps of the tasks, next to a bare loop over the simulator
    Envs,
    /// What a GPU is bought for, in one go: the chain at two sizes, updates, acting, iterations
    Gpu,
}

impl SubjectArg {
    /// Of an agent's benchmarks.
    const fn subject(self) -> Option<Subject> {
        match self {
            Self::Chain => Some(Subject::Chain),
            Self::Critic => Some(Subject::Critic),
            Self::Update => Some(Subject::Update),
            Self::Act => Some(Subject::Act),
            Self::Train => Some(Subject::Train),
            Self::Checkpoint | Self::Envs | Self::Gpu => None,
        }
    }
}

/// How a line is written to stdout.
type Print = fn(&str) -> Result<(), RunError>;

impl BenchArgs {
    /// Measures what was asked for, and prints it.
    ///
    /// # Errors
    /// As [`Bench::run`]; when a file cannot be read or written.
    pub fn run(mut self, print: Print) -> Result<(), RunError> {
        if let Some(path) = &self.json {
            output::json_array(path)?;
        }
        if let Some(threads) = self.threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into());
            pool.build_global().map_err(|error| RunError::Usage {
                message: format!("cannot use {threads} threads: {error}"),
                hint: None,
            })?;
        }
        let preset = self.preset.as_ref();
        self.set
            .extend(preset.map(|preset| format!("agent.preset={preset}")));
        let device = self.device.as_ref();
        let device = device.map(|device| format!("device=\"{device}\""));
        self.set.extend(device);
        match (self.subject, self.subject.subject()) {
            (_, Some(subject)) => self.measure(subject, print),
            (SubjectArg::Envs, _) => self.measure_envs(print),
            (SubjectArg::Gpu, _) => self.measure_gpu(print),
            (_, None) => self.measure_checkpoints(print),
        }
    }

    fn task(&self) -> String {
        self.env.clone().unwrap_or_else(|| "HalfCheetah-v4".into())
    }

    /// The algorithms asked for, or `default`.
    fn algorithms(&self, default: &[&str]) -> Vec<String> {
        if self.algo.is_empty() {
            default.iter().map(|&name| name.to_owned()).collect()
        } else {
            self.algo.clone()
        }
    }

    /// The assignments for `algo`, whose particles have a key of their own.
    fn set_of(&self, algo: &str) -> Vec<String> {
        let key = match algo {
            "dpmd" => "agent.regression.particles",
            "sdac" => "agent.reverse_samples",
            _ => "agent.particles",
        };
        let particles = self.particles.map(|count| format!("{key}={count}"));
        self.set.iter().cloned().chain(particles).collect()
    }

    fn measure(&self, subject: Subject, print: Print) -> Result<(), RunError> {
        let algorithms = self.algorithms(match subject {
            // One chain and one pair of critics serve both.
            Subject::Chain | Subject::Critic => &["dpmd-reference"],
            Subject::Update | Subject::Act | Subject::Train => &["dpmd", "sdac"],
        });
        let benches = algorithms.into_iter().map(|algo| Bench {
            subject,
            set: self.set_of(&algo),
            algo,
            task: self.task(),
            backend: self.backend.clone(),
        });
        self.measure_each(benches, print)
    }

    /// Everything on a GPU; on its own where `--all` is not given the parts that its purchase is
    /// decided by.
    fn measure_gpu(mut self, print: Print) -> Result<(), RunError> {
        let on_gpu = |name: &&&str| !computes_at_once(name);
        let compiled = COMPILED.iter().find(on_gpu).map(|name| (*name).to_owned());
        let Some(backend) = self.backend.clone().or(compiled) else {
            return Err(RunError::usage(
                "no GPU backend is compiled into this program".to_owned(),
                "`cargo xtask bench gpu --backend wgpu` (or cuda) builds one with it".to_owned(),
            ));
        };
        self.backend = Some(backend);
        let task = self.task();
        let config = resolve(&Request {
            env: Some(task.clone()),
            backend: self.backend.clone(),
            set: self.set.clone(),
            ..backend::request()
        })?;
        print(&format!("{}: {}", config.backend, device_name(&config)?))?;
        let bench = |subject, algo: &str, task: &str, more: &[String]| Bench {
            subject,
            algo: algo.to_owned(),
            task: task.to_owned(),
            backend: self.backend.clone(),
            set: [&self.set_of(algo), more].concat(),
        };
        let large = format!("training.batch_size={}", 8 * config.training.batch_size);
        let overlap = ["training.overlap=true".to_owned()];
        let mut benches = vec![
            bench(Subject::Chain, "dpmd-reference", &task, &[]),
            bench(Subject::Chain, "dpmd-reference", &task, &[large]),
            bench(Subject::Update, "dpmd-reference", &task, &[]),
            bench(Subject::Act, "dpmd-reference", &task, &[]),
            bench(Subject::Train, "dpmd-reference", &task, &[]),
            bench(Subject::Train, "dpmd-reference", &task, &overlap),
        ];
        if self.all {
            benches.extend([
                bench(Subject::Critic, "dpmd-reference", &task, &[]),
                bench(Subject::Update, "sdac-reference", &task, &[]),
                bench(Subject::Train, "sdac-reference", &task, &overlap),
            ]);
            let larger = ["Ant-v4", "Humanoid-v4"].into_iter();
            let larger =
                larger.filter(|name| rescore_envs::make(name, &TaskSettings::default()).is_ok());
            benches
                .extend(larger.map(|name| bench(Subject::Train, "dpmd-reference", name, &overlap)));
        }
        self.measure_each(benches, print)
    }

    fn measure_each(
        &self,
        benches: impl IntoIterator<Item = Bench>,
        print: Print,
    ) -> Result<(), RunError> {
        let others = self.against.as_deref();
        let others = others.map_or(Ok(Vec::new()), Other::read)?;
        let yardsticks = Yardsticks::measure();
        print(&yardsticks.line())?;
        let mut results = Vec::new();
        for bench in benches {
            for result in bench.run(yardsticks)? {
                print(&result.line())?;
                for line in others.iter().filter_map(|other| other.ratio(&result)) {
                    print(&line)?;
                }
                results.push(result);
            }
        }
        let json = self.json.as_deref();
        json.map_or(Ok(()), |path| write(path, &results))
    }

    fn measure_envs(&self, print: Print) -> Result<(), RunError> {
        let tasks = match &self.env {
            Some(name) => vec![rescore_envs::find(name)?],
            None => rescore_envs::list(),
        };
        print(&EnvMeasurement::heading(rayon::current_num_threads()))?;
        let mut results = Vec::new();
        for task in tasks {
            // Within the thread pool, as in training.
            match rayon::scope(|_| envs::measure(&task)) {
                // Listed, but not in this build.
                Err(RunError::Env(EnvError::MujocoNotBuilt { .. })) if self.env.is_none() => {
                    continue;
                }
                result => results.push(result?),
            }
            print(&results[results.len() - 1].line())?;
        }
        self.write(&results)
    }

    fn measure_checkpoints(&self, print: Print) -> Result<(), RunError> {
        let mut results = Vec::new();
        for algo in self.algorithms(&["dpmd", "sdac", "sac"]) {
            let backend = self.backend.as_deref();
            let request = super::request(&algo, &self.task(), backend, &self.set_of(&algo));
            let cost = checkpoint::measure(&request)?;
            print(&cost.line())?;
            results.push(cost);
        }
        self.write(&results)
    }

    fn write(&self, results: &impl serde::Serialize) -> Result<(), RunError> {
        let json = self.json.as_deref();
        Ok(json.map_or(Ok(()), |path| write_json(path, results))?)
    }
}
