//! A trained policy by itself.

use std::path::Path;

use rescore_kernels::RescoreBackend;
use rescore_runner::evaluate::{play, to_vec};
use rescore_runner::{Config, Request, RunError, policy, resolve};
use rescore_store::checkpoint::{Checkpoints, Which};

use crate::backend::{Work, dispatch};

/// Acts as `act(observation)`, in units of [-1, 1].
type Act = Box<dyn Fn(Vec<f32>) -> Result<Vec<f32>, RunError> + Send>;

/// The policy of a run, from its last checkpoint, on the backend of the run. The package
/// `rescore-policy` acts without a tensor library, from a file that `rescore export` writes.
///
/// ```no_run
/// let policy = rescore::Policy::load("runs/my-run")?;
/// let action = policy.act(&[0.0, 1.0, 0.0])?;
/// # Ok::<(), rescore::RunError>(())
/// ```
pub struct Policy {
    observation_dim: usize,
    /// Centre and half of the range of each component of an action, in the task's units.
    units: Vec<[f64; 2]>,
    act: Act,
}

impl Policy {
    /// The policy of the run in the folder `run`.
    ///
    /// # Errors
    /// When the folder holds no run with a checkpoint, or its task or algorithm is not known here.
    pub fn load(run: impl AsRef<Path>) -> Result<Self, RunError> {
        let run = run.as_ref();
        let config = resolve(&Request::of_run(run))?;
        let checkpoint = Checkpoints::of(run).find(Which::Last)?;
        #[cfg(feature = "mujoco")]
        let _model = rescore_runner::model_copy::restore(run, &config)?;
        let env = rescore_envs::make(&config.env, &config.task)?;
        let space = env.action_space();
        let units: Vec<_> = (space.low().iter().zip(space.high()))
            .map(|(low, high)| [0.5 * (high + low), 0.5 * (high - low)])
            .collect();
        let observation_dim = env.observation_space().dim();
        let work = Load {
            config: &config,
            checkpoint: &checkpoint,
            dims: (observation_dim, units.len()),
        };
        Ok(Self {
            observation_dim,
            act: dispatch(&config, work)??,
            units,
        })
    }

    /// The action that evaluation plays at `observation` (raw, as the task gives it), in the task's
    /// units and within its bounds.
    ///
    /// # Errors
    /// When the observation has another length than the task's, or a number in it is not finite, or
    /// the run plays the best of several samples and its policy has none.
    pub fn act(&self, observation: &[f32]) -> Result<Vec<f32>, RunError> {
        if observation.len() != self.observation_dim {
            let (found, expected) = (observation.len(), self.observation_dim);
            let message =
                format!("an observation of {found} numbers, but the policy has {expected}");
            return Err(RunError::usage(message, "give it what the task observes"));
        }
        if let Some(i) = observation.iter().position(|x| !x.is_finite()) {
            let message = format!("number {i} of the observation is {}", observation[i]);
            return Err(RunError::usage(message, "a policy acts on finite numbers"));
        }
        let action = (self.act)(observation.to_vec())?;
        let in_units = action.iter().zip(&self.units);
        Ok(in_units
            .map(|(a, [centre, half])| (centre + half * f64::from(a.clamp(-1.0, 1.0))) as f32)
            .collect())
    }
}

struct Load<'a> {
    config: &'a Config,
    checkpoint: &'a Path,
    dims: (usize, usize),
}

impl Work for Load<'_> {
    type Output = Result<Act, RunError>;

    fn run<B: RescoreBackend>(self, device: &B::Device) -> Self::Output {
        let policy = policy::load::<B>(self.config, self.checkpoint, self.dims, device)?;
        let (device, best_of) = (device.clone(), self.config.evaluation.best_of);
        Ok(Box::new(move |mut observation| {
            if let Some(normalizer) = &policy.normalizer {
                normalizer.apply(&mut observation);
            }
            let observations = policy::row::<B>(observation, &device);
            Ok(to_vec(play(policy.agent.as_ref(), observations, best_of)?))
        }))
    }
}
