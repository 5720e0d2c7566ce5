//! Networks as trees of named tensors.
//!
//! * [`Tree`]: one trait with one method, a map over all leaves of a network (name, role, tensor) to
//!   the same structure on any backend. Gradients, optimiser moments, target copies, files and
//!   guards all go over it, so that a gradient or a moment has the network's own type.
//! * [`Linear`] with a leading member axis: the members of an ensemble are one batched product.
//! * [`Mlp`], [`Residual`] and [`BatchNormMlp`], each a kind of [`Network`]; [`Adam`] with an explicit
//!   state.
//! * [`value_and_grad`], [`input_gradient`]: derivatives by the parameters and by an input.
//!
//! ```
//! use burn::{backend::{Flex, flex::FlexDevice}, tensor::Tensor};
//! use rescore_kernels::{Activation, NoiseKey};
//! use rescore_nn::{Adam, AdamSettings, Initializer, Mlp, value_and_grad};
//!
//! let (key, initializer) = (NoiseKey::new(0, "init"), Initializer::LecunNormal);
//! let mut network = Mlp::<Flex>::init(&[1, 16, 1], Activation::Mish, initializer, &[key], &FlexDevice);
//! let mut adam = Adam::new(&network, AdamSettings::default());
//! let x = Tensor::<Flex, 3>::from_data([[[-1.0], [0.0], [1.0]]], &FlexDevice);
//! let losses = [(); 200].map(|()| {
//!     let (loss, gradient, ()) = value_and_grad(&network, |network| {
//!         let x = Tensor::from_inner(x.clone());
//!         let error = network.forward(x.clone()) - x * 2.0;
//!         ((error.clone() * error).mean(), ())
//!     });
//!     adam.step(&mut network, &gradient, 1e-2); // the gradient is a network, too
//!     loss.into_scalar()
//! });
//! assert!(losses[199] < losses[0] / 10.0);
//! ```

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
pub use tree::{Leaf, Role, Trained, Tree, leaves, norm, parameter_sum, polyak, project_columns};
