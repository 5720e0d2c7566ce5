//! Wrappers around environments: a time limit and actions in `[-1, 1]`.

use crate::env::check_actions;
use crate::{Env, EnvError, EnvState, Info, Space, Step};

/// Sets `truncated` in the step that reaches a number of steps, as Gymnasium's `TimeLimit` does,
/// whether or not that step also terminates.
#[derive(Debug, Clone)]
pub struct TimeLimit<E> {
    env: E,
    limit: u32,
    elapsed: u32,
}

impl<E: Env> TimeLimit<E> {
    /// Truncates episodes of `env` after `limit` steps.
    ///
    /// # Errors
    /// [`EnvError::InvalidArgument`] if `limit` is 0.
    pub fn new(env: E, limit: u32) -> Result<Self, EnvError> {
        if limit == 0 {
            return Err(EnvError::InvalidArgument(format!(
                "the time limit of `{}` must be at least 1 step",
                env.name()
            )));
        }
        Ok(Self {
            env,
            limit,
            elapsed: 0,
        })
    }
}

impl<E: Env> Env for TimeLimit<E> {
    fn name(&self) -> &str {
        self.env.name()
    }

    fn observation_space(&self) -> &Space {
        self.env.observation_space()
    }

    fn action_space(&self) -> &Space {
        self.env.action_space()
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<(), EnvError> {
        self.env.reset(seed)?;
        self.elapsed = 0;
        Ok(())
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        // The environment inside knows its own ends; the end by truncation is known only here.
        if self.elapsed >= self.limit {
            return Err(EnvError::ResetNeeded {
                task: self.name().to_owned(),
            });
        }
        let mut step = self.env.step(action)?;
        self.elapsed += 1;
        step.truncated |= self.elapsed == self.limit;
        Ok(step)
    }

    fn observation(&self) -> &[f64] {
        self.env.observation()
    }

    fn info(&self) -> &[Info] {
        self.env.info()
    }

    fn save(&self) -> Result<EnvState, EnvError> {
        let mut state = EnvState::new();
        state.put_u64("elapsed", &[self.elapsed.into()]);
        state.put_state("limited", self.env.save()?);
        Ok(state)
    }

    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        state.check_form(&self.save()?)?;
        let elapsed = state.u32("elapsed")?;
        self.env.restore(&state.state("limited"))?;
        self.elapsed = elapsed;
        Ok(())
    }
}

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
    /// [`EnvError::InvalidArgument`] if the action space of `env` is unbounded in some dimension.
    pub fn new(env: E) -> Result<Self, EnvError> {
        let inner = env.action_space();
        let bounds = || inner.low().iter().zip(inner.high());
        if let Some(i) = bounds().position(|(l, h)| !(l.is_finite() && h.is_finite())) {
            return Err(EnvError::InvalidArgument(format!(
                "actions of `{}` cannot be rescaled: dimension {i} has no finite bounds",
                env.name()
            )));
        }
        Ok(Self {
            space: Space::uniform(inner.dim(), -1.0, 1.0)?,
            centre: bounds().map(|(l, h)| (0.5 * (h + l)) as f32).collect(),
            half_range: bounds().map(|(l, h)| (0.5 * (h - l)) as f32).collect(),
            scaled: vec![0.0; inner.dim()],
            env,
        })
    }
}

impl<E: Env> Env for RescaleAction<E> {
    fn name(&self) -> &str {
        self.env.name()
    }

    fn observation_space(&self) -> &Space {
        self.env.observation_space()
    }

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

    fn observation(&self) -> &[f64] {
        self.env.observation()
    }

    fn info(&self) -> &[Info] {
        self.env.info()
    }

    fn save(&self) -> Result<EnvState, EnvError> {
        self.env.save()
    }

    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.env.restore(state)
    }
}
