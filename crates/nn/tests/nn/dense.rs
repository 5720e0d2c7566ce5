//! The linear layer and its derivatives against f64, on sizes that fit no register and no tile.

use burn::{
    backend::{Autodiff, Flex, NdArray},
    tensor::Tensor,
};
use proptest::prelude::*;
use rescore_kernels::{Activation, RescoreBackend, total};
use rescore_nn::{Initializer, Linear, Mlp, freeze, leaves, value_and_grad};

use crate::{ACTIVATIONS, assert_close, keys, normals, reference, tensor, to_vec};

/// Roundings of sums of up to a hundred terms near 1.
const TOLERANCE: f64 = 1e-5;

/// None, or one of [`ACTIVATIONS`].
fn activations() -> Vec<Option<Activation>> {
    let all = ACTIVATIONS.into_iter().map(Some);
    std::iter::once(None).chain(all).collect()
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    members: usize,
    /// Whether all members have the same input.
    shared: bool,
    rows: usize,
    depth: usize,
    columns: usize,
    activation: Option<Activation>,
}

/// `a^T`, where `a` has rows of `columns` values.
fn transposed(a: &[f64], columns: usize) -> Vec<f64> {
    (0..columns)
        .flat_map(|j| a.iter().skip(j).step_by(columns).copied())
        .collect()
}

/// `a b`, where `b` has `columns` columns.
fn product(a: &[f64], b: &[f64], depth: usize, columns: usize) -> Vec<f64> {
    a.chunks(depth)
        .flat_map(|row| {
            (0..columns).map(move |j| {
                let column = b.iter().skip(j).step_by(columns);
                row.iter().zip(column).map(|(x, w)| x * w).sum()
            })
        })
        .collect()
}

/// A layer of several members, its input and weights of its output, whose weighted sum is derived.
struct Case {
    sizes: Sizes,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    weights: Vec<f32>,
}

/// Output and derivatives in f64.
#[derive(Default)]
struct Expected {
    output: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
    db: Vec<f64>,
}

fn part(values: &[f32], index: usize, length: usize) -> Vec<f64> {
    let part = &values[index * length..][..length];
    part.iter().map(|x| f64::from(*x)).collect()
}

impl Case {
    fn new(sizes: Sizes) -> Self {
        let Sizes {
            members,
            rows,
            depth,
            columns,
            ..
        } = sizes;
        let scale = 1.0 / (depth as f32).sqrt();
        let inputs = if sizes.shared { 1 } else { members };
        Self {
            sizes,
            x: normals("x", inputs * rows * depth, 1.0),
            w: normals("w", members * depth * columns, scale),
            b: normals("b", members * columns, 0.5),
            weights: normals("weights", members * rows * columns, 1.0),
        }
    }

    /// One member after the other; where they share the input, its derivatives are added.
    fn expected(&self) -> Expected {
        let Sizes {
            members,
            shared,
            rows,
            depth,
            columns,
            activation,
        } = self.sizes;
        let act = |z: f64| activation.map_or(z, |activation| reference::activate(activation, z));
        let slope = |z: f64| match activation {
            // a difference across the kink would be neither side's
            Some(Activation::Relu) => f64::from(u8::from(z > 0.0)),
            _ => (act(z + 1e-5) - act(z - 1e-5)) / 2e-5,
        };
        let mut found = Expected::default();
        for member in 0..members {
            let x = part(&self.x, if shared { 0 } else { member }, rows * depth);
            let w = part(&self.w, member, depth * columns);
            let b = part(&self.b, member, columns);
            let weights = part(&self.weights, member, rows * columns);
            let z: Vec<f64> = product(&x, &w, depth, columns)
                .chunks(columns)
                .flat_map(|row| row.iter().zip(&b).map(|(z, b)| z + b))
                .collect();
            found.output.extend(z.iter().map(|z| act(*z)));
            let dz: Vec<f64> = z.iter().zip(&weights).map(|(z, g)| g * slope(*z)).collect();
            let dw = product(&transposed(&x, depth), &dz, rows, columns);
            found.dw.extend(dw);
            let column = |j: usize| dz.iter().skip(j).step_by(columns).sum::<f64>();
            found.db.extend((0..columns).map(column));
            let dx = product(&dz, &transposed(&w, columns), columns, depth);
            if shared && member > 0 {
                for (sum, dx) in found.dx.iter_mut().zip(dx) {
                    *sum += dx;
                }
            } else {
                found.dx.extend(dx);
            }
        }
        found
    }

