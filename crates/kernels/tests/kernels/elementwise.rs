//! The activations, forward and backward.

use burn::{
    backend::{Autodiff, Flex, NdArray},
    tensor::Tensor,
};
use rescore_kernels::{Activation, RescoreBackend, total};

use crate::{
    ACTIVATIONS, assert_close, bits, normals, on_both_backends, reference, tensor, to_vec,
};

/// Arguments from -100 to 100, close together around 0. Their number is no multiple of a vector
/// register and more than one task's share.
fn arguments() -> Vec<f32> {
    let coarse = (-1000..=1000).map(|i| i as f32 / 10.0);
    let fine = (-10_001..=10_001).map(|i| i as f32 / 1000.0);
    coarse.chain(fine).chain([1e-30, -1e-30, -0.0]).collect()
}

fn apply<B: RescoreBackend>(activation: Activation, x: &[f32]) -> Vec<f32> {
    to_vec(activation.forward(tensor::<B, 1>(x.to_vec(), [x.len()])))
}

/// `weights * activation'(x)` by automatic differentiation.
fn slopes<B: RescoreBackend>(activation: Activation, x: &[f32], weights: &[f32]) -> Vec<f32> {
    let x = tensor::<Autodiff<B>, 1>(x.to_vec(), [x.len()]).require_grad();
    let weights = tensor(weights.to_vec(), [weights.len()]);
    let mut grads = total(activation.forward(x.clone()) * weights).backward();
    let gradient = x.grad_remove(&mut grads);
    to_vec(gradient.expect("the sum depends on x"))
}

fn mish_has_its_value<B: RescoreBackend>() {
    let x = arguments();
    for (x, y) in x.iter().zip(apply::<B>(Activation::Mish, &x)) {
        let exact = reference::mish(f64::from(*x));
        // Relative, so that the tail for negative arguments counts; there the exponent's rounding
        // grows with the argument. Where Mish leaves the normal range of f32, near -90, what is
        // left is below 1e-35.
        let error = (f64::from(y) - exact).abs();
        let tolerance = 1e-6 + 3e-8 * f64::from(x.abs());
        assert!(
            error <= tolerance * exact.abs() + 1e-35,
            "mish({x}) is {y}, not {exact}"
        );
    }
}

/// The rounding of `1 - th^2` next to 1, 1e-7, is multiplied by `x`, which reaches 9 before `th`
/// rounds to 1; the sum and the weights, up to 4, come on top.
const SLOPE_TOLERANCE: f64 = 4e-6;

fn mish_has_its_slope<B: RescoreBackend>() {
    let x = arguments();
    let weights = normals("weights", x.len(), 1.0);
    let expected: Vec<f64> = x
        .iter()
        .zip(&weights)
        .map(|(x, w)| {
            // Error of the difference quotient: h^2 / 6 times the third derivative, and 1e-16 x / h
            // of rounding, together below 1e-9.
            let (x, h) = (f64::from(*x), 1e-5);
            let rise = reference::mish(x + h) - reference::mish(x - h);
            f64::from(*w) * rise / (2.0 * h)
        })
        .collect();
    assert_close(
        &slopes::<B>(Activation::Mish, &x, &weights),
        &expected,
        SLOPE_TOLERANCE,
        "mish'",
    );
}

fn gelu_has_its_value<B: RescoreBackend>() {
    let x: Vec<f32> = (-2000..=2000).map(|i| i as f32 / 200.0).collect();
    let exact: Vec<f64> = x
        .iter()
        .map(|x| f64::from(*x) * reference::normal_cdf(f64::from(*x)))
        .collect();
    assert_close(&apply::<B>(Activation::Gelu, &x), &exact, 1e-6, "gelu");
}

/// The tanh approximation, which Burn's own `gelu` derives, is off by 5e-4: far more than the
/// tolerance.
fn gelu_has_its_slope<B: RescoreBackend>() {
    let x: Vec<f32> = (-2000..=2000).map(|i| i as f32 / 200.0).collect();
    let weights = normals("weights", x.len(), 1.0);
    let exact: Vec<f64> = x
        .iter()
        .zip(&weights)
        .map(|(x, w)| {
            let x = f64::from(*x);
            f64::from(*w) * (reference::normal_cdf(x) + x * reference::normal_density(x))
        })
        .collect();
    assert_close(
        &slopes::<B>(Activation::Gelu, &x, &weights),
        &exact,
        1e-6,
        "gelu'",
    );
}

/// At 0 the derivative of the rectifier is 0.
fn relu_is_exact<B: RescoreBackend>() {
    let x = arguments();
    let weights = normals("weights", x.len(), 1.0);
    let value: Vec<f32> = x.iter().map(|x| x.max(0.0)).collect();
    assert_eq!(apply::<B>(Activation::Relu, &x), value);
    let passes = |(x, w): (&f32, &f32)| if *x > 0.0 { *w } else { 0.0 };
    let slope: Vec<f32> = x.iter().zip(&weights).map(passes).collect();
    assert_eq!(slopes::<B>(Activation::Relu, &x, &weights), slope);
}

fn tanh_has_its_value_and_slope<B: RescoreBackend>() {
    let x = arguments();
    let weights = normals("weights", x.len(), 1.0);
    let exact: Vec<f64> = x.iter().map(|x| f64::from(*x).tanh()).collect();
    assert_close(&apply::<B>(Activation::Tanh, &x), &exact, 1e-6, "tanh");
    let exact: Vec<f64> = (exact.iter().zip(&weights))
        .map(|(y, w)| f64::from(*w) * (1.0 - y * y))
        .collect();
    let slopes = slopes::<B>(Activation::Tanh, &x, &weights);
    assert_close(&slopes, &exact, 1e-6, "tanh'");
}

