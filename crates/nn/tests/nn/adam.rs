//! Adam against the algorithm's ten lines in f64.

use burn::backend::{Flex, NdArray};
use rescore_kernels::{Activation, RescoreBackend, total};
use rescore_nn::{
    Adam, AdamSettings, BatchNormMlp, Initializer, Mlp, TensorAdam, leaves, value_and_grad,
};

use crate::{assert_close, bits, keys, normals, on_both_backends, reference::wide, tensor, to_vec};

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

/// Settings that are nobody's default.
fn unusual() -> AdamSettings {
    AdamSettings {
        beta_1: 0.5,
        beta_2: 0.95,
        epsilon: 1e-3,
        ..AdamSettings::default()
    }
}

/// Parameter and moments after [`STEPS`] steps: Kingma and Ba (2015), algorithm 1.
fn exact(parameters: &[f32], settings: AdamSettings) -> [Vec<f64>; 3] {
    let [b1, b2] = [settings.beta_1, settings.beta_2];
    let mut p: Vec<f64> = parameters.iter().map(|p| f64::from(*p)).collect();
    let (mut m, mut v) = (vec![0.0; SIZE], vec![0.0; SIZE]);
    for step in 1..=STEPS {
        for (i, g) in gradient(step).into_iter().enumerate() {
            let g = f64::from(g);
            m[i] = b1 * m[i] + (1.0 - b1) * g;
            v[i] = b2 * v[i] + (1.0 - b2) * g * g;
            let m_hat = m[i] / (1.0 - b1.powi(step as i32));
            let v_hat = v[i] / (1.0 - b2.powi(step as i32));
            p[i] -= RATE * m_hat / (v_hat.sqrt() + settings.epsilon);
        }
    }
    [p, m, v]
}

/// The same on a backend, as f32.
fn stepped<B: RescoreBackend>(parameters: &[f32], settings: AdamSettings) -> [Vec<f32>; 3] {
    let mut p = tensor::<B, 1>(parameters.to_vec(), [SIZE]);
    let mut adam = TensorAdam::new(&p, settings);
    for step in 1..=STEPS {
        adam.step(&mut p, &tensor(gradient(step), [SIZE]), RATE);
    }
    assert_eq!(adam.count, STEPS);
    [to_vec(p), to_vec(adam.mu), to_vec(adam.nu)]
}

/// Ten roundings of parameters near 1 stay below 1e-6. The first moment is a sum of terms that
/// cancel, so its error is one of its largest term; the second is a sum of positive terms.
fn ten_steps_match_f64<B: RescoreBackend>() {
    for settings in [AdamSettings::default(), unusual()] {
        check_ten_steps::<B>(settings);
    }
}

