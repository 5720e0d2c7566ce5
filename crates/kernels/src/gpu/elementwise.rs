//! Operations on every element, each in one pass over memory.

use burn::tensor::TensorMetadata as _;
use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, client::ComputeClient, prelude::*};

use super::{UNITS, empty};
use crate::{
    Activation,
    adam::AdamStep,
    gelu::{INV_SQRT_TAU, TAIL, TAIL_SLOPE},
    mish::SATURATION,
};

/// Items that one launch takes at most: a kernel is as long as they are many.
const MOST_ITEMS: usize = 20;

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

/// `mish'(x) = th + x (1 - th^2) sigmoid(x)`, `th = n / (n + 2)`
#[cube]
fn mish_slope(x: f32) -> f32 {
    let (e, n) = exponentials(x);
    let th = n / (n + 2.0);
    th + x * (1.0 - th * th) * (e / (e + 1.0))
}

/// Of [`TAIL`], for a kernel, whose loops are over numbers.
fn tail_coefficient(index: usize) -> f32 {
    TAIL[index]
}

/// `e^(-x^2 / 2)` and the tail `Phi(-|x|)`, see [`TAIL_SLOPE`].
#[cube]
fn normal_tail(x: f32) -> (f32, f32) {
    let e = f32::exp(x * x * -0.5);
    let t = 1.0 / (1.0 + f32::abs(x) * TAIL_SLOPE);
    let mut p = f32::new(comptime!(tail_coefficient(0)));
    #[unroll]
    for power in 1..TAIL.len() {
        p = p * t + comptime!(tail_coefficient(power));
    }
    (e, e * p)
}

/// `x Phi(x) = max(x, 0) - |x| Phi(-|x|)`
#[cube]
fn gelu_of(x: f32) -> f32 {
    let (_, tail) = normal_tail(x);
    select(x < 0.0, x * tail, x - x * tail)
}

/// `gelu'(x) = Phi(x) + x phi(x)`
#[cube]
fn gelu_slope(x: f32) -> f32 {
    let (e, tail) = normal_tail(x);
    select(x < 0.0, tail, 1.0 - tail) + x * e * comptime!(INV_SQRT_TAU as f32)
}

#[cube]
pub(super) fn value_of(x: f32, #[comptime] activation: Activation) -> f32 {
    if comptime!(activation == Activation::Mish) {
        mish_of(x)
    } else if comptime!(activation == Activation::Gelu) {
        gelu_of(x)
    } else if comptime!(activation == Activation::Relu) {
        f32::max(x, 0.0)
    } else {
        f32::tanh(x)
    }
}

#[cube]
pub(super) fn slope_of(x: f32, #[comptime] activation: Activation) -> f32 {
    if comptime!(activation == Activation::Mish) {
        mish_slope(x)
    } else if comptime!(activation == Activation::Gelu) {
        gelu_slope(x)
    } else if comptime!(activation == Activation::Relu) {
        select(x > 0.0, f32::new(1.0), f32::new(0.0))
    } else {
        let y = f32::tanh(x);
        1.0 - y * y
    }
}

#[cube(launch)]
fn activate_kernel(x: &mut Array<f32>, #[comptime] activation: Activation) {
    let i = ABSOLUTE_POS;
    if i < x.len() {
        x[i] = value_of(x[i], activation);
    }
}

#[cube(launch)]
fn activate_backward_kernel(
    x: &Array<f32>,
    grad: &mut Array<f32>,
    #[comptime] activation: Activation,
) {
    let i = ABSOLUTE_POS;
    if i < grad.len() {
        grad[i] = grad[i] * slope_of(x[i], activation);
    }
}

/// Of `count` arrays laid end to end, each from a cube of its own on: the element of an array whose
/// first cube is `first`, beyond its end in the cubes of the others.
#[cube]
fn element(first: usize) -> usize {
    let place = (CUBE_POS - first) * UNITS as usize + UNIT_POS as usize;
    // A device counts in 32 bits.
    select(CUBE_POS >= first, place, comptime!(u32::MAX as usize))
}

/// The first cube of the array after one that is `length` long.
#[cube]
fn next_first(first: usize, length: usize) -> usize {
    first + length.div_ceil(UNITS as usize)
}

#[cube(launch)]
fn lerp_kernel(
    targets: &mut Sequence<Array<f32>>,
    online: &Sequence<Array<f32>>,
    keep: f32,
    tau: f32,
    #[comptime] count: usize,
) {
    let mut first = 0usize;
    #[unroll]
    for array in 0..count {
        let target = targets.index_mut(array);
        let online = online.index(array);
        let i = element(first);
        if i < target.len() {
            target[i] = target[i] * keep + online[i] * tau;
        }
        first = next_first(first, target.len());
    }
}

