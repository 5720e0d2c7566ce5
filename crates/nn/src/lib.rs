//! Networks as trees of named tensors.
//!
//! * [`Tree`]: one trait with one method, a map over all leaves of a network (name, role, tensor) to
//!   the same structure on any backend. Gradients, optimiser moments, target copies, files and
//!   guards all go over it, so that a gradient or a moment has the network's own type.
//! * [`Linear`] with a leading member axis: the members of an ensemble are one batched product.
//! * [`Mlp`], [`Residual`] and [`BatchNormMlp`], each a kind of [`Network`]; [`Adam`] with an explicit
//!   state.
//! * [`value_and_grad`], [`input_gradient`]: derivatives by the parameters and by an input.

mod adam;
mod batch_norm_mlp;
mod gradient;
mod linear;
mod mlp;
mod network;
mod norm;
mod residual;
mod state;
mod tree;

pub use adam::{Adam, AdamSettings, TensorAdam, clip_by_norm};
pub use batch_norm_mlp::{BatchNormMlp, Statistics};
pub use gradient::{freeze, input_gradient, lift, value_and_grad};
pub use linear::{Initializer, Linear};
pub use mlp::Mlp;
pub use network::{Network, Shape};
pub use norm::{BatchNorm, LayerNorm, RmsNorm};
pub use residual::{Block, Residual};
pub use state::{Array, StateDict, StateError};
pub use tree::{Leaf, Role, Trained, Tree, leaves, parameter_sum, polyak, project_columns};
