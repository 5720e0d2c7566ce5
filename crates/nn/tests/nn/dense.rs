//! The linear layer and its derivatives against f64, on sizes that fit no register and no tile.

use burn::{
    backend::{Autodiff, Flex, NdArray},
    tensor::Tensor,
};
use proptest::prelude::*;
use rescore_kernels::{Activation, Linear, Mlp, RescoreBackend, freeze, value_and_grad};

use crate::{assert_close, normals, reference, tensor, to_vec};

/// Roundings of sums of up to a hundred terms near 1.
const TOLERANCE: f64 = 1e-5;

const ACTIVATIONS: [Option<Activation>; 3] = [None, Some(Activation::Mish), Some(Activation::Gelu)];

#[derive(Debug, Clone, Copy)]
struct Sizes {
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

/// A layer with an activation is the first of a network of two; the second passes its input on, so
/// that what is seen is the first layer's output, and what it gets back are its own derivatives.
fn check<B: RescoreBackend>(sizes: Sizes) {
    let Sizes {
        rows,
        depth,
        columns,
        activation,
    } = sizes;
    let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|x| f64::from(*x)).collect() };
    let x = normals("x", rows * depth, 1.0);
    let w = normals("w", depth * columns, 1.0 / (depth as f32).sqrt());
    let b = normals("b", columns, 0.5);
    let weights = normals("weights", rows * columns, 1.0);

    let mut layers = vec![Linear {
        weight: tensor::<B, 2>(w.clone(), [depth, columns]),
        bias: tensor(b.clone(), [columns]),
    }];
    if activation.is_some() {
        layers.push(Linear {
            weight: Tensor::eye(columns, &B::Device::default()),
            bias: tensor(vec![0.0; columns], [columns]),
        });
    }
    let network = Mlp {
        layers,
        activation: activation.unwrap_or(Activation::Mish),
    };
    let input = tensor::<Autodiff<B>, 2>(x.clone(), [rows, depth]).require_grad();
    let sum = |output: Tensor<Autodiff<B>, 2>| {
        let weights = tensor(weights.clone(), [rows, columns]);
        (output * weights).sum()
    };
    let (_, gradient, output) = value_and_grad(&network, |network| {
        let output = network.forward(input.clone().detach());
        (sum(output.clone()), output.inner())
    });
    let frozen = freeze::<B, _>(&network);
    let mut grads = sum(frozen.forward(input.clone())).backward();
    let by_input = input.grad_remove(&mut grads);

    let z: Vec<f64> = product(&wide(&x), &wide(&w), depth, columns)
        .chunks(columns)
        .flat_map(|row| row.iter().zip(&b).map(|(z, b)| z + f64::from(*b)))
        .collect();
    let act = |z: f64| activation.map_or(z, |activation| reference::activate(activation, z));
    let expected: Vec<f64> = z.iter().map(|z| act(*z)).collect();
    assert_close(&to_vec(output), &expected, TOLERANCE, "output");

    let dz: Vec<f64> = z
        .iter()
        .zip(&weights)
        .map(|(z, g)| f64::from(*g) * (act(z + 1e-5) - act(z - 1e-5)) / 2e-5)
        .collect();
    let dw = product(&transposed(&wide(&x), depth), &dz, rows, columns);
    let db: Vec<f64> = (0..columns)
        .map(|j| dz.iter().skip(j).step_by(columns).sum())
        .collect();
    let dx = product(&dz, &transposed(&wide(&w), columns), columns, depth);
    let first = &gradient.layers[0];
    assert_close(&to_vec(first.weight.clone()), &dw, TOLERANCE, "weight");
    assert_close(&to_vec(first.bias.clone()), &db, TOLERANCE, "bias");
    let by_input = by_input.expect("the sum depends on the input");
    assert_close(&to_vec(by_input), &dx, TOLERANCE, "input");
}

#[test]
fn whole_tiles_agree_with_f64() {
    for activation in ACTIVATIONS {
        let sizes = Sizes {
            rows: 96,
            depth: 64,
            columns: 64,
            activation,
        };
        check::<Flex>(sizes);
        check::<NdArray>(sizes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_size_agrees_with_f64(
        rows in 1_usize..120,
        depth in 1_usize..70,
        columns in 1_usize..70,
        activation in prop::sample::select(&ACTIVATIONS[..]),
    ) {
        let sizes = Sizes { rows, depth, columns, activation };
        check::<Flex>(sizes);
        check::<NdArray>(sizes);
    }
}

/// The number of threads changes no bit of a gradient.
#[test]
fn threads_change_no_bit() -> Result<(), rayon::ThreadPoolBuildError> {
    let run = || {
        let device = Default::default();
        let key = rescore_kernels::NoiseKey::new(4, "threads");
        let initializer = rescore_kernels::Initializer::LecunNormal;
        let dims = [37, 130, 70, 3];
        let network = Mlp::<Flex>::init(&dims, Activation::Mish, initializer, key, &device);
        let x = tensor(normals("x", 150 * 37, 1.0), [150, 37]);
        let (_, gradient, ()) = value_and_grad(&network, |network| {
            let output = network.forward(Tensor::from_inner(x));
            ((output.clone() * output).mean(), ())
        });
        let values = gradient.layers.into_iter();
        let values = values.flat_map(|l| [to_vec(l.weight), to_vec(l.bias)].concat());
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
