//! Operations on every element, each in one pass over memory.

use burn::tensor::TensorMetadata as _;
use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{UNITS, empty};
use crate::{adam::AdamStep, mish::SATURATION};

/// `e^min(x, 20)` and `n = e (e + 2)`, with which `tanh(softplus(x)) = n / (n + 2)`.
#[cube]
fn exponentials(x: f32) -> (f32, f32) {
    let e = f32::exp(f32::min(x, SATURATION));
    (e, e * (e + 2.0))
}

/// `x tanh(softplus(x))`
#[cube]
pub(super) fn mish_of(x: f32) -> f32 {
    let (_, n) = exponentials(x);
    x * (n / (n + 2.0))
}

#[cube(launch)]
fn mish_kernel(x: &mut Array<f32>) {
    let i = ABSOLUTE_POS;
    if i < x.len() {
        x[i] = mish_of(x[i]);
    }
}

#[cube(launch)]
fn mish_backward_kernel(x: &Array<f32>, grad: &mut Array<f32>) {
    let i = ABSOLUTE_POS;
    if i < grad.len() {
        let value = x[i];
        let (e, n) = exponentials(value);
        let th = n / (n + 2.0);
        let slope = th + value * (1.0 - th * th) * (e / (e + 1.0));
        grad[i] = grad[i] * slope;
    }
}

#[cube(launch)]
fn add_bias_kernel(x: &mut Array<f32>, bias: &Array<f32>, #[comptime] with_mish: bool) {
    let i = ABSOLUTE_POS;
    if i < x.len() {
        let z = x[i] + bias[i % bias.len()];
        if with_mish {
            x[i] = mish_of(z);
        } else {
            x[i] = z;
        }
    }
}

#[cube(launch)]
fn lerp_kernel(target: &mut Array<f32>, online: &Array<f32>, keep: f32, tau: f32) {
    let i = ABSOLUTE_POS;
    if i < target.len() {
        target[i] = target[i] * keep + online[i] * tau;
    }
}

#[cube(launch)]
fn adam_kernel(
    parameter: &mut Array<f32>,
    gradient: &Array<f32>,
    mu: &mut Array<f32>,
    nu: &mut Array<f32>,
    rates: &Sequence<f32>,
) {
    let i = ABSOLUTE_POS;
    if i < parameter.len() {
        let g = gradient[i];
        let m = mu[i] * rates[0] + g * rates[1];
        let v = nu[i] * rates[2] + g * g * rates[3];
        mu[i] = m;
        nu[i] = v;
        let root = f32::sqrt(v * rates[4]) + rates[5];
        parameter[i] = parameter[i] - m * rates[6] / root * rates[7];
    }
}

#[cube(launch)]
fn copy_kernel(from: &Array<f32>, to: &mut Array<f32>) {
    let i = ABSOLUTE_POS;
    if i < to.len() {
        to[i] = from[i];
    }
}

/// `x` with its values in order, and nobody else's.
fn own<R: CubeRuntime>(x: CubeTensor<R>) -> CubeTensor<R> {
    let x = into_contiguous(x);
    if x.can_mut() {
        return x;
    }
    let copy = empty(&x.client, &x.device, x.shape());
    let (cubes, units) = grid(&x);
    copy_kernel::launch::<R>(
        &x.client.clone(),
        cubes,
        units,
        x.into_array_arg(),
        copy.clone().into_array_arg(),
    );
    copy
}

/// How many cubes of which size go over the elements of `x`.
fn grid<R: CubeRuntime>(x: &CubeTensor<R>) -> (CubeCount, CubeDim) {
    let cube_dim = CubeDim::new_1d(UNITS);
    let count = x.shape().num_elements();
    (
        calculate_cube_count_elemwise(&x.client, count, cube_dim),
        cube_dim,
    )
}

/// [`crate::RescoreBackend::mish`]
pub(super) fn mish<R: CubeRuntime>(x: CubeTensor<R>) -> CubeTensor<R> {
    let x = own(x);
    let (cubes, units) = grid(&x);
    mish_kernel::launch::<R>(&x.client.clone(), cubes, units, x.clone().into_array_arg());
    x
}

/// [`crate::RescoreBackend::mish_backward`]
pub(super) fn mish_backward<R: CubeRuntime>(
    x: CubeTensor<R>,
    grad: CubeTensor<R>,
) -> CubeTensor<R> {
    let (x, grad) = (into_contiguous(x), own(grad));
    let (cubes, units) = grid(&grad);
    mish_backward_kernel::launch::<R>(
        &grad.client.clone(),
        cubes,
        units,
        x.into_array_arg(),
        grad.clone().into_array_arg(),
    );
    grad
}

/// Adds `bias` to every row of `x`, then Mish where `with_mish`.
pub(super) fn add_bias<R: CubeRuntime>(
    x: CubeTensor<R>,
    bias: CubeTensor<R>,
    with_mish: bool,
) -> CubeTensor<R> {
    let (x, bias) = (own(x), into_contiguous(bias));
    let (cubes, units) = grid(&x);
    add_bias_kernel::launch::<R>(
        &x.client.clone(),
        cubes,
        units,
        x.clone().into_array_arg(),
        bias.into_array_arg(),
        with_mish,
    );
    x
}

/// [`crate::RescoreBackend::lerp`]
pub(super) fn lerp<R: CubeRuntime>(
    target: CubeTensor<R>,
    online: CubeTensor<R>,
    tau: f64,
) -> CubeTensor<R> {
    let (target, online) = (own(target), into_contiguous(online));
    let (cubes, units) = grid(&target);
    lerp_kernel::launch::<R>(
        &target.client.clone(),
        cubes,
        units,
        target.clone().into_array_arg(),
        online.into_array_arg(),
        (1.0 - tau) as f32,
        tau as f32,
    );
    target
}

/// [`crate::RescoreBackend::adam_step`]
pub(super) fn adam_step<R: CubeRuntime>(
    parameter: CubeTensor<R>,
    gradient: CubeTensor<R>,
    [mu, nu]: [CubeTensor<R>; 2],
    step: AdamStep,
) -> (CubeTensor<R>, [CubeTensor<R>; 2]) {
    let (parameter, gradient) = (own(parameter), into_contiguous(gradient));
    let (mu, nu) = (own(mu), own(nu));
    let (cubes, units) = grid(&parameter);
    let mut rates = SequenceArg::new();
    for rate in [
        step.beta_1,
        step.one_minus_beta_1,
        step.beta_2,
        step.one_minus_beta_2,
        1.0 / step.correction_2,
        step.epsilon,
        1.0 / step.correction_1,
        step.learning_rate,
    ] {
        rates.push(rate);
    }
    adam_kernel::launch::<R>(
        &parameter.client.clone(),
        cubes,
        units,
        parameter.clone().into_array_arg(),
        gradient.into_array_arg(),
        mu.clone().into_array_arg(),
        nu.clone().into_array_arg(),
        rates,
    );
    (parameter, [mu, nu])
}
