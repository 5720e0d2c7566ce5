//! Everything around an agent: configuration, replay buffer, training loop, evaluation.
//!
//! [`train()`] is one run: it takes a [`Config`], [`Environments`] and a run folder, and leaves logs
//! and checkpoints there. All of it is generic over the tensor backend; the package `rescore` names
//! the backends.
//!
//! ```
//! use burn::backend::{Flex, flex::FlexDevice};
//! use rescore_runner::{Environments, Request, resolve};
//!
//! let request = |setting: &str| Request {
//!     algo: Some("dpmd".to_owned()),
//!     env: Some("Pendulum-v1".to_owned()),
//!     set: vec![setting.to_owned()],
//!     ..Request::default()
//! };
//! let config = resolve(&request("steps=20000"))?;
//! // With these and a folder, `train` makes the run that `config` describes.
//! let envs = Environments::new(&config)?;
//! let agent = config.new_agent::<Flex>(envs.dims(), &FlexDevice)?;
//! assert_eq!((config.steps, agent.updates()), (20_000, 0));
//! // A mistyped key is an error that says which was meant.
//! let error = resolve(&request("warmup_step=500")).unwrap_err();
//! assert!(error.hint().unwrap_or_default().contains("warmup_steps"));
//! # Ok::<(), rescore_runner::RunError>(())
//! ```

mod announce;
pub mod backend;
pub mod checkpoint;
pub mod config;
pub mod environments;
mod error;
pub mod evaluate;
pub mod export;
pub mod folder;
pub mod footprint;
mod forecast;
pub mod guard;
pub mod interrupt;
#[cfg(feature = "mujoco")]
pub mod model_copy;
pub mod normalize;
pub mod policy;
pub mod progress;
pub mod replay;
mod resume;
pub mod run;
pub mod schedule;
pub mod sweep;
pub mod train;

pub use config::{Config, Request, resolve};
pub use environments::Environments;
pub use error::RunError;
pub use evaluate::{Evaluation, Evaluator};
pub use interrupt::Interrupt;
pub use policy::Policy;
pub use rescore_agents::Agent;
pub use rescore_store::run_folder::RunFolder;
pub use resume::Resumption;
pub use train::{Begin, train};
