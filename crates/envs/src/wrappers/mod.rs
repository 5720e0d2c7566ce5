//! Wrappers around environments.
//!
//! Each is an [`Env`](crate::Env) around another one and saves what it knows with the state of the
//! environment inside.

/// Methods of [`Env`](crate::Env) that hand on to a field.
macro_rules! forward_env {
    ($field:ident: $($method:ident),+ $(,)?) => {
        $(forward_env!(@ $field $method);)+
    };
    (@ $field:ident name) => {
        fn name(&self) -> &str {
            self.$field.name()
        }
    };
    (@ $field:ident observation_space) => {
        fn observation_space(&self) -> &Space {
            self.$field.observation_space()
        }
    };
    (@ $field:ident action_space) => {
        fn action_space(&self) -> &Space {
            self.$field.action_space()
        }
    };
    (@ $field:ident reset) => {
        fn reset(&mut self, seed: Option<u64>) -> Result<(), EnvError> {
            self.$field.reset(seed)
        }
    };
    (@ $field:ident observation) => {
        fn observation(&self) -> &[f64] {
            self.$field.observation()
        }
    };
    (@ $field:ident info) => {
        fn info(&self) -> &[Info] {
            self.$field.info()
        }
    };
    (@ $field:ident warning) => {
        fn warning(&self) -> Option<String> {
            self.$field.warning()
        }
    };
    (@ $field:ident save) => {
        fn save(&self) -> Result<EnvState, EnvError> {
            self.$field.save()
        }
    };
    (@ $field:ident restore) => {
        fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
            self.$field.restore(state)
        }
    };
}

mod episode_statistics;
mod normalize_observation;
mod rescale_action;
mod scale_reward;
mod time_limit;

pub use episode_statistics::EpisodeStatistics;
pub use normalize_observation::{NormalizeObservation, RunningStatistics};
pub use rescale_action::RescaleAction;
pub use scale_reward::ScaleReward;
pub use time_limit::TimeLimit;
