//! The algorithms, one file each: configuration, state, acting, update.
//!
//! * [`dpmd`]: diffusion policy mirror descent.
//! * [`sdac`]: soft diffusion actor-critic.
//! * [`sac`]: soft actor-critic, the Gaussian baseline.
//!
//! Every agent implements [`Agent`]. Its update also exists with explicit random numbers
//! (`update_with`), which is how it is checked against another implementation.

mod agent;
mod algorithm;
pub mod config;
pub mod diffusion_core;
pub mod dpmd;
mod guard;
pub mod sac;
pub mod sdac;
mod size;
mod state;
pub mod temperature;

pub use agent::{Agent, Batch, Metrics};
pub use algorithm::{AgentConfig, Algorithm};
pub use config::RangeError;
pub use state::{Array, StateDict, StateError};
