//! Adam against the algorithm's ten lines in f64.

use burn::backend::{Flex, NdArray};
use rescore_kernels::{
    Activation, Initializer, Linear, Mlp, NoiseKey, RescoreBackend,
    adam::{Adam, TensorAdam},
};

use crate::{assert_close, bits, normals, on_both_backends, tensor, to_vec};

const RATE: f64 = 0.01;
/// More than one task's share, and no multiple of a vector register.
const SIZE: usize = 20_003;
const STEPS: u64 = 10;

/// Gradients of step `step`: of all magnitudes from 1e-6 to 1e2, some zero.
fn gradient(step: u64) -> Vec<f32> {
    let mut values = normals(&format!("gradient {step}"), SIZE, 1.0);
    for (i, value) in values.iter_mut().enumerate() {
        *value *= [0.0, 1e-6, 1e-3, 1.0, 1e2][i % 5];
    }
    values
}

/// Parameter and moments after [`STEPS`] steps: Kingma and Ba (2015), algorithm 1.
fn exact(parameters: &[f32]) -> [Vec<f64>; 3] {
    let mut p: Vec<f64> = parameters.iter().map(|p| f64::from(*p)).collect();
    let (mut m, mut v) = (vec![0.0; SIZE], vec![0.0; SIZE]);
    for step in 1..=STEPS {
        for (i, g) in gradient(step).into_iter().enumerate() {
            let g = f64::from(g);
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.999 * v[i] + 0.001 * g * g;
            let m_hat = m[i] / (1.0 - 0.9_f64.powi(step as i32));
            let v_hat = v[i] / (1.0 - 0.999_f64.powi(step as i32));
            p[i] -= RATE * m_hat / (v_hat.sqrt() + 1e-8);
        }
    }
    [p, m, v]
}

/// The same on a backend, as f32.
fn stepped<B: RescoreBackend>(parameters: &[f32]) -> [Vec<f32>; 3] {
    let mut p = tensor::<B, 1>(parameters.to_vec(), [SIZE]);
    let mut adam = TensorAdam::new(&p);
    for step in 1..=STEPS {
        p = adam.step(&p, &tensor(gradient(step), [SIZE]), RATE);
    }
    assert_eq!(adam.count, STEPS);
    [to_vec(p), to_vec(adam.mu), to_vec(adam.nu)]
}

/// Ten roundings of parameters near 1 stay below 1e-6. The first moment is a sum of terms that
/// cancel, so its error is one of its largest term; the second is a sum of positive terms.
fn ten_steps_match_f64<B: RescoreBackend>() {
    let parameters = normals("parameters", SIZE, 1.0);
    let [p, mu, nu] = exact(&parameters);
    let [actual_p, actual_mu, actual_nu] = stepped::<B>(&parameters);
    assert_close(&actual_p, &p, 1e-6, "parameter");
    let gradients: Vec<_> = (1..=STEPS).map(gradient).collect();
    for i in 0..SIZE {
        let largest = gradients.iter().fold(0.0, |max, g| g[i].abs().max(max));
        let error = (f64::from(actual_mu[i]) - mu[i]).abs();
        let allowed = 1e-6 * 0.1 * f64::from(largest);
        assert!(
            error <= allowed,
            "mu {i} is {}, not {}",
            actual_mu[i],
            mu[i]
        );
        let error = (f64::from(actual_nu[i]) - nu[i]).abs();
        assert!(
            error <= 1e-6 * nu[i],
            "nu {i} is {}, not {}",
            actual_nu[i],
            nu[i]
        );
    }
}

/// Whatever the size of the gradient, the first step is the learning rate long; without a gradient
/// there is none.
fn the_first_step_is_the_learning_rate_long<B: RescoreBackend>() {
    let p = tensor::<B, 1>(vec![0.5; 4], [4]);
    let stepped = TensorAdam::new(&p).step(
        &p,
        &tensor(vec![1e3, -1e3, 1e-3, 0.0], [4]),
        f64::from(0.25_f32),
    );
    assert_close(&to_vec(stepped), &[0.25, 0.75, 0.25, 0.5], 1e-5, "step");
}

/// Every layer of a network moves as a single tensor would, and its argument's copies stay.
fn a_network_steps_layer_by_layer<B: RescoreBackend>() {
    let device = B::Device::default();
    let init = |name| {
        let key = NoiseKey::new(3, name);
        Mlp::<B>::init(
            &[3, 5, 2],
            Activation::Mish,
            Initializer::LecunNormal,
            key,
            &device,
        )
    };
    let (before, gradient) = (init("network"), init("gradient"));
    let mut network = before.clone();
    let mut adam = Adam::new(&network);
    for _ in 0..3 {
        adam.step(&mut network, &gradient, RATE);
    }
    for (i, layer) in network.layers.iter().enumerate() {
        let [old, g]: [&Linear<B>; 2] = [&before.layers[i], &gradient.layers[i]];
        let mut weight_adam = TensorAdam::new(&old.weight);
        let mut bias_adam = TensorAdam::new(&old.bias);
        let (mut weight, mut bias) = (old.weight.clone(), old.bias.clone());
        for _ in 0..3 {
            weight = weight_adam.step(&weight, &g.weight, RATE);
            bias = bias_adam.step(&bias, &g.bias, RATE);
        }
        assert_eq!(to_vec(layer.weight.clone()), to_vec(weight), "weight {i}");
        assert_eq!(to_vec(layer.bias.clone()), to_vec(bias), "bias {i}");
        assert_eq!(
            to_vec(adam.mu.layers[i].weight.clone()),
            to_vec(weight_adam.mu)
        );
        assert_eq!(
            to_vec(adam.nu.layers[i].weight.clone()),
            to_vec(weight_adam.nu)
        );
    }
    let fresh = init("network");
    for (kept, fresh) in before.layers.iter().zip(&fresh.layers) {
        let [kept, fresh] = [kept, fresh].map(|layer| to_vec(layer.weight.clone()));
        assert_eq!(kept, fresh, "a copy of the network was overwritten");
    }
}

/// A gradient that comes as a transposed view is read in the view's order.
fn a_transposed_gradient_is_read_in_order<B: RescoreBackend>() {
    let values = normals("gradient", 15, 1.0);
    let view = tensor::<B, 2>(values, [5, 3]).transpose();
    let plain = tensor::<B, 2>(to_vec(view.clone()), [3, 5]);
    let p = tensor::<B, 2>(normals("parameter", 15, 1.0), [3, 5]);
    let [a, b] = [view, plain].map(|g| to_vec(TensorAdam::new(&p).step(&p, &g, RATE)));
    assert_eq!(bits(&a), bits(&b));
}

on_both_backends!(
    ten_steps_match_f64,
    the_first_step_is_the_learning_rate_long,
    a_network_steps_layer_by_layer,
    a_transposed_gradient_is_read_in_order,
);

/// Flex has a loop of its own where `NdArray` runs the default body.
#[test]
fn the_fused_adam_agrees_with_the_default_body() {
    let parameters = normals("parameters", SIZE, 1.0);
    let [default_p, ..] = stepped::<NdArray>(&parameters);
    let [fused_p, ..] = stepped::<Flex>(&parameters);
    let default: Vec<f64> = default_p.iter().map(|x| f64::from(*x)).collect();
    assert_close(&fused_p, &default, 1e-6, "parameter");
}
