//! Rewards in other units.

use crate::{Env, EnvError, EnvState, Info, Space, Step};

/// Multiplies every reward by a constant.
#[derive(Debug, Clone)]
pub struct ScaleReward<E> {
    env: E,
    scale: f64,
}

impl<E: Env> ScaleReward<E> {
    /// Multiplies the rewards of `env` by `scale`.
    ///
    /// # Errors
    /// [`EnvError::InvalidArgument`] if `scale` is not finite.
    pub fn new(env: E, scale: f64) -> Result<Self, EnvError> {
        if !scale.is_finite() {
            return Err(EnvError::InvalidArgument(format!(
                "the reward scale of `{}` must be finite, got {scale}",
                env.name()
            )));
        }
        Ok(Self { env, scale })
    }
}

impl<E: Env> Env for ScaleReward<E> {
    forward_env!(env: name, observation_space, action_space, reset, observation, info, warning, save, restore);

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        let step = self.env.step(action)?;
        Ok(Step {
            reward: self.scale * step.reward,
            ..step
        })
    }
}
