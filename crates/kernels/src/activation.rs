//! Activation functions of the networks.

use burn::tensor::Tensor;

use crate::{RescoreBackend, mish::mish};

/// An element-wise activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x tanh(softplus(x))` (Misra 2019).
    Mish,
    /// `x Phi(x)` with the error function, not its tanh approximation (Hendrycks and Gimpel 2016).
    Gelu,
}

impl Activation {
    /// Applies the activation to every element.
    pub fn forward<B: RescoreBackend, const D: usize>(self, x: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Mish => mish(x),
            Self::Gelu => gelu(x),
        }
    }
}

/// `x Phi(x) = x (1 + erf(x / sqrt 2)) / 2`.
///
/// Written out because Burn's own `gelu` is the exact form going forward, but on most backends
/// derives the tanh approximation going back.
fn gelu<B: RescoreBackend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let twice_phi = x
        .clone()
        .div_scalar(std::f64::consts::SQRT_2)
        .erf()
        .add_scalar(1.0);
    x * twice_phi.mul_scalar(0.5)
}
