//! GELU and its slope from a backend's own operations, and the tail of the normal distribution that
//! kernels compute it by.
//!
//! Burn has GELU, too, but its own is exact going forward and, on most backends, derives the tanh
//! approximation going back.

use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

/// `1 / sqrt(2 pi)`
pub(crate) const INV_SQRT_TAU: f64 = 0.398_942_280_401_432_7;

/// `Phi(-y) = e^(-y^2 / 2) p(t)`, `t = 1 / (1 + TAIL_SLOPE y)`, for `y` in `[0, 13.2]`, beyond which
/// the exponential leaves the normal numbers of `f32`: [`TAIL`] are the coefficients of `p`, from the
/// highest power down. Those with the smallest largest relative error, 5e-8 before they are rounded,
/// found by iteratively reweighted least squares; the `f32` polynomial has 3e-7.
///
/// Relative, so that the tail of GELU is exact, too, where `1 + erf` cancels.
pub(crate) const TAIL_SLOPE: f32 = 0.29;

/// See [`TAIL_SLOPE`].
pub(crate) const TAIL: [f32; 9] = [
    0.038_972_17,
    -0.191_635_79,
    0.304_884_3,
    -0.151_386_72,
    0.187_096_12,
    0.075_591_855,
    0.121_350_52,
    0.115_100_89,
    2.662_589_4e-5,
];

/// `Phi(-y)`, the probability that a unit normal is above `y`, for `y >= 0`: to a relative 1e-6, where
/// `1 - erf` would cancel. 0 from 13 on.
pub fn normal_tail<B: Backend, const D: usize>(y: Tensor<B, D>) -> Tensor<B, D> {
    let t = y.clone().mul_scalar(TAIL_SLOPE).add_scalar(1.0).recip();
    let start = t.zeros_like();
    let powers = TAIL.into_iter();
    let p = powers.fold(start, |sum, c| sum * t.clone() + c);
    (y.clone() * y).mul_scalar(-0.5).exp() * p
}

/// `Phi(x) = (1 + erf(x / sqrt 2)) / 2`
fn normal_cdf<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let erf = B::float_erf(B::float_div_scalar(x, std::f64::consts::SQRT_2.into()));
    B::float_mul_scalar(B::float_add_scalar(erf, 1.0.into()), 0.5.into())
}

/// `x Phi(x)`
pub(crate) fn forward<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_mul(x.clone(), normal_cdf::<B>(x))
}

/// `gelu'(x) = Phi(x) + x phi(x)`, `phi(x) = e^(-x^2 / 2) / sqrt(2 pi)`.
pub(crate) fn slope<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let square = B::float_mul(x.clone(), x.clone());
    let density = B::float_exp(B::float_mul_scalar(square, (-0.5).into()));
    let bend = B::float_mul(x.clone(), density);
    let bend = B::float_mul_scalar(bend, INV_SQRT_TAU.into());
    B::float_add(normal_cdf::<B>(x), bend)
}
