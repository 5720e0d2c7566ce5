//! Each kind of network against a computation of its definition in `f64`.

use std::collections::BTreeMap;

use rescore_noise::NoiseKey;

use super::{Buffers, Builder};
use crate::description::{Activation, NetworkKind};
use crate::file::{Tensor, Tensors};

const MEMBERS: usize = 2;

/// The leaves of a network under test.
#[derive(Default)]
struct Leaves(BTreeMap<String, Tensor>);

impl Leaves {
    fn add(&mut self, name: &str, rows: usize, columns: usize) {
        let mut values = vec![0.0; MEMBERS * rows * columns];
        NoiseKey::new(5, name).fill_normals(&mut values, columns, 0, 0, 0);
        if name.rsplit('.').next() == Some("var") {
            for value in &mut values {
                *value *= *value;
            }
        }
        let shape = [MEMBERS, rows, columns];
        self.0
            .insert(format!("net.{name}"), Tensor { shape, values });
    }

    fn add_linear(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.add(&format!("{name}.weight"), inputs, outputs);
        self.add(&format!("{name}.bias"), 1, outputs);
    }

    fn add_rows(&mut self, name: &str, leaves: &[&str], width: usize) {
        for leaf in leaves {
            self.add(&format!("{name}.{leaf}"), 1, width);
        }
    }

    fn at(&self, member: usize, name: &str, row: usize, column: usize) -> f64 {
        let Tensor { shape, values } = &self.0[&format!("net.{name}")];
        f64::from(values[(member * shape[1] + row) * shape[2] + column])
    }

    fn product(&self, member: usize, name: &str, x: &[f64]) -> Vec<f64> {
        let name = format!("{name}.weight");
        let columns = self.0[&format!("net.{name}")].shape[2];
        let dot = |j| {
            (0..x.len())
                .map(|i| x[i] * self.at(member, &name, i, j))
                .sum()
        };
        (0..columns).map(dot).collect()
    }

    fn linear(&self, member: usize, name: &str, x: &[f64]) -> Vec<f64> {
        let y = self.product(member, name, x).into_iter().enumerate();
        y.map(|(j, y)| y + self.at(member, &format!("{name}.bias"), 0, j))
            .collect()
    }

    fn layer_norm(&self, member: usize, name: &str, x: &[f64]) -> Vec<f64> {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|x| x * x).sum::<f64>() / n - mean * mean;
        let leaf = |leaf: &str, i| self.at(member, &format!("{name}.{leaf}"), 0, i);
        let unit = x.iter().map(|x| (x - mean) / (variance + 1e-6).sqrt());
        unit.enumerate()
            .map(|(i, x)| x * leaf("scale", i) + leaf("shift", i))
            .collect()
    }

    fn batch_norm(&self, member: usize, name: &str, x: &[f64]) -> Vec<f64> {
        let leaf = |leaf: &str, i| self.at(member, &format!("{name}.{leaf}"), 0, i);
        let x = x.iter().enumerate();
        x.map(|(i, x)| {
            let unit = (x - leaf("mean", i)) / (leaf("var", i) + 1e-3).sqrt();
            unit * leaf("scale", i) + leaf("shift", i)
        })
        .collect()
    }

    /// The network of `kind` from 3 to 2 values, made of these leaves and nothing else, against
    /// `expected(member, x)`.
    fn check(&self, kind: NetworkKind, expected: impl Fn(usize, &[f64]) -> Vec<f64>) {
        let mut tensors = Tensors(self.0.clone());
        let builder = Builder::new(&mut tensors, "net", MEMBERS, Some(3));
        let network = builder.network(kind, Some(2)).expect("the leaves fit");
        tensors.finish().expect("every leaf is used");
        let mut buffers = Buffers::default();
        for (member, x) in [
            (0, [0.3, -1.2, 2.0]),
            (1, [-0.7, 0.1, 0.4]),
            (0, [9.0, 8.0, -7.0]),
        ] {
            buffers.input([&x[..1], &x[1..]]);
            network.apply(member, &mut buffers);
            let expected = expected(member, &x.map(f64::from));
            assert_eq!(buffers.x.len(), expected.len());
            for (found, expected) in buffers.x.iter().zip(&expected) {
                let error = (f64::from(*found) - expected).abs();
                assert!(error < 2e-5 * (1.0 + expected.abs()), "{found} {expected}");
            }
        }
    }
}

