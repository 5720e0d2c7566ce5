//! The training loop.

use std::time::Instant;

use rescore_envs::{Env, EnvError, EnvState, VecEnv};
use rescore_kernels::{NoiseKey, RescoreBackend};

use crate::announce::announce;
use crate::config::{Change, Config};
use crate::evaluate::{Evaluator, PARALLEL};
use crate::footprint::{Footprint, Memory, size};
use crate::forecast::Forecast;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::resume::resume;
use crate::run::Run;
use crate::run_folder::RunFolder;
use crate::schedule::UpdateSchedule;
use crate::{RunError, backend};

/// The environments of a run, made before anything is written so that a task that cannot be made
/// leaves nothing behind.
pub struct Environments {
    /// Those that the agent learns in.
    pub training: VecEnv,
    /// Those that it is evaluated in.
    pub evaluation: Evaluator,
}

impl Environments {
    /// Makes and seeds the environments that `config` asks for.
    ///
    /// # Errors
    /// When the task cannot be made.
    pub fn new(config: &Config) -> Result<Self, RunError> {
        let (env, seed, task) = (&config.env, config.seed, &config.task);
        let stream = NoiseKey::new(seed, "environment").seed();
        let envs = Self {
            training: VecEnv::with_settings(env, task, config.training.num_envs, stream)?,
            evaluation: Evaluator::new(env, task, config.training.eval_episodes, seed)?,
        };
        envs.check_memory(config)?;
        Ok(envs)
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
        let mut training = VecEnv::from_envs(envs, stream)?;
        if config.task.normalize_observation {
            training.normalize_observations();
        }
        let envs = Self {
            training,
            evaluation: Evaluator::with(make, config.training.eval_episodes, config.seed)?,
        };
        envs.check_memory(config)?;
        Ok(envs)
    }

    /// Refuses an agent or a replay buffer that cannot fit into memory: an allocation that fails
    /// ends the process.
    fn check_memory(&self, config: &Config) -> Result<(), RunError> {
        let dims = [self.training.observation_dim(), self.training.action_dim()];
        Footprint::new(config, dims.into()).require_memory()?;
        let training = &config.training;
        let needed = config
            .agent
            .least_memory(dims, training.batch_size, training.num_envs) as u64;
        let available = Memory::now().map_or(u64::MAX, |memory| memory.available);
        if needed <= available || !backend::computes_at_once(&config.backend) {
            return Ok(());
        }
        Err(RunError::usage(
            format!(
                "the networks and an update take {} of memory at least, and {} are available",
                size(needed),
                size(available)
            ),
            "smaller `agent.hidden_dims`, `training.batch_size` or numbers of particles need less",
        ))
    }

    /// The complete state of all of them.
    ///
    /// # Errors
    /// When the task cannot be saved.
    pub fn state(&self) -> Result<EnvState, RunError> {
        let mut state = EnvState::new();
        state.put_state("training", self.training.state()?);
        state.put_state("evaluation", self.evaluation.state()?);
        Ok(state)
    }

    /// Takes over a state of environments that were made in the same way, but for the number of
    /// those for evaluation; see [`Evaluator::restore`].
    ///
    /// # Errors
    /// When it is of another form. Some environments may have taken over theirs then.
    pub fn restore(&mut self, state: &EnvState) -> Result<(), RunError> {
        let evaluation = state.state("evaluation");
        let count = Evaluator::count(&evaluation);
        (state.check_form(&self.state_with(count)?)).map_err(EnvError::from)?;
        self.training.restore(&state.state("training"))?;
        self.evaluation.restore(&evaluation)?;
        Ok(())
    }

    /// A state as large as that of a run of this task can be, however many episodes it evaluates.
    ///
    /// # Errors
    /// When the task cannot be saved.
    pub fn largest_state(&self) -> Result<EnvState, RunError> {
        self.state_with(PARALLEL)
    }

    /// A state of the form that it has with `count` environments for evaluation.
    fn state_with(&self, count: usize) -> Result<EnvState, RunError> {
        let mut state = EnvState::new();
        state.put_state("training", self.training.state()?);
        state.put_state("evaluation", self.evaluation.form(count)?);
        Ok(state)
    }
}

/// Where a run begins.
#[derive(Debug, Clone, PartialEq)]
pub enum Begin {
    /// With its first step.
    Fresh,
    /// With its last checkpoint, if there is one.
    Resumed {
        /// Whether a damaged checkpoint is an error even if an older one is whole.
        strict: bool,
        /// What is another in the configuration than when the run was last written.
        changed: Vec<Change>,
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
    let dims = (envs.training.observation_dim(), envs.training.action_dim());
    let mut run = match begin {
        Begin::Fresh => Run::<B>::new(config, envs, folder, device)?,
        Begin::Resumed { strict, changed } => {
            resume::<B>(config, envs, folder, strict, &changed, device)?
        }
    };
    announce(config, folder.path(), dims, &run.agent.state());
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
    run.refill(interrupt)?;
    let steps = run.config.steps;
    let updates = UpdateSchedule::new(run.config.training.updates_per_step);
    let num_envs = run.config.training.num_envs as u64;
    let mut progress = Progress::begin("train", run.step, steps);
    let mut forecast = Forecast::default();
    loop {
        // There is nothing to learn from before the first transition is stored.
        while run.agent.updates() < updates.due(run.step) && run.has_transitions() {
            run.stop_if(interrupt)?;
            let begun = Instant::now();
            run.update()?;
            forecast.updated(begun, 1);
        }
        forecast.say(run.config, run.step);
        run.report(interrupt)?;
        progress.show(run.step, || run.status());
        if run.step >= steps {
            break;
        }
        run.stop_if(interrupt)?;
        let begun = Instant::now();
        let observations = run.observe()?;
        let actions = run.act(&observations);
        if run.config.training.overlap {
            let due = if run.has_transitions() {
                updates.due(run.step + num_envs)
            } else {
                0
            };
            run.draw_ahead(due);
            let actions = run.read(actions)?;
            forecast.stepped(begun, num_envs);
            let (begun, made) = (Instant::now(), run.agent.updates());
            run.interact_while_learning(&observations, &actions, due)?;
            forecast.updated(begun, run.agent.updates() - made);
        } else {
            let actions = run.read(actions)?;
            run.interact(&observations, &actions)?;
            forecast.stepped(begun, num_envs);
        }
        run.advance();
    }
    progress.finish(run.step, &run.status());
    Ok(())
}
