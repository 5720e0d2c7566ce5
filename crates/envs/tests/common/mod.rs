//! A task whose every number is known in advance.

use rescore_envs::{Env, EnvError, EnvRng, EnvState, Outcome, Space, Task, TaskEnv, TimeLimit};

/// Counts the steps of its episode in `observation[0]`, adds its actions up in `observation[1]`,
/// gives the action as reward and terminates after `end` steps. An action of [`BROKEN`] makes it
/// fail.
pub struct Countdown {
    end: u32,
    space: Space,
    action_space: Space,
    observation: [f64; 2],
}

/// The action at which [`Countdown`] fails.
pub const BROKEN: f32 = 100.0;

impl Countdown {
    /// An environment that terminates after `end` steps and is truncated after `limit`.
    pub fn env(end: u32, limit: u32) -> Box<dyn Env> {
        let task = Self {
            end,
            space: Space::uniform(2, f64::NEG_INFINITY, f64::INFINITY).expect("valid bounds"),
            action_space: Space::uniform(1, 0.0, 4.0).expect("valid bounds"),
            observation: [0.0; 2],
        };
        Box::new(TimeLimit::new(TaskEnv::new(task), limit).expect("a positive limit"))
    }
}

impl Task for Countdown {
    fn name(&self) -> &'static str {
        "Countdown"
    }
    fn observation_space(&self) -> &Space {
        &self.space
    }
    fn action_space(&self) -> &Space {
        &self.action_space
    }
    fn reset(&mut self, _rng: &mut EnvRng) -> Result<(), EnvError> {
        self.observation = [0.0; 2];
        Ok(())
    }
    fn step(&mut self, action: &[f32]) -> Result<Outcome, EnvError> {
        if action[0] >= BROKEN {
            return Err(EnvError::InvalidArgument("broken".to_owned()));
        }
        self.observation[0] += 1.0;
        self.observation[1] += f64::from(action[0]);
        let terminated = self.observation[0] >= f64::from(self.end);
        Ok(Outcome {
            reward: f64::from(action[0]),
            terminated,
        })
    }
    fn observation(&self) -> &[f64] {
        &self.observation
    }
    fn save(&self, state: &mut EnvState) -> Result<(), EnvError> {
        state.put_f64("observation", &self.observation);
        Ok(())
    }
    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.observation
            .copy_from_slice(state.f64("observation", 2)?);
        Ok(())
    }
}