    fn check<B: RescoreBackend>(&self) {
        let Sizes {
            members,
            shared,
            rows,
            depth,
            columns,
            activation,
        } = self.sizes;
        let layer = Linear {
            weight: tensor::<B, 3>(self.w.clone(), [members, depth, columns]),
            bias: Some(tensor(self.b.clone(), [members, 1, columns])),
        };
        let inputs = if shared { 1 } else { members };
        let x = tensor::<Autodiff<B>, 3>(self.x.clone(), [inputs, rows, depth]).require_grad();
        let sum = |output: Tensor<Autodiff<B>, 3>| {
            total(output * tensor(self.weights.clone(), [members, rows, columns]))
        };
        let (_, gradient, output) = value_and_grad(&layer, |layer| {
            let output = layer.forward(x.clone().detach(), activation);
            (sum(output.clone()), output.inner())
        });
        let frozen = freeze::<B, _>(&layer);
        let mut grads = sum(frozen.forward(x.clone(), activation)).backward();
        let by_input = x.grad_remove(&mut grads).expect("the sum depends on it");
        let bias = gradient.bias.expect("the layer has a bias");
        let expected = self.expected();
        let tolerance = TOLERANCE * if shared { members as f64 } else { 1.0 };
        assert_close(&to_vec(output), &expected.output, TOLERANCE, "output");
        assert_close(&to_vec(gradient.weight), &expected.dw, TOLERANCE, "weight");
        assert_close(&to_vec(bias), &expected.db, TOLERANCE, "bias");
        assert_close(&to_vec(by_input), &expected.dx, tolerance, "input");
    }
}

fn check(sizes: Sizes) {
    let case = Case::new(sizes);
    case.check::<Flex>();
    case.check::<NdArray>();
}

#[test]
fn whole_tiles_agree_with_f64() {
    for activation in activations() {
        for (members, shared) in [(1, true), (3, true), (3, false)] {
            check(Sizes {
                members,
                shared,
                rows: 96,
                depth: 64,
                columns: 64,
                activation,
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_size_agrees_with_f64(
        members in prop::sample::select(&[1_usize, 3][..]),
        shared in any::<bool>(),
        rows in 1_usize..120,
        depth in 1_usize..70,
        columns in 1_usize..70,
        activation in prop::sample::select(activations()),
    ) {
        check(Sizes { members, shared, rows, depth, columns, activation });
    }
}

/// The number of threads changes no bit of a gradient.
#[test]
fn threads_change_no_bit() -> Result<(), rayon::ThreadPoolBuildError> {
    let run = || {
        let (device, keys) = (Default::default(), keys("threads", 2));
        let initializer = Initializer::LecunNormal;
        let dims = [37, 130, 70, 3];
        let network = Mlp::<Flex>::init(&dims, Activation::Mish, initializer, &keys, &device);
        let x = tensor(normals("x", 150 * 37, 1.0), [1, 150, 37]);
        let (_, gradient, ()) = value_and_grad(&network, |network| {
            let output = network.forward(Tensor::from_inner(x));
            ((output.clone() * output).mean(), ())
        });
        let leaves = leaves(&gradient).into_iter();
        let values = leaves.flat_map(|(_, _, tensor)| to_vec(tensor));
        crate::bits(&values.collect::<Vec<f32>>())
    };
    let expected = run();
    for threads in [1, 2, 4] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()?;
        assert_eq!(pool.install(run), expected, "{threads}");
    }
    Ok(())
}
