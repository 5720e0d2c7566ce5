//! Everything around an agent: configuration, replay, the training loop, evaluation, run folders,
//! benchmarks and drawings. The only crate of the project that writes files.
//!
//! [`train::train`] is one run; [`cli`] is the command line of the program `rescore`.

mod announce;
pub mod backend;
pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod config;
mod device;
pub mod durable;
mod error;
pub mod evaluate;
pub mod fault;
pub mod footprint;
mod forecast;
pub mod guard;
pub mod interrupt;
mod lacking;
mod lock;
pub mod log;
#[cfg(feature = "mujoco")]
mod model_copy;
pub mod normalize;
pub mod output;
pub mod plot;
pub mod policy;
pub mod progress;
mod prune;
#[cfg(feature = "render")]
pub mod render;
pub mod replay;
mod resume;
mod run;
pub mod run_folder;
pub mod schedule;
pub mod soak;
pub mod train;

pub use error::{RunError, exit_code};
