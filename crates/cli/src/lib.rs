//! Online reinforcement learning with diffusion policies.
//!
//! This package is what others build on, and the program `rescore`.
//!
//! ```no_run
//! // By name: an algorithm, a task, settings as `train --set` takes them.
//! let folder = rescore::run("dpmd", "Pendulum-v1", &["steps=20000"])?;
//! // The policy acts on raw observations, in the units of the task.
//! let action = rescore::Policy::load(&folder)?.act(&[1.0, 0.0, 0.0])?;
//! # Ok::<(), rescore::RunError>(())
//! ```
//!
//! A task of one's own is registered by name ([`envs::register`]), an algorithm of one's own as well
//! ([`register_algorithm`]); a program that registers them and then calls [`commands::main`] is
//! `rescore` with these. [`train`](fn@train) takes an agent and environments; [`dispatch`] does any
//! [`Work`] on the backend and the device that a configuration names.
//!
//! Only here are concrete backends named: everything below is generic over them.

pub mod backend;
#[cfg(feature = "developer")]
pub mod bench;
pub mod commands;
mod error;
mod policy;
#[cfg(feature = "render")]
pub mod render;
mod run;
#[cfg(feature = "developer")]
mod soak;
mod start;

pub use backend::{Work, dispatch, register_algorithm};
pub use error::Error;
pub use policy::Policy;
pub use rescore_agents as agents;
pub use rescore_envs as envs;
pub use rescore_kernels::RescoreBackend;
pub use rescore_report as report;
pub use rescore_runner::{
    Begin, Config, Environments, Evaluation, Evaluator, Interrupt, Request, Resumption, RunError,
    RunFolder, folder, progress, resolve, train,
};
pub use rescore_store as store;
pub use run::{run, run_in};
pub use start::start;