fn check_ten_steps<B: RescoreBackend>(settings: AdamSettings) {
    let parameters = normals("parameters", SIZE, 1.0);
    let [p, mu, nu] = exact(&parameters, settings);
    let [actual_p, actual_mu, actual_nu] = stepped::<B>(&parameters, settings);
    assert_close(&actual_p, &p, 1e-6, "parameter");
    let gradients: Vec<_> = (1..=STEPS).map(gradient).collect();
    for i in 0..SIZE {
        let largest = gradients.iter().fold(0.0, |max, g| g[i].abs().max(max));
        let error = (f64::from(actual_mu[i]) - mu[i]).abs();
        let allowed = 1e-6 * (1.0 - settings.beta_1) * f64::from(largest);
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
    let mut p = tensor::<B, 1>(vec![0.5; 4], [4]);
    TensorAdam::new(&p, AdamSettings::default()).step(
        &mut p,
        &tensor(vec![1e3, -1e3, 1e-3, 0.0], [4]),
        f64::from(0.25_f32),
    );
    assert_close(&to_vec(p), &[0.25, 0.75, 0.25, 0.5], 1e-5, "step");
}

fn network<B: RescoreBackend>(name: &str) -> Mlp<B> {
    let (keys, device) = (keys(name, 2), B::Device::default());
    let initializer = Initializer::LecunNormal;
    Mlp::init(&[3, 5, 2], Activation::Mish, initializer, &keys, &device)
}

/// Every leaf of a network moves as a single tensor would, and its argument's copies stay.
fn a_network_steps_leaf_by_leaf<B: RescoreBackend>() {
    let (before, gradient) = (network::<B>("network"), network::<B>("gradient"));
    let mut network = before.clone();
    let mut adam = Adam::new(&network, unusual());
    for _ in 0..3 {
        adam.step(&mut network, &gradient, RATE);
    }
    let old = leaves(&before).into_iter().zip(leaves(&gradient));
    let new = leaves(&network)
        .into_iter()
        .zip(leaves(&adam.mu).into_iter().zip(leaves(&adam.nu)));
    for (((name, _, mut parameter), (_, _, g)), ((_, _, moved), ((.., mu), (.., nu)))) in
        old.zip(new)
    {
        let mut single = TensorAdam::new(&parameter, unusual());
        for _ in 0..3 {
            single.step(&mut parameter, &g, RATE);
        }
        assert_eq!(to_vec(moved), to_vec(parameter), "{name}");
        assert_eq!(to_vec(mu), to_vec(single.mu), "{name}");
        assert_eq!(to_vec(nu), to_vec(single.nu), "{name}");
    }
    for ((name, _, kept), (.., fresh)) in leaves(&before)
        .into_iter()
        .zip(leaves(&self::network::<B>("network")))
    {
        assert_eq!(
            to_vec(kept),
            to_vec(fresh),
            "a copy was overwritten: {name}"
        );
    }
}

/// After the step every parameter is multiplied by `1 - learning rate * decay`.
fn decay_is_decoupled<B: RescoreBackend>() {
    let (before, gradient) = (network::<B>("network"), network::<B>("gradient"));
    let decayed = AdamSettings {
        weight_decay: 0.5,
        ..AdamSettings::default()
    };
    let step = |settings| {
        let mut network = before.clone();
        let mut adam = Adam::new(&network, settings);
        adam.step(&mut network, &gradient, RATE);
        leaves(&network).into_iter().zip(leaves(&adam.mu))
    };
    let plain = step(AdamSettings::default());
    for (((name, _, plain), (.., plain_mu)), ((.., less), (.., mu))) in plain.zip(step(decayed)) {
        let expected: Vec<f64> = wide(&plain)
            .iter()
            .map(|p| p * (1.0 - RATE * 0.5))
            .collect();
        assert_close(&to_vec(less), &expected, 1e-7, &name);
        assert_eq!(to_vec(mu), to_vec(plain_mu), "decay is not in the moments");
    }
}

/// The norm is that of the whole gradient, and a gradient below the limit stays.
fn a_long_gradient_is_shortened<B: RescoreBackend>() {
    let gradient = network::<B>("gradient");
    let values: Vec<f64> = leaves(&gradient)
        .iter()
        .flat_map(|(.., g)| wide(g))
        .collect();
    let norm = values.iter().map(|g| g * g).sum::<f64>().sqrt();
    assert!(norm > 2.0, "the limit below must be one");
    for (limit, factor) in [(0.5, 0.5 / (norm + 1e-6)), (norm + 1.0, 1.0)] {
        let mut network = network::<B>("network");
        let settings = AdamSettings {
            clip_norm: limit,
            ..AdamSettings::default()
        };
        let mut adam = Adam::new(&network, settings);
        adam.step(&mut network, &gradient, RATE);
        let mu: Vec<f32> = leaves(&adam.mu)
            .into_iter()
            .flat_map(|(.., m)| to_vec(m))
            .collect();
        let expected: Vec<f64> = values.iter().map(|g| 0.1 * g * factor).collect();
        assert_close(&mu, &expected, 1e-7, "first moment");
    }
}

/// Not even decay moves statistics and fixed parameters.
fn what_is_not_trained_stays<B: RescoreBackend>() {
    let (keys, device) = (keys("norms", 2), B::Device::default());
    let before = BatchNormMlp::<B>::init(&[3, 4, 2], &keys, &device);
    let (_, gradient, ()) = value_and_grad(&before, |network| {
        let x = tensor(normals("x", 21, 1.0), [1, 7, 3]);
        (total(network.forward(x)), ())
    });
    let settings = AdamSettings {
        weight_decay: 0.5,
        clip_norm: 1.0,
        ..AdamSettings::default()
    };
    let (mut network, mut adam) = (before.clone(), Adam::new(&before, settings));
    adam.step(&mut network, &gradient, RATE);
    for ((name, role, new), (.., old)) in leaves(&network).into_iter().zip(leaves(&before)) {
        let stays = to_vec(new) == to_vec(old);
        // biases and shifts start at 0, which decay alone would not move
        assert_eq!(stays, !role.is_trained(), "{name}");
    }
}

/// A gradient that comes as a transposed view is read in the view's order.
fn a_transposed_gradient_is_read_in_order<B: RescoreBackend>() {
    let values = normals("gradient", 15, 1.0);
    let view = tensor::<B, 2>(values, [5, 3]).transpose();
    let plain = tensor::<B, 2>(to_vec(view.clone()), [3, 5]);
    let p = tensor::<B, 2>(normals("parameter", 15, 1.0), [3, 5]);
    let [a, b] = [view, plain].map(|g| {
        let mut p = p.clone();
        TensorAdam::new(&p, AdamSettings::default()).step(&mut p, &g, RATE);
        to_vec(p)
    });
    assert_eq!(bits(&a), bits(&b));
}

on_both_backends!(
    ten_steps_match_f64,
    the_first_step_is_the_learning_rate_long,
    a_network_steps_leaf_by_leaf,
    decay_is_decoupled,
    a_long_gradient_is_shortened,
    what_is_not_trained_stays,
    a_transposed_gradient_is_read_in_order,
);

/// Flex has a loop of its own where `NdArray` runs the default body.
#[test]
fn the_fused_adam_agrees_with_the_default_body() {
    let parameters = normals("parameters", SIZE, 1.0);
    let [default_p, ..] = stepped::<NdArray>(&parameters, AdamSettings::default());
    let [fused_p, ..] = stepped::<Flex>(&parameters, AdamSettings::default());
    let default: Vec<f64> = default_p.iter().map(|x| f64::from(*x)).collect();
    assert_close(&fused_p, &default, 1e-6, "parameter");
}
