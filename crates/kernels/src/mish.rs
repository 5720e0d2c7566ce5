//! Mish and its slope from a backend's own operations.

use burn::tensor::{backend::Backend, ops::FloatTensor};

/// Above this argument `tanh(softplus(x))` is 1 in `f32`, and the exponential stays finite.
pub(crate) const SATURATION: f32 = 20.0;

/// `e^min(x, 20)` and `n = e (e + 2)`, with which `tanh(softplus(x)) = n / (n + 2)`.
///
/// One exponential instead of an exponential, a logarithm and a hyperbolic tangent; no
/// cancellation for negative arguments.
fn exponentials<B: Backend>(x: FloatTensor<B>) -> (FloatTensor<B>, FloatTensor<B>) {
    let e = B::float_exp(B::float_clamp_max(x, SATURATION.into()));
    let n = B::float_mul(e.clone(), B::float_add_scalar(e.clone(), 2.0.into()));
    (e, n)
}

/// Mish from the backend's own operations.
pub(crate) fn forward<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let (_, n) = exponentials::<B>(x.clone());
    let denominator = B::float_add_scalar(n.clone(), 2.0.into());
    B::float_mul(x, B::float_div(n, denominator))
}

/// `mish'(x) = th + x (1 - th^2) sigmoid(x)`, `th = tanh(softplus(x))`.
pub(crate) fn slope<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let (e, n) = exponentials::<B>(x.clone());
    let denominator = B::float_add_scalar(n.clone(), 2.0.into());
    let th = B::float_div(n, denominator);
    let sigmoid = B::float_div(e.clone(), B::float_add_scalar(e, 1.0.into()));
    let one_minus_th2 = B::float_add_scalar(
        B::float_neg(B::float_mul(th.clone(), th.clone())),
        1.0.into(),
    );
    B::float_add(th, B::float_mul(B::float_mul(x, one_minus_th2), sigmoid))
}
