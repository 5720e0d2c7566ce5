//! Networks, gradients and Adam against plain f64 computations of the same formulas, on both CPU
//! backends.

mod adam;
mod dense;
mod gradients;
#[path = "../../../kernels/tests/kernels/helpers.rs"]
mod helpers;
mod networks;
mod norms;
#[path = "../../../kernels/tests/kernels/reference.rs"]
mod reference;

use burn::tensor::backend::Backend;
use helpers::{ACTIVATIONS, assert_close, bits, normals, on_both_backends, tensor, to_vec};
use rescore_kernels::NoiseKey;
use rescore_nn::Tree;

/// A key for each of `count` members.
fn keys(name: &str, count: usize) -> Vec<NoiseKey> {
    (0..count)
        .map(|member| NoiseKey::new(1, &format!("{name} {member}")))
        .collect()
}

/// `tree` with `change(name, values)` made to every leaf.
fn changed<B: Backend, N: Tree<B, On<B> = N>>(
    tree: &N,
    mut change: impl FnMut(&str, &mut [f32]),
) -> N {
    tree.map::<B>("", &mut |leaf, old| {
        let mut values = to_vec(old.clone());
        change(leaf.name, &mut values);
        tensor(values, old.dims())
    })
}

/// The derivative of `f` at 0 by a central difference, off by about 1e-9; a larger step would reach
/// across the bend of a rectifier more often.
fn derivative(f: impl Fn(f64) -> f64) -> f64 {
    (f(1e-7) - f(-1e-7)) / 2e-7
}
