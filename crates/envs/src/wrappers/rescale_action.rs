//! Actions in `[-1, 1]`.

use crate::env::check_actions;
use crate::{Env, EnvError, EnvState, Info, Space, Step};

/// Takes actions in units of `[-1, 1]` and passes `centre + half_range * action` on, in single
/// precision and without clipping: 1.5 stays one and a half times the bound.
#[derive(Debug, Clone)]
pub struct RescaleAction<E> {
    env: E,
    space: Space,
    centre: Vec<f32>,
    half_range: Vec<f32>,
    scaled: Vec<f32>,
}

impl<E: Env> RescaleAction<E> {
    /// Rescales the actions of `env`.
    ///
    /// # Errors
    /// [`EnvError::InvalidArgument`] if the action space of `env` has a dimension without finite
    /// bounds, or whose bounds are equal so that actions would do nothing; in single precision.
    pub fn new(env: E) -> Result<Self, EnvError> {
        let inner = env.action_space();
        let bounds = || inner.low().iter().zip(inner.high());
        let centre: Vec<_> = bounds().map(|(l, h)| (0.5 * (h + l)) as f32).collect();
        let half_range: Vec<_> = bounds().map(|(l, h)| (0.5 * (h - l)) as f32).collect();
        for (i, (low, high)) in bounds().enumerate() {
            let wrong = if !(centre[i].is_finite() && half_range[i].is_finite()) {
                "has no finite bounds"
            } else if half_range[i] <= 0.0 {
                "has equal bounds, so that actions would do nothing"
            } else {
                continue;
            };
            return Err(EnvError::InvalidArgument(format!(
                "actions of `{}` cannot be rescaled to [-1, 1]: dimension {i} {wrong}, low {low} \
                 and high {high}",
                env.name()
            )));
        }
        Ok(Self {
            space: Space::uniform(inner.dim(), -1.0, 1.0)?,
            centre,
            half_range,
            scaled: vec![0.0; inner.dim()],
            env,
        })
    }
}

impl<E: Env> Env for RescaleAction<E> {
    forward_env!(env: name, observation_space, observation, info, warning, save, restore);

    fn action_space(&self) -> &Space {
        &self.space
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<(), EnvError> {
        self.env.reset(seed)
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        check_actions(self.name(), action, self.space.dim())?;
        let affine = self.centre.iter().zip(&self.half_range).zip(action);
        for (scaled, ((centre, half_range), a)) in self.scaled.iter_mut().zip(affine) {
            *scaled = centre + half_range * a;
        }
        self.env.step(&self.scaled)
    }
}
