//! `train`: a new run, or going on with one.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use rescore_runner::RunError;
use rescore_runner::backend::AUTO;
use rescore_runner::config::{
    Config, Request, differences, of_names, require_allowed, resolve, resolve_with_reason,
    smaller_learning_rate,
};
use rescore_runner::interrupt::Interrupt;
use rescore_runner::{Begin, Environments, Resumption, folder};
use rescore_store::StoreError;
use rescore_store::checkpoint::Checkpoints;
use rescore_store::names::CONFIG;
use rescore_store::prune::refuse_pruned;
use rescore_store::run_folder::RunFolder;

use super::{again, print};
use crate::run::train_here;
use crate::{Error, backend, start};

#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct TrainArgs {
    /// Algorithm, see `config --help` [default: dpmd]
    #[arg(long, value_name = "NAME")]
    algo: Option<String>,
    /// Preset of the algorithm, see `config` [default: small on a processor, full on a GPU]
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Task, see `envs` [default: InvertedPendulum-v4]
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Seed of all random streams [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Train N seeds one after the other, --seed and those that follow it, each in a run folder of its
    /// own: s0, s1, ... below --out, or fresh ones below runs/
    #[arg(long, value_name = "N")]
    seeds: Option<NonZeroU64>,
    /// Environment steps, those of warm-up included where `training.count_warmup` is true [default: the
    /// task's, else the preset's, else 1000000]
    #[arg(long, value_name = "N", value_parser = parse_steps)]
    steps: Option<u64>,
    /// Tensor backend: flex, ndarray, cuda, wgpu, vulkan or metal [default: flex]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Device of the backend, see `devices` [default: the first GPU]
    #[arg(long, value_name = "N")]
    device: Option<String>,
    /// Configuration file; `config` writes one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, by its full path or by the end of it where that is unique
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Of N samples of the policy play the one that the critics value most in evaluation [default: as
    /// the algorithm does]
    #[arg(long, value_name = "N")]
    best_of: Option<usize>,
    /// Run folder, new or empty [default: a fresh one below runs/]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with a run from its last checkpoint; with --steps to a later end, with --set under
    /// another learning rate or with evaluations, checkpoints or logs at other intervals
    #[arg(long, value_name = "RUN_DIR", group = "going_on", conflicts_with_all = ["algo", "preset", "env", "seed", "seeds", "config", "out"])]
    resume: Option<PathBuf>,
    /// Begin the run in --out, go on with it if it has begun, or say that it is done: one command
    /// for jobs that are requeued
    #[arg(long = "continue", requires = "out", group = "going_on")]
    go_on: bool,
    /// Go on with another --backend than the run had, which changes the last bits of its results
    #[arg(long, requires = "going_on")]
    allow_different_bits: bool,
    /// Stop where an older checkpoint would be used because the last is damaged
    #[arg(long, requires = "going_on")]
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
    pub(super) fn run(self) -> Result<(), Error> {
        // Before there is a run: a job may be warned while it starts.
        let interrupt = Interrupt::install().map_err(StoreError::io(
            "handle signals in",
            Path::new("this process"),
        ))?;
        match (&self.resume, self.seeds) {
            (Some(run), _) => self.resume(run, &interrupt),
            (None, Some(count)) => self.train_seeds(count, &interrupt),
            (None, None) => self.train(&interrupt),
        }
    }

    /// The command that begins the run of the configuration file `config` in the folder `out`, goes on
    /// with it, or says that it is done.
    pub(super) fn of_sweep(config: PathBuf, out: PathBuf) -> Self {
        Self {
            config: Some(config),
            out: Some(out),
            go_on: true,
            ..Self::default()
        }
    }

    /// Makes a run for each of `count` seeds. In this process and one after the other: each is the run
    /// that it would be alone, and a full disk or a signal ends all of them at one place.
    fn train_seeds(&self, count: NonZeroU64, interrupt: &Interrupt) -> Result<(), Error> {
        let first = resolve(&self.request(backend::request()))?.seed;
        let last = first.checked_add(count.get() - 1);
        let last = last
            .filter(|last| i64::try_from(*last).is_ok())
            .ok_or_else(|| {
                RunError::usage(
                    format!("--seeds {count}: there are not so many seeds from {first} on"),
                    "a seed is below 2^63",
                )
            })?;
        let of = |seed: u64| Self {
            seeds: None,
            out: self.out.as_ref().map(|out| out.join(format!("s{seed}"))),
            // The highest layer of all.
            set: [&self.set[..], &[format!("seed={seed}")]].concat(),
            ..self.clone()
        };
        if let Some(out) = &self.out {
            if out.join(CONFIG).exists() {
                return Err(RunError::usage(
                    format!("{} is the folder of a run", out.display()),
                    "with --seeds, --out is a folder of run folders",
                )
                .into());
            }
            // Before the first has taken its hours.
            let taken = (first..=last).filter_map(|seed| of(seed).out);
            let taken = taken.filter(|_| !self.go_on);
            if let Some(taken) = taken.into_iter().find(|run| run.join(CONFIG).exists()) {
                return Err(StoreError::FolderNotEmpty(taken).into());
            }
        }
        let mut diverged = None;
        for seed in first..=last {
            match of(seed).train(interrupt) {
                Ok(()) => {}
                // The other seeds need not.
                Err(Error::Stopped { error, command })
                    if matches!(error, RunError::NotFinite { .. }) =>
                {
                    tracing::error!("seed {seed}: {error}");
                    diverged.get_or_insert(Error::Stopped { error, command });
                }
                Err(error) => {
                    if seed < last {
                        tracing::warn!(
                            "seeds {} to {last} have not begun; the same command with --out and \
                             --continue goes on with all",
                            seed + 1
                        );
                    }
                    return Err(error);
                }
            }
        }
        diverged.map_or(Ok(()), Err)
    }

    /// Begins a run or, with `--continue`, goes on with it; prints its folder.
    pub(super) fn train(&self, interrupt: &Interrupt) -> Result<(), Error> {
        let begun = self
            .out
            .as_deref()
            .filter(|out| self.go_on && out.join(CONFIG).exists());
        let begun = begun
            .map(|out| resolve(&Request::of_run(out)))
            .transpose()?;
        let begun = begun
            .and_then(|begun| begun.agent.preset)
            .map(str::to_owned);
        let (config, preset) = resolve_with_reason(&self.request(Request {
            begun,
            ..backend::request()
        }))?;
        let say = || preset.iter().for_each(|preset| tracing::info!("{preset}"));
        backend::check_config(&config)?;
        match &self.out {
            Some(out) if self.go_on => {
                // A run that has begun makes its environments of the model that it holds.
                let is_run = out.join(CONFIG).exists();
                let fresh = (!is_run).then(|| Environments::new(&config)).transpose()?;
                let (folder, begun) = folder::enter(out, &config, start(&config))?;
                if let (false, Some(envs)) = (begun, fresh) {
                    say();
                    return begin(&config, envs, &folder, Begin::Fresh, interrupt);
                }
                let before = resolve(&Request::of_run(out))?;
                self.go_on_in(&folder, &before, &config, interrupt)
            }
            out => {
                // Before anything is written: a task that cannot be made leaves nothing behind.
                let envs = Environments::new(&config)?;
                let folder = folder::create(out.as_deref(), &config, start(&config))?;
                say();
                begin(&config, envs, &folder, Begin::Fresh, interrupt)
            }
        }
    }

    fn resume(&self, run: &Path, interrupt: &Interrupt) -> Result<(), Error> {
        let folder = RunFolder::open(run)?;
        let before = resolve(&Request::of_run(run))?;
        require_allowed(&of_names(&before, &self.set)?, false, run)?;
        let mut request = self.request(Request::of_run(run));
        if self
            .backend
            .as_ref()
            .is_some_and(|name| *name != before.backend)
        {
            // The number of a device means nothing to another backend.
            request.device.get_or_insert_with(|| AUTO.to_owned());
        }
        let config = resolve(&request)?;
        self.go_on_in(&folder, &before, &config, interrupt)
    }

    /// Goes on with the run in `folder`, or says that it is done.
    fn go_on_in(
        &self,
        folder: &RunFolder,
        before: &Config,
        config: &Config,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let Some(point) = self.going_on(before, config, folder)? else {
            return Ok(print(&folder.path().display().to_string())?);
        };
        #[cfg(feature = "mujoco")]
        let _model = rescore_runner::model_copy::restore(folder.path(), config)?;
        let envs = Environments::new(config)?;
        begin(config, envs, folder, point, interrupt)
    }

    /// `below` with the options of the command line.
    fn request(&self, below: Request) -> Request {
        Request {
            config_file: self.config.clone(),
            algo: self.algo.clone(),
            preset: self.preset.clone(),
            env: self.env.clone(),
            seed: self.seed,
            steps: self.steps,
            backend: self.backend.clone(),
            device: self.device.clone(),
            set: (self.set.iter().cloned())
                .chain(self.best_of.map(|n| format!("evaluation.best_of={n}")))
                .collect(),
            ..below
        }
    }

    /// How the run in `folder`, whose configuration was `before`, goes on with `config`; nothing
    /// where it is done, which is said.
    fn going_on(
        &self,
        before: &Config,
        config: &Config,
        folder: &RunFolder,
    ) -> Result<Option<Begin>, RunError> {
        let run = folder.path();
        let changed = differences(before, config);
        require_allowed(&changed, self.allow_different_bits, run)?;
        backend::check_config(config)?;
        let reached = Checkpoints::of(run).steps()?.last().copied();
        if let Some(reached) = reached
            && config.steps < before.steps.min(reached)
        {
            let steps = config.steps;
            return Err(RunError::usage(
                format!("--steps {steps} is behind the run, which has reached step {reached}"),
                "a run can be made longer, not shorter",
            ));
        }
        // Not only the mark: the process may have been killed after it was given more steps.
        if folder.is_done() && config.steps <= reached.unwrap_or(before.steps) {
            if self.resume.is_some() && changed.iter().any(|change| change.key != "steps") {
                return Err(RunError::usage(
                    format!(
                        "the run has reached its last step, {}, and no setting matters any more",
                        before.steps
                    ),
                    "--steps N makes it longer",
                ));
            }
            tracing::info!(
                "the run has reached its last step, {}; --steps N makes it longer",
                before.steps
            );
            return Ok(None);
        }
        refuse_pruned(folder)?;
        if folder.is_done() && reached.is_none() {
            return Err(RunError::usage(
                format!(
                    "the run in {} is done and has no checkpoint left",
                    run.display()
                ),
                "start a new run with more --steps",
            ));
        }
        Ok(Some(Begin::Resumed(Resumption {
            strict: self.strict,
            changed,
            start: start(config),
        })))
    }
}

fn begin(
    config: &Config,
    envs: Environments,
    folder: &RunFolder,
    begin: Begin,
    interrupt: &Interrupt,
) -> Result<(), Error> {
    tracing::info!(
        algo = config.algo,
        env = config.env,
        seed = config.seed,
        steps = config.steps,
        folder = %folder.path().display(),
        "training"
    );
    let result = train_here(config, envs, folder, begin, interrupt);
    let smaller = smaller_learning_rate(config);
    let options: &[&str] = match &result {
        Err(RunError::Interrupted { .. }) => &[],
        Err(RunError::NotFinite { .. }) => &["--set", &smaller],
        _ => {
            result?;
            return Ok(print(&folder.path().display().to_string())?);
        }
    };
    let command = again::command(folder.path(), options);
    result.map_err(|error| Error::Stopped { error, command })
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
