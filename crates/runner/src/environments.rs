//! The environments of a run.

use rescore_envs::{Env, EnvError, EnvState, RescaleAction, VecEnv};
use rescore_kernels::NoiseKey;
use rescore_store::disk::size;

use crate::config::Config;
use crate::evaluate::Evaluator;
use crate::footprint::{Footprint, Memory};
use crate::normalize::Normalizers;
use crate::{RunError, backend};

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

impl Environments {
    /// Makes and seeds the environments that `config` asks for.
    ///
    /// # Errors
    /// When the task cannot be made.
    pub fn new(config: &Config) -> Result<Self, RunError> {
        let (env, seed, task) = (&config.env, config.seed, &config.task);
        let stream = NoiseKey::new(seed, "environment").seed();
        let training = VecEnv::with_settings(env, task, config.training.num_envs, stream)?;
        let evaluation = Evaluator::new(env, task, config.evaluation.episodes, seed)?;
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
        let training = VecEnv::from_envs(envs, stream)?;
        let episodes = config.evaluation.episodes;
        let evaluation = Evaluator::with(|| in_units(make()?), episodes, config.seed)?;
        Self::of(config, training, evaluation)
    }

    /// Widths of an observation and of an action.
    pub fn dims(&self) -> (usize, usize) {
        (self.training.observation_dim(), self.training.action_dim())
    }

    /// Refuses an agent or a replay buffer that cannot fit into memory: an allocation that fails
    /// ends the process.
    fn check_memory(&self, config: &Config) -> Result<(), RunError> {
        let dims = [self.training.observation_dim(), self.training.action_dim()];
        Footprint::new(config, dims.into()).require_memory()?;
        let training = &config.training;
        let Some(sizes) = config.agent.settings.outline().sizes else {
            return Ok(());
        };
        let needed = sizes.least_memory(dims, training.batch_size, training.num_envs) as u64;
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
            "smaller `hidden_dims`, `training.batch_size` or numbers of particles need less",
        ))
    }

    fn of(config: &Config, training: VecEnv, mut evaluation: Evaluator) -> Result<Self, RunError> {
        evaluation.set_max_steps(config.evaluation.max_steps);
        evaluation.set_best_of(config.evaluation.best_of);
        let (learns, plays) = (
            (training.observation_dim(), training.action_dim()),
            evaluation.dims(),
        );
        if learns == plays {
            let envs = Self {
                normalizers: Normalizers::new(config, &training),
                training,
                evaluation,
            };
            envs.check_memory(config)?;
            return Ok(envs);
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

    /// The complete state of those that the agent learns in, and of what normalises; of
    /// environments that cannot save it ([`EnvError::StateUnsupported`]) only a seed for new
    /// episodes. Evaluations need none.
    ///
    /// # Errors
    /// When saving a task fails in another way.
    pub fn state(&self) -> Result<EnvState, RunError> {
        let mut state = EnvState::new();
        state.put_state("training", self.training.state_or_seeds()?);
        state.put_state("normalizers", self.normalizers.state());
        Ok(state)
    }

    /// Takes over a state of environments that were made in the same way.
    ///
    /// # Errors
    /// When it is of another form. Some environments may have taken over theirs then.
    pub fn restore(&mut self, state: &EnvState) -> Result<(), RunError> {
        state.check_form(&self.state()?).map_err(EnvError::from)?;
        self.training.restore(&state.state("training"))?;
        (self.normalizers.restore(&state.state("normalizers"))).map_err(EnvError::from)?;
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
