//! Norms and their derivatives against the formulas in f64.

use burn::{
    backend::Autodiff,
    tensor::{Tensor, backend::Backend},
};
use rescore_kernels::{RescoreBackend, total};
use rescore_nn::{
    BatchNorm, LayerNorm, RmsNorm, Trained, Tree, freeze, input_gradient, leaves, value_and_grad,
};

use crate::{assert_close, changed, normals, on_both_backends, reference::wide, tensor, to_vec};

const MEMBERS: usize = 2;
const ROWS: usize = 6;
const WIDTH: usize = 5;

/// `x / sqrt(square + epsilon)`, after the mean is subtracted where `centred`.
fn normalized(x: &[f64], centred: bool, epsilon: f64) -> Vec<f64> {
    let count = x.len() as f64;
    let mean = if centred {
        x.iter().sum::<f64>() / count
    } else {
        0.0
    };
    let square = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    let root = (square + epsilon).sqrt();
    x.iter().map(|x| (x - mean) / root).collect()
}

/// Rows of `[rows, width]` as columns.
pub fn transposed(x: &[f64], width: usize) -> Vec<f64> {
    (0..width)
        .flat_map(|j| x.iter().skip(j).step_by(width).copied())
        .collect()
}

/// Every row in units of its deviation; `[rows, width]`.
pub fn layer_norm(x: &[f64], width: usize) -> Vec<f64> {
    let rows = x.chunks(width);
    rows.flat_map(|row| normalized(row, true, 1e-6)).collect()
}

fn rms_norm(x: &[f64], width: usize) -> Vec<f64> {
    let rows = x.chunks(width);
    rows.flat_map(|row| normalized(row, false, 1e-6)).collect()
}

/// Every column in units of its deviation; `[rows, width]`.
pub fn batch_norm(x: &[f64], width: usize) -> Vec<f64> {
    let rows = x.len() / width;
    let columns = transposed(x, width);
    let columns = columns.chunks(rows);
    let normal: Vec<_> = columns.flat_map(|c| normalized(c, true, 1e-3)).collect();
    transposed(&normal, rows)
}

/// Inputs of each member; one row is tiny, one zero.
fn inputs() -> Vec<f32> {
    let mut x = normals("norm", MEMBERS * ROWS * WIDTH, 2.0);
    for member in x.chunks_mut(ROWS * WIDTH) {
        member[..WIDTH].iter_mut().for_each(|x| *x *= 1e-3);
        member[WIDTH..2 * WIDTH].fill(0.0);
    }
    x
}

/// Scales around 1, shifts around 0, not the same for any two columns or members.
fn with_random_leaves<B: Backend, N: Tree<B, On<B> = N>>(norm: &N) -> N {
    changed(norm, |name, values| {
        let random = normals(name, values.len(), 0.3);
        values
            .iter_mut()
            .zip(random)
            .for_each(|(x, r)| *x += r.abs());
    })
}

/// A norm and the same without scale and shift in f64.
type Case<B, N> = (
    N,
    fn(&Trained<B, N>, Tensor<Autodiff<B>, 3>) -> Tensor<Autodiff<B>, 3>,
    fn(&[f64], usize) -> Vec<f64>,
);