#[cube(launch)]
fn adam_kernel(
    parameters: &mut Sequence<Array<f32>>,
    gradients: &Sequence<Array<f32>>,
    mus: &mut Sequence<Array<f32>>,
    nus: &mut Sequence<Array<f32>>,
    rates: &Sequence<f32>,
    #[comptime] count: usize,
) {
    let mut first = 0usize;
    #[unroll]
    for array in 0..count {
        let parameter = parameters.index_mut(array);
        let gradient = gradients.index(array);
        let mu = mus.index_mut(array);
        let nu = nus.index_mut(array);
        let i = element(first);
        if i < parameter.len() {
            let g = gradient[i];
            let m = mu[i] * rates[0] + g * rates[1];
            let v = nu[i] * rates[2] + g * g * rates[3];
            mu[i] = m;
            nu[i] = v;
            let root = f32::sqrt(v * rates[4]) + rates[5];
            parameter[i] = (parameter[i] - m * rates[6] / root * rates[7]) * rates[8];
        }
        first = next_first(first, parameter.len());
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

/// [`crate::RescoreBackend::activate`]
pub(super) fn activate<R: CubeRuntime>(x: CubeTensor<R>, activation: Activation) -> CubeTensor<R> {
    let x = own(x);
    let (cubes, units) = grid(&x);
    activate_kernel::launch::<R>(
        &x.client.clone(),
        cubes,
        units,
        x.clone().into_array_arg(),
        activation,
    );
    x
}

/// [`crate::RescoreBackend::activate_backward`]
pub(super) fn activate_backward<R: CubeRuntime>(
    x: CubeTensor<R>,
    grad: CubeTensor<R>,
    activation: Activation,
) -> CubeTensor<R> {
    let (x, grad) = (into_contiguous(x), own(grad));
    let (cubes, units) = grid(&grad);
    activate_backward_kernel::launch::<R>(
        &grad.client.clone(),
        cubes,
        units,
        x.into_array_arg(),
        grad.clone().into_array_arg(),
        activation,
    );
    grad
}

/// How many items, each of `arrays` arrays, one launch can take: the device limits the arrays that a
/// kernel sees, and one more holds their lengths and the scalars.
fn items_at_once<R: CubeRuntime>(client: &ComputeClient<R>, arrays: usize) -> usize {
    let bindings = client.properties().hardware.max_bindings as usize;
    (bindings.saturating_sub(2) / arrays).clamp(1, MOST_ITEMS)
}

/// Cubes for `arrays` laid end to end, each from a cube of its own on.
fn cubes_of<'a, R: CubeRuntime>(
    client: &ComputeClient<R>,
    arrays: impl Iterator<Item = &'a CubeTensor<R>>,
) -> CubeCount {
    let units = UNITS as usize;
    let cubes: usize = arrays
        .map(|x| x.shape().num_elements().div_ceil(units))
        .sum();
    calculate_cube_count_elemwise(client, cubes * units, CubeDim::new_1d(UNITS))
}

/// [`crate::RescoreBackend::lerp`]
pub(super) fn lerp<R: CubeRuntime>(
    targets: Vec<CubeTensor<R>>,
    online: Vec<CubeTensor<R>>,
    tau: f64,
) -> Vec<CubeTensor<R>> {
    assert_eq!(targets.len(), online.len(), "an array for each target");
    let targets: Vec<_> = targets.into_iter().map(own).collect();
    let online: Vec<_> = online.into_iter().map(into_contiguous).collect();
    let Some(client) = targets.first().map(|x| x.client.clone()) else {
        return targets;
    };
    let at_once = items_at_once(&client, 2);
    for (targets, online) in targets.chunks(at_once).zip(online.chunks(at_once)) {
        lerp_kernel::launch::<R>(
            &client,
            cubes_of(&client, targets.iter()),
            CubeDim::new_1d(UNITS),
            arguments(targets.iter()),
            arguments(online.iter()),
            (1.0 - tau) as f32,
            tau as f32,
            targets.len(),
        );
    }
    targets
}

/// [`crate::RescoreBackend::adam_step`]
pub(super) fn adam_step<R: CubeRuntime>(
    parameters: Vec<[CubeTensor<R>; 3]>,
    gradients: Vec<CubeTensor<R>>,
    step: AdamStep,
) -> Vec<[CubeTensor<R>; 3]> {
    assert_eq!(parameters.len(), gradients.len(), "a gradient for each");
    let arrays: Vec<_> = parameters
        .into_iter()
        .map(|arrays| arrays.map(own))
        .collect();
    let gradients: Vec<_> = gradients.into_iter().map(into_contiguous).collect();
    let Some(client) = gradients.first().map(|x| x.client.clone()) else {
        return arrays;
    };
    let at_once = items_at_once(&client, 4);
    for (arrays, gradients) in arrays.chunks(at_once).zip(gradients.chunks(at_once)) {
        let rates = [
            step.beta_1,
            step.one_minus_beta_1,
            step.beta_2,
            step.one_minus_beta_2,
            1.0 / step.correction_2,
            step.epsilon,
            1.0 / step.correction_1,
            step.learning_rate,
            step.keep,
        ];
        adam_kernel::launch::<R>(
            &client,
            cubes_of(&client, gradients.iter()),
            CubeDim::new_1d(UNITS),
            arguments(arrays.iter().map(|[parameter, _, _]| parameter)),
            arguments(gradients.iter()),
            arguments(arrays.iter().map(|[_, mu, _]| mu)),
            arguments(arrays.iter().map(|[_, _, nu]| nu)),
            rates.into_iter().collect(),
            gradients.len(),
        );
    }
    arrays
}

fn arguments<'a, R: CubeRuntime>(
    arrays: impl Iterator<Item = &'a CubeTensor<R>>,
) -> SequenceArg<R, Array<f32>> {
    arrays.map(|x| x.clone().into_array_arg()).collect()
}
