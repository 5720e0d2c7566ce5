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
//!
#![cfg_attr(feature = "flex", doc = "```")]
#![cfg_attr(not(feature = "flex"), doc = "```ignore")]
//! use burn::backend::{Flex, flex::FlexDevice};
//! use rescore_kernels::{Noise, NoiseKey, RescoreBackend as _, unflatten_particles};
//!
//! // Sixteen candidate actions for each of two states: the same numbers on every backend.
//! let noise = Noise { key: NoiseKey::new(7, "act"), counter: 0 };
//! let candidates = noise.normal::<Flex>([2 * 16, 3], &FlexDevice);
//! let candidates = unflatten_particles(candidates, 2);
//! // The one with the best score of each state, here the nearest to the origin.
//! let scores = candidates.clone().powi_scalar(2).sum_dim(2).squeeze_dim(2).neg();
//! let best = Flex::best(candidates, scores);
//! assert_eq!(best.actions.dims(), [2, 3]);
//! ```

mod backend;
#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "flex")]
mod flex;
mod gelu;
#[cfg(feature = "gpu")]
mod gpu;
mod mish;
#[cfg(feature = "ndarray")]
mod ndarray;
pub mod plain;

pub use backend::activation::Activation;
pub use backend::chain::{ChainNetwork, ChainNoise, Precision, StepCoefficients};
pub use backend::constant::{constant, upload};
pub use backend::dense::Layer;
pub use backend::noise::{Noise, NoiseKey};
pub use backend::scoring::{
    Combine, Sampled, argmax_lowest, flatten_particles, unflatten_particles,
};
pub use backend::stack::Stack;
pub use backend::supplied::supplied;
pub use backend::total::total;
pub use backend::{
    RescoreBackend, adam, categorical, chain, dense, formula, join, layer_norm, noise, residual,
    stack, weights,
};
#[cfg(feature = "flex")]
pub use cpu::peak;
pub use gelu::normal_tail;
#[cfg(feature = "gpu")]
pub use gpu::devices;
