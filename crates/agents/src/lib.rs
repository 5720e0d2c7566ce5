//! The algorithms, one file each: settings, state, acting, update.
//!
//! * [`dpmd_reference`]: diffusion policy mirror descent.
//! * [`sdac_reference`]: soft diffusion actor-critic.
//! * [`sac`]: soft actor-critic, the Gaussian baseline.
//! * [`td3`]: twin delayed deterministic policy gradient, the deterministic baseline.
//!
//! An algorithm is composed of [`learners`], each with its table of [`settings`], and implements
//! [`Agent`]. Its update also exists with explicit random numbers (`update_with`), which is how it
//! is checked against another implementation. [`Algorithm`] is the list of all by name.

mod agent;
pub mod dpmd_reference;
pub mod learners;
mod metrics;
pub mod prelude;
mod range;
mod registry;
pub mod sac;
pub mod sdac_reference;
pub mod settings;
mod sizes;
mod stateful;
mod streams;
pub mod td3;

pub use agent::{Acting, Agent, Batch};
pub use metrics::Metrics;
pub use range::{RangeCheck, RangeError};
pub use registry::{AgentSettings, Algorithm, Registered, Settings, Setup};
pub use rescore_nn::{Array, StateDict, StateError};
pub use sizes::{Outline, PolicyKind, Sizes};
pub use stateful::Stateful;
pub use streams::{Draws, Given, Streams};
