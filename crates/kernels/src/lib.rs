//! Operations that Burn does not have and that this project exists for.
//!
//! * [`RescoreBackend`]: a Burn backend that also knows the activations, the denoising chain, scoring
//!   by the smaller of two critics, best-of-K sampling and Adam as single operations. Every
//!   operation has a default body of plain tensor code, which is the reference; a backend may replace it by a
//!   kernel that is checked against it.
//! * [`Linear`] and [`Mlp`]: weights as plain tensors. All networks of the project are stacks of
//!   linear layers, so that optimiser moments, target copies and gradients have the same type as
//!   the network itself.
//! * [`noise`]: random tensors from `rescore-noise`, the counter-based generator that every random
//!   number of training comes from.

mod activation;
pub mod adam;
mod backend;
pub mod chain;
#[cfg(feature = "flex")]
mod cpu;
pub mod dense;
#[cfg(feature = "flex")]
mod flex;
mod gelu;
#[cfg(feature = "gpu")]
mod gpu;
mod mish;
mod mlp;
#[cfg(feature = "ndarray")]
mod ndarray;
pub mod noise;
mod parameters;
pub mod plain;
mod scoring;

pub use activation::Activation;
pub use backend::RescoreBackend;
pub use chain::{ChainNetwork, ChainNoise, Precision, StepCoefficients};
#[cfg(feature = "flex")]
pub use cpu::peak;
#[cfg(feature = "gpu")]
pub use gpu::devices;
pub use mlp::{Initializer, Linear, Mlp};
pub use noise::{Noise, NoiseKey};
pub use parameters::{Parameters, Trained, freeze, lift, polyak, value_and_grad};
pub use scoring::{Sampled, best_of, flatten_particles, unflatten_particles};
