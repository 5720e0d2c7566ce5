//! The training loop.

use rescore_envs::{Env, EnvError, EnvState, VecEnv};
use rescore_kernels::{NoiseKey, RescoreBackend};

use crate::RunError;
use crate::config::Config;
use crate::evaluate::Evaluator;
use crate::interrupt::Interrupt;
use crate::normalize::Normalizers;
use crate::progress::Progress;
use crate::resume::resume;
use crate::run::Run;
use crate::run_folder::RunFolder;
use crate::schedule::UpdateSchedule;

/// The environments of a run, made before anything is written so that a task that cannot be made
/// leaves nothing behind.
pub struct Environments {
    /// Those that the agent learns in.
    pub training: VecEnv,
    /// Those that it is evaluated in.
    pub evaluation: Evaluator,
    /// What they have shown so far, by which the agent's view of it is normalised.
    pub normalizers: Normalizers,
}

/// What the environments' state was called that held the statistics of a replay buffer of
/// normalised observations, up to version 2 of checkpoints.
const OLD_STATISTICS: &str = "training.statistics.";

impl Environments {
    /// Makes and seeds the environments that `config` asks for.
    ///
    /// # Errors
    /// When the task cannot be made.
    pub fn new(config: &Config) -> Result<Self, RunError> {
        let (env, seed, task) = (&config.env, config.seed, &config.task);
        let stream = NoiseKey::new(seed, "environment").seed();
        let training = VecEnv::with_settings(env, task, config.training.num_envs, stream)?;
        Ok(Self {
            normalizers: Normalizers::new(config, &training),
            training,
            evaluation: Evaluator::new(env, task, config.training.eval_episodes, seed)?,
        })
    }

    /// Environments of your own instead of a registered task, with actions in units of [-1, 1];
    /// `make` gives one after the other. `config.env` should be their name.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub fn with(
        config: &Config,
        mut make: impl FnMut() -> Result<Box<dyn Env>, EnvError>,
    ) -> Result<Self, RunError> {
        let stream = NoiseKey::new(config.seed, "environment").seed();
        let envs = (0..config.training.num_envs)
            .map(|_| make())
            .collect::<Result<_, _>>()?;
        let training = VecEnv::from_envs(envs, stream)?;
        Ok(Self {
            normalizers: Normalizers::new(config, &training),
            training,
            evaluation: Evaluator::with(make, config.training.eval_episodes, config.seed)?,
        })
    }

    /// The complete state of all of them.
    ///
    /// # Errors
    /// When the task cannot be saved.
    pub fn state(&self) -> Result<EnvState, RunError> {
        let mut state = EnvState::new();
        state.put_state("training", self.training.state()?);
        state.put_state("evaluation", self.evaluation.state()?);
        state.put_state("normalizers", self.normalizers.state());
        Ok(state)
    }

    /// Takes over a state of environments that were made in the same way.
    ///
    /// # Errors
    /// When it is of another form. Some environments may have taken over theirs then.
    pub fn restore(&mut self, state: &EnvState) -> Result<(), RunError> {
        if state
            .arrays()
            .any(|(name, _)| name.starts_with(OLD_STATISTICS))
        {
            return Err(RunError::usage(
                "its replay buffer holds observations as they were normalised when they were \
                 stored, which this version cannot learn from; start the run again with \
                 training.normalize_observation=true",
                "this version stores raw observations and normalises them when it draws them",
            ));
        }
        state.check_form(&self.state()?).map_err(EnvError::from)?;
        self.training.restore(&state.state("training"))?;
        self.evaluation.restore(&state.state("evaluation"))?;
        (self.normalizers.restore(&state.state("normalizers"))).map_err(EnvError::from)?;
        Ok(())
    }
}

/// Where a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With its first step.
    Fresh,
    /// With its last checkpoint, if there is one.
    Resumed {
        /// Whether a damaged checkpoint is an error even if an older one is whole.
        strict: bool,
    },
}

/// Trains to the last step and leaves the results in `folder`.
///
/// # Errors
/// When a number is not finite, an environment fails or the folder cannot be read or written; and
/// [`RunError::Interrupted`], after a checkpoint, when `interrupt` is set.
pub fn train<B: RescoreBackend>(
    config: &Config,
    envs: Environments,
    folder: &RunFolder,
    begin: Begin,
    interrupt: &Interrupt,
    device: &B::Device,
) -> Result<(), RunError> {
    let mut run = match begin {
        Begin::Fresh => Run::<B>::new(config, envs, folder, device)?,
        Begin::Resumed { strict } => resume::<B>(config, envs, folder, strict, device)?,
    };
    let result = learn(&mut run, interrupt);
    if let Err(RunError::NotFinite { .. }) = &result {
        run.report_crash(folder, result.as_ref().err());
    }
    result?;
    folder.mark_done(run.step, run.agent.updates())
}

/// The loop. What an interrupted run had not completed of an iteration is done first.
fn learn<B: RescoreBackend>(run: &mut Run<'_, B>, interrupt: &Interrupt) -> Result<(), RunError> {
    run.warm_up(interrupt)?;
    let steps = run.config.steps;
    let updates = UpdateSchedule::new(run.config.training.updates_per_step);
    let mut progress = Progress::begin("train", run.step, steps);
    loop {
        while run.agent.updates() < updates.due(run.step) {
            run.stop_if(interrupt)?;
            run.update()?;
        }
        run.report(interrupt)?;
        progress.show(run.step, || run.status());
        if run.step >= steps {
            break;
        }
        run.stop_if(interrupt)?;
        let observations = run.observe()?;
        let actions = run.act(&observations);
        if run.config.training.overlap {
            let due = updates.due(run.step + run.config.training.num_envs as u64);
            run.draw_ahead(due);
            let actions = run.read(actions)?;
            run.interact_while_learning(&observations, &actions, due)?;
        } else {
            let actions = run.read(actions)?;
            run.interact(&observations, &actions)?;
        }
        run.advance();
    }
    progress.finish(run.step, &run.status());
    Ok(())
}
