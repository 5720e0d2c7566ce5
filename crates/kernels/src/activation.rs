//! Activation functions of the networks.

use burn::tensor::{Tensor, activation::gelu};

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
