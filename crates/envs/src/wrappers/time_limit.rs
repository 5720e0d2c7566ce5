//! A limit on the length of episodes.

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
    forward_env!(env: name, observation_space, action_space, observation, info, warning);

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
