//! Online reinforcement learning with diffusion policies.
//!
//! This package is what others build on, and the program `rescore`. [`train()`] takes a [`Config`],
//! [`Environments`] (a registered task or one's own) and a run folder. It computes on the tensor
//! backend and the device that the configuration names; [`dispatch`] does other [`Work`] there.
//!
//! ```no_run
//! use rescore::{Begin, Environments, Interrupt, Request, folder, resolve, start, train};
//!
//! let config = resolve(&Request {
//!     env: Some("Pendulum-v1".into()),
//!     ..Request::default()
//! })?;
//! let envs = Environments::new(&config)?;
//! let run = folder::create(None, &config, start(&config))?;
//! train(&config, envs, &run, Begin::Fresh, &Interrupt::install()?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Only here are concrete backends named: everything below is generic over them.

pub mod backend;
#[cfg(feature = "developer")]
pub mod bench;
pub mod commands;
mod error;
#[cfg(feature = "render")]
pub mod render;
#[cfg(feature = "developer")]
mod soak;
mod start;
mod train;

pub use backend::{Work, dispatch};
pub use error::Error;
pub use rescore_envs as envs;
pub use rescore_kernels::RescoreBackend;
pub use rescore_report as report;
pub use rescore_runner::{
    Agent, Begin, Config, Environments, Evaluation, Evaluator, Interrupt, Policy, Request,
    RunError, RunFolder, folder, policy, progress, resolve,
};
pub use rescore_store as store;
pub use start::start;
pub use train::train;
