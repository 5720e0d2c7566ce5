//! The algorithms, one file each: settings, state, acting, update.
//!
//! * [`dpmd`]: diffusion policy mirror descent on modern critics.
//! * [`sdac`]: soft diffusion actor-critic on modern critics.
//! * [`dpmd_reference`], [`sdac_reference`]: both as published.
//! * [`sac`]: soft actor-critic, the Gaussian baseline.
//! * [`td3`]: twin delayed deterministic policy gradient, the deterministic baseline.
//! * [`qsm`], [`idem`]: the denoiser regresses on gradients of the critics.
//! * [`qvpo`], [`score_sde`]: it regresses on the best of its own samples.
//! * [`idql`], [`dipo`]: it imitates the replay buffer, of which the critics choose or which climbs them.
//!
//! An algorithm is composed of [`learners`], each with its table of [`settings`], and implements
//! [`Agent`]. Its update also exists with explicit random numbers (`update_with`), which is how it
//! is checked against another implementation. [`Algorithm`] is the list of all by name.
//!
//! ```
//! use burn::{backend::{Flex, flex::FlexDevice}, tensor::Tensor};
//! use rescore_agents::{Algorithm, Batch, Pace, Setup};
//!
//! let settings = Algorithm::find("dpmd").ok_or("no such algorithm")?.defaults();
//! // For observations of 3 numbers and actions of 1.
//! let setup = Setup { dims: [3, 1], seed: 0, updates: 1000, pace: Pace::default(), device: &FlexDevice };
//! let mut agent = settings.build::<Flex>(&setup).ok_or("not for this backend")?;
//! let batch = Batch {
//!     observations: Tensor::zeros([8, 3], &FlexDevice),
//!     actions: Tensor::zeros([8, 1], &FlexDevice),
//!     rewards: Tensor::ones([8], &FlexDevice),
//!     next_observations: Tensor::zeros([8, 3], &FlexDevice),
//!     terminated: Tensor::ones([8], &FlexDevice),
//! };
//! let metrics = agent.update(&batch).read();
//! assert!(metrics.iter().any(|(name, loss)| name == "q1_loss" && *loss > 0.0));
//! let action = agent.act_deterministic(Tensor::zeros([1, 3], &FlexDevice));
//! assert_eq!(action.dims(), [1, 1]);
//! # Ok::<(), &str>(())
//! ```

mod agent;
mod algorithm;
mod batch;
mod diagnostics;
pub mod dipo;
pub mod dpmd;
pub mod dpmd_reference;
pub mod idem;
pub mod idql;
pub mod learners;
mod metrics;
pub mod prelude;
pub mod qsm;
pub mod qvpo;
mod range;
mod registry;
pub mod sac;
pub mod score_sde;
pub mod sdac;
pub mod sdac_reference;
pub mod settings;
mod setup;
mod sizes;
mod stateful;
mod streams;
pub mod td3;

pub use agent::{Acting, Agent};
pub use algorithm::Settings;
pub use batch::Batch;
pub use diagnostics::SUPPORT_EDGE;
pub use metrics::Metrics;
pub use range::{Pace, RangeCheck, RangeError};
pub use registry::{AgentSettings, Algorithm, Registered};
pub use rescore_nn::{Array, StateDict, StateError};
pub use setup::Setup;
pub use sizes::{Outline, PolicyKind, Sizes};
pub use stateful::Stateful;
pub use streams::{Draws, Given, Streams};
