//! Returns and lengths of episodes.

use crate::{Env, EnvError, EnvState, Episode, Info, Space, Step};

/// Adds up rewards and steps of each episode. ([`VecEnv`](crate::VecEnv) does so by itself.)
#[derive(Debug, Clone)]
pub struct EpisodeStatistics<E> {
    env: E,
    running: Episode,
    finished: Option<Episode>,
}

impl<E: Env> EpisodeStatistics<E> {
    /// Counts the episodes of `env`.
    pub fn new(env: E) -> Self {
        Self {
            env,
            running: Episode::default(),
            finished: None,
        }
    }

    /// The episode under way, or the one that has just ended.
    pub fn running(&self) -> Episode {
        self.running
    }

    /// The last episode that has ended, if any has.
    pub fn finished(&self) -> Option<Episode> {
        self.finished
    }
}

impl<E: Env> Env for EpisodeStatistics<E> {
    forward_env!(env: name, observation_space, action_space, observation, info, warning);

    fn reset(&mut self, seed: Option<u64>) -> Result<(), EnvError> {
        self.env.reset(seed)?;
        self.running = Episode::default();
        Ok(())
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        let step = self.env.step(action)?;
        self.running.total_reward += step.reward;
        self.running.length += 1;
        if step.done() {
            self.finished = Some(self.running);
        }
        Ok(step)
    }

    fn save(&self) -> Result<EnvState, EnvError> {
        let finished = self.finished.unwrap_or_default();
        let mut state = EnvState::new();
        state.put_f64(
            "returns",
            &[self.running.total_reward, finished.total_reward],
        );
        state.put_u64(
            "lengths",
            &[self.running.length.into(), finished.length.into()],
        );
        state.put_u64("any_finished", &[self.finished.is_some().into()]);
        state.put_state("counted", self.env.save()?);
        Ok(state)
    }

    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        state.check_form(&self.save()?)?;
        let returns = state.f64("returns", 2)?;
        let lengths = state.u32s("lengths", 2)?;
        let any_finished = state.flag("any_finished")?;
        self.env.restore(&state.state("counted"))?;
        let [running, finished] = [0, 1].map(|i| Episode {
            total_reward: returns[i],
            length: lengths[i],
        });
        self.running = running;
        self.finished = any_finished.then_some(finished);
        Ok(())
    }
}