/// A number that has gone bad must stay visible: the training loop stops on what is not finite.
fn what_is_not_finite_stays_visible<B: RescoreBackend>() {
    let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0];
    for activation in ACTIVATIONS {
        let y = apply::<B>(activation, &x);
        assert!(y[0].is_nan(), "{activation:?}(NaN) is {}", y[0]);
        let slope = slopes::<B>(activation, &[1.0], &[f32::NAN]);
        assert!(slope[0].is_nan(), "a NaN gradient became {}", slope[0]);
        if activation == Activation::Tanh {
            assert_eq!(y[1..3], [1.0, -1.0], "tanh is bounded");
            continue;
        }
        assert!(
            y[1].is_infinite() && y[1] > 0.0,
            "{activation:?}(inf) is {}",
            y[1]
        );
        if activation == Activation::Relu {
            assert_eq!(y[2].to_bits(), 0, "-inf is a number below 0");
            continue;
        }
        // The limit is 0, but an argument of -inf has overflowed already.
        assert!(!y[2].is_finite(), "{activation:?}(-inf) is {}", y[2]);
        let slope = slopes::<B>(activation, &x, &[1.0; 4]);
        assert!(slope[0].is_nan(), "{activation:?}'(NaN) is {}", slope[0]);
    }
}

/// Views share memory with others and need not lie in order: the operation must read the view and
/// write nowhere else.
fn mish_of_a_view<B: RescoreBackend>() {
    let values = normals("view", 6 * 9, 2.0);
    let whole = tensor::<B, 2>(values.clone(), [6, 9]);
    let expected = |indices: &mut dyn Iterator<Item = usize>| -> Vec<f64> {
        indices
            .map(|i| reference::mish(f64::from(values[i])))
            .collect()
    };
    let transposed = to_vec(Activation::Mish.forward(whole.clone().transpose()));
    let mut columns_first = (0..9).flat_map(|j| (0..6).map(move |i| i * 9 + j));
    assert_close(
        &transposed,
        &expected(&mut columns_first),
        1e-6,
        "transposed",
    );
    let part = to_vec(Activation::Mish.forward(whole.clone().slice([1..4, 2..7])));
    let mut inner = (1..4).flat_map(|i| (2..7).map(move |j| i * 9 + j));
    assert_close(&part, &expected(&mut inner), 1e-6, "slice");
    assert_eq!(to_vec(whole), values, "the argument was overwritten");
}

/// Mish on a tensor that is also needed elsewhere in the graph, twice in a row.
fn mish_of_mish_has_its_slope<B: RescoreBackend>() {
    let values = normals("twice", 33, 1.5);
    let x = tensor::<Autodiff<B>, 1>(values.clone(), [33]).require_grad();
    let inner = Activation::Mish.forward(x.clone());
    let both: Tensor<Autodiff<B>, 1> = Activation::Mish.forward(inner.clone()) * inner;
    let mut grads = total(both).backward();
    let gradient = to_vec(x.grad_remove(&mut grads).expect("the sum depends on x"));
    let f = |x: f64| reference::mish(reference::mish(x)) * reference::mish(x);
    let expected: Vec<f64> = values
        .iter()
        .map(|x| (f(f64::from(*x) + 1e-5) - f(f64::from(*x) - 1e-5)) / 2e-5)
        .collect();
    assert_close(&gradient, &expected, SLOPE_TOLERANCE, "slope");
}

on_both_backends!(
    mish_has_its_value,
    mish_has_its_slope,
    gelu_has_its_value,
    gelu_has_its_slope,
    relu_is_exact,
    tanh_has_its_value_and_slope,
    what_is_not_finite_stays_visible,
    mish_of_a_view,
    mish_of_mish_has_its_slope,
);

/// Flex has loops of its own where `NdArray` runs the default bodies.
#[test]
fn the_fused_activations_agree_with_the_default_bodies() {
    let x = arguments();
    let widen = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
    let ones = vec![1.0; x.len()];
    for activation in ACTIVATIONS {
        let (fused, default) = (
            apply::<Flex>(activation, &x),
            apply::<NdArray>(activation, &x),
        );
        assert_close(&fused, &widen(default), 1e-6, "value");
        let (fused, default) = (
            slopes::<Flex>(activation, &x, &ones),
            slopes::<NdArray>(activation, &x, &ones),
        );
        assert_close(&fused, &widen(default), SLOPE_TOLERANCE, "slope");
    }
}

/// The value of an element does not depend on where in the array it stands.
#[test]
fn the_fused_activations_treat_all_positions_alike() {
    let x = arguments();
    for activation in ACTIVATIONS {
        let all = apply::<Flex>(activation, &x);
        let slope = slopes::<Flex>(activation, &x, &vec![1.0; x.len()]);
        for start in [1, 3, 8191, 8192] {
            let part = apply::<Flex>(activation, &x[start..]);
            assert_eq!(bits(&part), bits(&all[start..]), "from {start}");
            let part = slopes::<Flex>(activation, &x[start..], &vec![1.0; x.len() - start]);
            assert_eq!(bits(&part), bits(&slope[start..]), "from {start}");
        }
    }
}
