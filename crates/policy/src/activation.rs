//! Activation functions.

use crate::description::Activation;

impl Activation {
    /// Replaces each of `values` by its activation.
    pub(crate) fn apply(self, values: &mut [f32]) {
        let function = match self {
            Self::Relu => |x: f32| x.max(0.0),
            Self::Mish => mish,
            Self::Gelu => gelu,
            Self::Tanh => f32::tanh,
        };
        for value in values {
            *value = function(*value);
        }
    }
}

/// `x tanh(softplus(x)) = x n / (n + 2)` with `n = e^x (e^x + 2)`, which is 1 above 20.
fn mish(x: f32) -> f32 {
    let e = x.min(20.0).exp();
    let n = e * (e + 2.0);
    x * (n / (n + 2.0))
}

/// `x Phi(x)`, where `Phi(-y) = e^(-y^2 / 2) p(1 / (1 + 0.29 y))` for `y >= 0` with the polynomial
/// of `rescore-kernels`, whose relative error is 3e-7.
fn gelu(x: f32) -> f32 {
    let y = x.abs();
    let t = 1.0 / (1.0 + 0.29 * y);
    let coefficients = [
        0.038_972_17,
        -0.191_635_79,
        0.304_884_3,
        -0.151_386_72,
        0.187_096_12,
        0.075_591_855,
        0.121_350_52,
        0.115_100_89,
        2.662_589_4e-5_f32,
    ];
    let tail = coefficients.iter().fold(0.0, |p, c| p * t + c) * (-0.5 * y * y).exp();
    if x < 0.0 { x * tail } else { x - x * tail }
}
