//! Derivatives by the parameters of a network, and by an input.

use burn::{
    backend::Autodiff,
    tensor::{Tensor, backend::Backend},
};
use rescore_kernels::{RescoreBackend, total};

use crate::{Trained, Tree};

/// A copy of `network` whose trained leaves are leaves of a new autodiff graph.
pub fn lift<B: Backend, N: Tree<B>>(network: &N) -> Trained<B, N> {
    network.map("", &mut |leaf, tensor| {
        let tensor = Tensor::<Autodiff<B>, 3>::from_inner(tensor.clone());
        if leaf.role.is_trained() {
            tensor.require_grad()
        } else {
            tensor
        }
    })
}

/// A copy of `network` on the autodiff backend whose parameters are constants: derivatives pass
/// through the network to its input, none are computed for its weights.
pub fn freeze<B: Backend, N: Tree<B>>(network: &N) -> Trained<B, N> {
    network.map("", &mut |_, tensor| {
        Tensor::<Autodiff<B>, 3>::from_inner(tensor.clone())
    })
}

/// The loss `loss(network)` and its gradient by every parameter of `network`.
///
/// `loss` returns the scalar loss, shape `[1]`, and whatever else the caller wants back. Leaves that
/// the loss does not depend on, statistics and fixed parameters have a zero gradient.
pub fn value_and_grad<B: RescoreBackend, N: Tree<B>, R>(
    network: &N,
    loss: impl FnOnce(&Trained<B, N>) -> (Tensor<Autodiff<B>, 1>, R),
) -> (Tensor<B, 1>, N, R) {
    let trained = lift::<B, N>(network);
    let (value, rest) = loss(&trained);
    let mut grads = value.backward();
    let gradient = trained.map("", &mut |_, tensor| {
        tensor
            .grad_remove(&mut grads)
            .unwrap_or_else(|| tensor.clone().inner().zeros_like())
    });
    (value.inner(), gradient, rest)
}

/// The value of `f` at `x`, whatever its shape, and the gradient of the sum of its entries by `x`:
/// score and action gradients.
pub fn input_gradient<B: RescoreBackend, const D: usize, const V: usize>(
    x: Tensor<B, D>,
    f: impl FnOnce(Tensor<Autodiff<B>, D>) -> Tensor<Autodiff<B>, V>,
) -> (Tensor<B, V>, Tensor<B, D>) {
    let x = Tensor::<Autodiff<B>, D>::from_inner(x).require_grad();
    let value = f(x.clone());
    let mut grads = total(value.clone()).backward();
    let gradient = x
        .grad_remove(&mut grads)
        .unwrap_or_else(|| x.inner().zeros_like());
    (value.inner(), gradient)
}
