//! Every operation of the crate against a plain f64 computation of the same formula, on both CPU
//! backends through the backend trait, so that a kernel that replaces a default body is held to
//! what the default body is held to.
#![cfg(all(feature = "flex", feature = "ndarray"))]

mod ancestral;
mod chain;
mod elementwise;
mod formula;
mod helpers;
mod precision;
mod reference;
mod scoring;

use helpers::{ACTIVATIONS, assert_close, bits, normals, on_both_backends, tensor, to_vec};
