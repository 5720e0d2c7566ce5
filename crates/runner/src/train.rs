//! The training loop.

use rescore_envs::{Env, EnvError, EnvState, RescaleAction, VecEnv};
use rescore_kernels::{NoiseKey, RescoreBackend};

use crate::RunError;
use crate::config::Config;
use crate::evaluate::Evaluator;
use crate::interrupt::Interrupt;
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
}

impl Environments {
    /// Makes and seeds the environments that `config` asks for.
    ///
    /// # Errors
    /// When the task cannot be made.
    pub fn new(config: &Config) -> Result<Self, RunError> {
        let (env, seed, task) = (&config.env, config.seed, &config.task);
        let stream = NoiseKey::new(seed, "environment").seed();
        let training = VecEnv::with_settings(env, task, config.training.num_envs, stream)?;
        let evaluation = Evaluator::new(env, task, config.training.eval_episodes, seed)?;
        Self::of(config, training, evaluation)
    }

    /// Environments of your own instead of a registered task; `make` gives one after the other.
    /// Agents act in units of [-1, 1]: where an action space is another, [`RescaleAction`] is put
    /// around the environment. `config.env` should be their name.
    ///
    /// # Errors
    /// When one of them cannot be made, has no finite bounds of actions, or has other dimensions
    /// than the first.
    pub fn with(
        config: &Config,
        mut make: impl FnMut() -> Result<Box<dyn Env>, EnvError>,
    ) -> Result<Self, RunError> {
        let stream = NoiseKey::new(config.seed, "environment").seed();
        let envs = (0..config.training.num_envs)
            .map(|_| in_units(make()?))
            .collect::<Result<_, _>>()?;
        let mut training = VecEnv::from_envs(envs, stream)?;
        if config.task.normalize_observation {
            training.normalize_observations();
        }
        let episodes = config.training.eval_episodes;
        let evaluation = Evaluator::with(|| in_units(make()?), episodes, config.seed)?;
        Self::of(config, training, evaluation)
    }

    fn of(config: &Config, training: VecEnv, mut evaluation: Evaluator) -> Result<Self, RunError> {
        evaluation.set_max_steps(config.training.eval_max_steps);
        let (learns, plays) = (
            (training.observation_dim(), training.action_dim()),
            evaluation.dims(),
        );
        if learns == plays {
            return Ok(Self {
                training,
                evaluation,
            });
        }
        Err(RunError::Env(EnvError::InvalidArgument(format!(
            "the evaluation environments have {} observation and {} action dimensions, those for \
             training {} and {}",
            plays.0, plays.1, learns.0, learns.1
        ))))
    }

    /// Warns if the state of the environments cannot be saved: a run that is `resumed` has begun
    /// new episodes then, and one that begins will do so when it is resumed.
    ///
    /// # Errors
    /// When saving it fails in another way, which would end the run at its first evaluation or
    /// checkpoint.
    pub fn check_saving(&self, resumed: bool) -> Result<(), RunError> {
        self.state()?;
        for env in self.training.envs() {
            if let Err(EnvError::StateUnsupported { task }) = env.save() {
                let then = if resumed {
                    "its environments have begun new episodes, with seeds that follow from the step"
                } else {
                    "checkpoints hold agent and replay buffer, but a resumed run begins new episodes"
                };
                tracing::warn!(
                    "`{task}` cannot save its state (see `rescore_envs::Task::save`), so this run \
                     cannot be resumed exactly: {then}"
                );
                break;
            }
        }
        Ok(())
    }

    /// The complete state of all of them; of environments that cannot save it
    /// ([`EnvError::StateUnsupported`]) only a seed for new episodes.
    ///
    /// # Errors
    /// When saving a task fails in another way.
    pub fn state(&self) -> Result<EnvState, RunError> {
        let mut state = EnvState::new();
        state.put_state("training", self.training.state_or_seeds()?);
        state.put_state("evaluation", self.evaluation.state()?);
        Ok(state)
    }

    /// Takes over a state of environments that were made in the same way.
    ///
    /// # Errors
    /// When it is of another form. Some environments may have taken over theirs then.
    pub fn restore(&mut self, state: &EnvState) -> Result<(), RunError> {
        state.check_form(&self.state()?).map_err(EnvError::from)?;
        self.training.restore(&state.state("training"))?;
        self.evaluation.restore(&state.state("evaluation"))?;
        Ok(())
    }
}

/// `env` with actions in units of [-1, 1].
fn in_units(env: Box<dyn Env>) -> Result<Box<dyn Env>, EnvError> {
    let space = env.action_space();
    let is = |bounds: &[f64], unit: f64| bounds.iter().all(|bound| bound.total_cmp(&unit).is_eq());
    if is(space.low(), -1.0) && is(space.high(), 1.0) {
        return Ok(env);
    }
    Ok(Box::new(RescaleAction::new(env)?))
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
    envs.check_saving(begin != Begin::Fresh)?;
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
        while run.can_learn() && run.agent.updates() < updates.due(run.step) {
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
            // Without a transition, the updates of this step are made up for after it.
            let due = if run.can_learn() { due } else { 0 };
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