/// `(2 / sqrt(pi))` times the integral of `e^-t^2` from 0 to `x`, by Simpson's rule.
fn erf(x: f64) -> f64 {
    let n = 2000;
    let h = x / f64::from(n);
    let weight = |i| match i {
        _ if i == 0 || i == n => 1.0,
        _ if i % 2 == 1 => 4.0,
        _ => 2.0,
    };
    let f = |i| weight(i) * (-(h * f64::from(i)).powi(2)).exp();
    (0..=n).map(f).sum::<f64>() * h / 3.0 * std::f64::consts::FRAC_2_SQRT_PI
}

fn naive(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Mish => x * x.exp().ln_1p().tanh(),
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        Activation::Tanh => x.tanh(),
    }
}

const ACTIVATIONS: [Activation; 4] = [
    Activation::Relu,
    Activation::Mish,
    Activation::Gelu,
    Activation::Tanh,
];

#[test]
fn activations_follow_their_definitions() {
    for activation in ACTIVATIONS {
        for i in -800..=800 {
            let x = i as f32 / 100.0;
            let mut value = [x];
            activation.apply(&mut value);
            let expected = naive(activation, f64::from(x));
            let error = (f64::from(value[0]) - expected).abs();
            assert!(
                error < 1e-6 * (1.0 + expected.abs()),
                "{activation:?} of {x}: {error}"
            );
        }
        // No product of infinity and zero.
        let mut far = [-1e30, 1e30];
        activation.apply(&mut far);
        assert!(far.iter().all(|y| y.is_finite()), "{activation:?}: {far:?}");
    }
}

#[test]
fn multi_layer_perceptrons() {
    for activation in ACTIVATIONS {
        let mut leaves = Leaves::default();
        leaves.add_linear("l0", 3, 5);
        leaves.add_linear("l1", 5, 4);
        leaves.add_linear("l2", 4, 2);
        leaves.check(
            NetworkKind::Mlp {
                layers: 3,
                activation,
            },
            |member, x| {
                let act = |x: Vec<f64>| -> Vec<f64> {
                    x.into_iter().map(|x| naive(activation, x)).collect()
                };
                let x = act(leaves.linear(member, "l0", x));
                let x = act(leaves.linear(member, "l1", &x));
                leaves.linear(member, "l2", &x)
            },
        );
    }
}

#[test]
fn a_perceptron_of_one_layer_is_linear() {
    let mut leaves = Leaves::default();
    leaves.add_linear("l0", 3, 2);
    let activation = Activation::Relu;
    leaves.check(
        NetworkKind::Mlp {
            layers: 1,
            activation,
        },
        |member, x| leaves.linear(member, "l0", x),
    );
}

#[test]
fn residual_networks() {
    let mut leaves = Leaves::default();
    leaves.add_linear("in", 3, 6);
    for (j, inner) in [(0, 9), (1, 4)] {
        leaves.add_rows(&format!("ln{j}"), &["scale", "shift"], 6);
        leaves.add_linear(&format!("up{j}"), 6, inner);
        leaves.add_linear(&format!("down{j}"), inner, 6);
    }
    leaves.add_rows("ln_out", &["scale", "shift"], 6);
    leaves.add_linear("head", 6, 2);
    leaves.check(NetworkKind::Residual { blocks: 2 }, |member, x| {
        let mut x = leaves.linear(member, "in", x);
        for j in 0..2 {
            let inner = leaves.layer_norm(member, &format!("ln{j}"), &x);
            let inner = leaves.linear(member, &format!("up{j}"), &inner);
            let inner: Vec<f64> = inner.into_iter().map(|x| x.max(0.0)).collect();
            let inner = leaves.linear(member, &format!("down{j}"), &inner);
            x.iter_mut().zip(inner).for_each(|(x, inner)| *x += inner);
        }
        leaves.linear(member, "head", &leaves.layer_norm(member, "ln_out", &x))
    });
}

#[test]
fn networks_with_batch_normalisation() {
    let statistics = ["scale", "shift", "mean", "var"];
    let mut leaves = Leaves::default();
    leaves.add_rows("bn_in", &statistics, 3);
    leaves.add("l0.weight", 3, 5);
    leaves.add_rows("bn0", &statistics, 5);
    leaves.add("l1.weight", 5, 4);
    leaves.add_rows("bn1", &statistics, 4);
    leaves.add_linear("head", 4, 2);
    leaves.check(NetworkKind::BatchNorm { layers: 2 }, |member, x| {
        let mut x = leaves.batch_norm(member, "bn_in", x);
        for i in 0..2 {
            x = leaves.product(member, &format!("l{i}"), &x);
            x = leaves.batch_norm(member, &format!("bn{i}"), &x);
            for x in &mut x {
                *x = x.max(0.0);
            }
        }
        leaves.linear(member, "head", &x)
    });
}