/// Value, and derivatives of the sum of all outputs, each times a random weight.
fn check<B: RescoreBackend, N: Tree<B, On<B> = N>>((norm, forward, exact): Case<B, N>) {
    let norm = with_random_leaves(&norm);
    let shape = [MEMBERS, ROWS, WIDTH];
    let weights = normals("weights", shape.iter().product(), 1.0);
    let weighted = |y: Tensor<Autodiff<B>, 3>| y * tensor(weights.clone(), shape);
    let x = tensor::<B, 3>(inputs(), shape);
    let (_, gradient, y) = value_and_grad(&norm, |norm| {
        let y = forward(norm, Tensor::from_inner(x.clone()));
        (total(weighted(y.clone())), y.inner())
    });
    let frozen = freeze::<B, N>(&norm);
    let (_, dx) = input_gradient(x, |x| weighted(forward(&frozen, x)));
    let [y, dx] = [y, dx].map(to_vec);
    let of_leaf = |tree: &N, name: &str| {
        let mut leaves = leaves(tree).into_iter();
        leaves.find(|leaf| leaf.0 == name).map(|leaf| wide(&leaf.2))
    };
    let size = ROWS * WIDTH;
    for member in 0..MEMBERS {
        let own = |values: &[f32]| -> Vec<f64> {
            let part = &values[member * size..][..size];
            part.iter().map(|x| f64::from(*x)).collect()
        };
        let (x, g) = (own(&inputs()), own(&weights));
        let part = |tree: &N, name: &str| {
            of_leaf(tree, name).map(|values| values[member * WIDTH..][..WIDTH].to_vec())
        };
        let scale = part(&norm, "scale").expect("norms scale");
        let shift = part(&norm, "shift").unwrap_or(vec![0.0; WIDTH]);
        let output = |x: &[f64]| -> Vec<f64> {
            let normal = exact(x, WIDTH).into_iter().enumerate();
            let output = |(i, h): (usize, f64)| h * scale[i % WIDTH] + shift[i % WIDTH];
            normal.map(output).collect()
        };
        let narrow = |values: &[f32]| values[member * size..][..size].to_vec();
        assert_close(&narrow(&y), &output(&x), 1e-5, "output");
        // The row of zeros has slopes of 1e3, a step of 1e-8 moves it by 1e-5 of its deviation.
        let expected: Vec<f64> = (0..size)
            .map(|i| {
                let moved = |h: f64| -> f64 {
                    let mut x = x.clone();
                    x[i] += h;
                    output(&x).iter().zip(&g).map(|(y, g)| y * g).sum()
                };
                (moved(1e-7) - moved(-1e-7)) / 2e-7
            })
            .collect();
        assert_close(&narrow(&dx), &expected, 2e-5, "dx");
        let columns = |values: Vec<f64>| -> Vec<f64> {
            let columns = transposed(&values, WIDTH);
            columns.chunks(ROWS).map(|c| c.iter().sum()).collect()
        };
        let as_single = |values: Vec<f64>| values.iter().map(|x| *x as f32).collect::<Vec<_>>();
        let products = exact(&x, WIDTH).into_iter().zip(&g).map(|(h, g)| h * g);
        let found = part(&gradient, "scale").expect("norms scale");
        assert_close(
            &as_single(found),
            &columns(products.collect()),
            1e-5,
            "scale",
        );
        if let Some(found) = part(&gradient, "shift") {
            assert_close(&as_single(found), &columns(g), 1e-5, "shift");
        }
    }
}

fn a_layer_norm_has_its_value_and_slope<B: RescoreBackend>() {
    let norm = LayerNorm::<B>::init(MEMBERS, WIDTH, &B::Device::default());
    check((norm, |norm, x| norm.forward(x), layer_norm));
}

fn an_rms_norm_has_its_value_and_slope<B: RescoreBackend>() {
    let norm = RmsNorm::<B>::init(MEMBERS, WIDTH, &B::Device::default());
    check((norm, |norm, x| norm.forward(x), rms_norm));
}

fn a_batch_norm_has_its_value_and_slope<B: RescoreBackend>() {
    let norm = BatchNorm::<B>::init(MEMBERS, WIDTH, &B::Device::default());
    check((norm, |norm, x| norm.forward_training(x).0, batch_norm));
}

/// After a batch the running statistics have moved a hundredth of the way; in inference they are
/// used as they are, and no derivative passes through them.
fn running_statistics_follow_the_batches<B: RescoreBackend>() {
    let norm = BatchNorm::<B>::init(MEMBERS, WIDTH, &B::Device::default());
    let norm = with_random_leaves(&norm);
    let x = tensor::<B, 3>(inputs(), [MEMBERS, ROWS, WIDTH]);
    let (_, [mean, variance]) = norm.forward_training(x.clone());
    let (x, y) = (wide(&x), to_vec(norm.forward(x)));
    let [scale, shift] = [wide(&norm.scale), wide(&norm.shift)];
    let old = [wide(&norm.mean), wide(&norm.variance)];
    let (mut means, mut variances, mut outputs) = (Vec::new(), Vec::new(), vec![0.0; x.len()]);
    for column in 0..MEMBERS * WIDTH {
        let first = column / WIDTH * ROWS * WIDTH + column % WIDTH;
        let places: Vec<usize> = (0..ROWS).map(|row| first + row * WIDTH).collect();
        let mean = places.iter().map(|i| x[*i]).sum::<f64>() / ROWS as f64;
        let squares = places.iter().map(|i| (x[*i] - mean).powi(2));
        let variance = squares.sum::<f64>() / ROWS as f64;
        means.push(0.99 * old[0][column] + 0.01 * mean);
        variances.push(0.99 * old[1][column] + 0.01 * variance);
        for i in places {
            let normal = (x[i] - old[0][column]) / (old[1][column] + 1e-3).sqrt();
            outputs[i] = normal * scale[column] + shift[column];
        }
    }
    assert_close(&to_vec(mean), &means, 1e-6, "running mean");
    assert_close(&to_vec(variance), &variances, 1e-6, "running variance");
    assert_close(&y, &outputs, 1e-5, "inference");
}

on_both_backends!(
    a_layer_norm_has_its_value_and_slope,
    an_rms_norm_has_its_value_and_slope,
    a_batch_norm_has_its_value_and_slope,
    running_statistics_follow_the_batches,
);
