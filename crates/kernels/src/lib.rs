//! Operations that Burn does not have and that this project exists for.
//!
//! * [`RescoreBackend`]: a Burn backend that also knows the activations, the linear layer, the
//!   denoising chain, scoring by an ensemble of critics, best-of-K sampling and Adam as single
//!   operations. Every operation has a default body of plain tensor code, which is the reference; a
//!   backend may replace it by a kernel that is checked against it.
//! * [`Layer`] and [`Stack`]: views of weights. Networks, their gradients and their optimisers are
//!   the next crate's, `rescore-nn`.
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
#[cfg(feature = "ndarray")]
mod ndarray;
pub mod noise;
pub mod plain;
mod scoring;
mod stack;

pub use activation::Activation;
pub use backend::RescoreBackend;
pub use chain::{ChainNetwork, ChainNoise, Precision, StepCoefficients};
#[cfg(feature = "flex")]
pub use cpu::peak;
pub use gelu::normal_tail;
#[cfg(feature = "gpu")]
pub use gpu::devices;
pub use noise::{Noise, NoiseKey};
pub use scoring::{Combine, Sampled, argmax_lowest, flatten_particles, unflatten_particles};
pub use stack::{Layer, Stack};
