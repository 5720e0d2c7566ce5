//! Environments for continuous control, with Gymnasium's words and semantics.
//!
//! - [`Env`] is one environment, [`VecEnv`] several of them, stepped in parallel, deterministic
//!   for any number of threads, resetting themselves while keeping the true final observation.
//! - [`make`] builds a registered task by name, [`list`] names them all; [`TaskSettings`] say how.
//! - [`Task`] is what to implement for an environment of your own, [`check_env`] tells whether it
//!   keeps what an environment promises, and [`register`] makes it known by its name.
//! - [`EnvState`] is an environment's complete state, from which a copy goes on to the bit.
//! - [`TimeLimit`], [`RescaleAction`], [`NormalizeObservation`], [`ScaleReward`] and
//!   [`EpisodeStatistics`] are environments around environments.
//!
//! With the cargo feature `mujoco` the MuJoCo tasks are compiled in; they reproduce Gymnasium's
//! trajectories. The feature `render` draws them. Everything else works without MuJoCo.
//!
//! ```
//! use rescore_envs::VecEnv;
//!
//! let mut envs = VecEnv::new("Pendulum-v1", 4, 0)?;
//! for _ in 0..200 {
//!     let actions = vec![0.0; 4 * envs.action_dim()]; // a policy would look at envs.observations()
//!     envs.step(&actions)?;
//! }
//! // The time limit of 200 steps ended every episode, and every environment has been reset.
//! assert!(envs.last_step().truncated.iter().all(|&t| t));
//! assert!(envs.last_step().finished.iter().flatten().all(|episode| episode.length == 200));
//! # Ok::<(), rescore_envs::EnvError>(())
//! ```

mod builtin;
mod check;
mod entry;
mod env;
mod error;
#[cfg(feature = "mujoco")]
pub mod mujoco;
mod mujoco_table;
mod new_task;
mod options;
mod registry;
mod rng;
mod space;
mod state;
mod throttle;
mod unsaved;
mod vec_env;
mod warnings;
mod wrappers;

pub use builtin::{MultiGoal, Pendulum, Probe, ProbeKind, multi_goal};
pub use check::{CheckError, CheckReport, check_env};
pub use entry::{TaskEntry, TaskSettings};
pub use env::{Env, Episode, Info, Outcome, Step, Task, TaskEnv};
pub use error::EnvError;
pub use new_task::NewTask;
pub use options::{OptionDefault, OptionValue, TaskOption, TaskOptions};
pub use registry::{find, list, make, register};
pub use rng::{EnvRng, derive_seed, seeded_rng};
pub use space::Space;
pub use state::{EnvState, STATE_FORMAT, StateArray, StateError};
pub use throttle::Throttle;
pub use unsaved::{restore_or_reset, save_or_seed};
pub use vec_env::{VecEnv, VecStep};
pub use warnings::{WarningStreak, diverged};
pub use wrappers::{
    EpisodeStatistics, NormalizeObservation, RescaleAction, RunningStatistics, ScaleReward,
    TimeLimit,
};
