//! Online reinforcement learning with diffusion policies.
//!
//! This package is what others build on, and the program `rescore`. [`train`] takes a [`Config`],
//! [`Environments`] (a registered task or one's own) and a run folder; [`dispatch`] does such
//! [`Work`] on the tensor backend and the device that the configuration names. The example
//! `custom_env` is a whole program.
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
    Begin, Config, Environments, Evaluation, Evaluator, Interrupt, Request, RunError, RunFolder,
    folder, progress, resolve, train,
};
pub use rescore_store as store;
pub use run::{run, run_in};
pub use start::start;
