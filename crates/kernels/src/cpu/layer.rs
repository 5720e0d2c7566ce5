//! A linear layer for training, the activations behind it, and the derivatives of both.
//!
//! All three products, `x W`, `dz W^T` and `x^T dz`, are the one of [`super::product`]: what is
//! transposed is transposed while it is packed or read.

use rayon::prelude::*;

use super::{
    InstructionSet,
    activation::{Function, Gelu, Mish, Relu},
    buffer::Buffer,
    compiled::compiled,
    network::{LayerView, VECTORS},
    precision::Single,
    product::{Matrix, Packed, Rows, Start, product},
    simd::Lanes,
};
use crate::Activation;

/// Rows of a task.
const TASK_ROWS: usize = 48;

/// Values of a task that goes over them once.
const TASK_VALUES: usize = 8192;

/// `z = x W + b`, `[rows, out]`, for `x` `[rows, in]`.
pub(crate) fn forward(set: InstructionSet, x: &[f32], layer: &LayerView<'_>, z: &mut [f32]) {
    let [depth, columns] = layer.dims;
    let weights = Packed::new::<Single>(layer.matrix(), VECTORS * set.lanes());
    let bias = Buffer::padded(layer.bias, weights.padded());
    multiply(set, x, depth, &weights, &bias, columns, z);
}

/// `activation` of every value.
pub(crate) fn activate_in_place(set: InstructionSet, values: &mut [f32], activation: Activation) {
    let function = match activation {
        Activation::Mish => mish_values,
        Activation::Gelu => gelu_values,
        Activation::Relu => relu_values,
        Activation::Tanh => tanh_values,
    };
    values
        .par_chunks_mut(TASK_VALUES)
        .for_each(|values| function(set, values));
}

/// `grads *= activation'(z)`
pub(crate) fn activate_backward_in_place(
    set: InstructionSet,
    grads: &mut [f32],
    z: &[f32],
    activation: Activation,
) {
    let function = match activation {
        Activation::Mish => mish_slopes,
        Activation::Gelu => gelu_slopes,
        Activation::Relu => relu_slopes,
        Activation::Tanh => tanh_slopes,
    };
    grads
        .par_chunks_mut(TASK_VALUES)
        .zip(z.par_chunks(TASK_VALUES))
        .for_each(|(grads, z)| function(set, grads, z));
}

/// The derivative by `x`, `dz W^T`, `[rows, in]`, for `dz` `[rows, out]`.
pub(crate) fn input_gradient(
    set: InstructionSet,
    dz: &[f32],
    layer: &LayerView<'_>,
    dx: &mut [f32],
) {
    let [columns, depth] = layer.dims;
    let weights = Matrix::transposed(layer.weight, layer.dims);
    let weights = Packed::new::<Single>(weights, VECTORS * set.lanes());
    let bias = Buffer::padded(&[], weights.padded());
    multiply(set, dz, depth, &weights, &bias, columns, dx);
}

/// The derivative by `W`, `x^T dz`, `[in, out]`, for `x` `[rows, in]` and `dz` `[rows, out]`.
pub(crate) fn weight_gradient(
    set: InstructionSet,
    x: &[f32],
    dz: &[f32],
    [depth, columns]: [usize; 2],
    result: &mut [f32],
) {
    let rows = dz.len() / columns.max(1);
    let dz = Packed::new::<Single>(Matrix::new(dz, [rows, columns]), VECTORS * set.lanes());
    let task = TASK_ROWS / set.block_rows() * set.block_rows();
    result
        .par_chunks_mut((task * columns).max(1))
        .enumerate()
        .for_each(|(index, chunk)| {
            transposed_tile(set, x, [rows, depth], index * task, &dz, columns, chunk);
        });
}

/// The derivative by `b`: the sum of the rows of `dz` `[rows, columns]`, in their order.
pub(crate) fn bias_gradient(dz: &[f32], sums: &mut [f32]) {
    let columns = sums.len();
    for row in dz.chunks_exact(columns.max(1)) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
}

/// `bias + input * weights`, `[rows, columns]`.
fn multiply(
    set: InstructionSet,
    input: &[f32],
    depth: usize,
    weights: &Packed<f32>,
    bias: &[f32],
    columns: usize,
    result: &mut [f32],
) {
    let task = TASK_ROWS / set.block_rows() * set.block_rows();
    result
        .par_chunks_mut((task * columns).max(1))
        .enumerate()
        .for_each(|(index, chunk)| {
            let rows = chunk.len() / columns;
            let input = &input[index * task * depth..][..rows * depth];
            rows_tile(set, input, weights, bias, columns, chunk);
        });
}

compiled! {
    /// `result = bias + input * weights` for as many rows of `columns` values as `result` has.
    fn rows_tile(
        input: &[f32], weights: &Packed<f32>, bias: &[f32], columns: usize, result: &mut [f32],
    ) = dense_rows;

    /// Rows from `first` on of `x^T weights`, as many rows of `columns` values as `result` has;
    /// `x` is `[rows, depth]`.
    fn transposed_tile(
        x: &[f32], shape: [usize; 2], first: usize, weights: &Packed<f32>, columns: usize,
        result: &mut [f32],
    ) = transposed_rows;

    fn mish_values(values: &mut [f32]) = values_of::<Mish>;
    fn gelu_values(values: &mut [f32]) = values_of::<Gelu>;
    fn relu_values(values: &mut [f32]) = values_of::<Relu>;

    fn mish_slopes(grads: &mut [f32], z: &[f32]) = slopes_of::<Mish>;
    fn gelu_slopes(grads: &mut [f32], z: &[f32]) = slopes_of::<Gelu>;
    fn relu_slopes(grads: &mut [f32], z: &[f32]) = slopes_of::<Relu>;
}

/// The hyperbolic tangent has no vector form here: only narrow output layers use it.
fn tanh_values(_: InstructionSet, values: &mut [f32]) {
    for value in values {
        *value = value.tanh();
    }
}

/// `grads *= 1 - tanh(z)^2`
fn tanh_slopes(_: InstructionSet, grads: &mut [f32], z: &[f32]) {
    for (grad, z) in grads.iter_mut().zip(z) {
        let y = z.tanh();
        *grad *= 1.0 - y * y;
    }
}

/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn dense_rows<L: Lanes, const ROWS: usize>(
    input: &[f32],
    weights: &Packed<f32>,
    bias: &[f32],
    columns: usize,
    result: &mut [f32],
) {
    let depth = weights.depth();
    let rows = result.len() / columns;
    let block_rows = rows.next_multiple_of(ROWS);
    let start = Start::Bias(bias);
    // The product works on whole blocks and panels: what is not whole is filled up aside.
    let filled;
    let values = if block_rows == rows {
        input
    } else {
        filled = Buffer::padded(input, block_rows * depth);
        &filled
    };
    let input = Rows {
        values,
        stride: depth,
    };
    // SAFETY: the caller's promise.
    unsafe {
        into_dense::<L, ROWS, false>(&input, block_rows, weights, &start, columns, result);
    }
}

/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn transposed_rows<L: Lanes, const ROWS: usize>(
    x: &[f32],
    [rows, depth]: [usize; 2],
    first: usize,
    weights: &Packed<f32>,
    columns: usize,
    result: &mut [f32],
) {
    let count = result.len() / columns;
    let block = count.next_multiple_of(ROWS);
    let filled;
    let input = if first + block <= depth {
        Rows {
            values: &x[first.min(x.len())..],
            stride: depth,
        }
    } else {
        let mut copy = Buffer::<f32>::new(rows * block);
        for (to, row) in copy.chunks_exact_mut(block).zip(x.chunks_exact(depth)) {
            to[..count].copy_from_slice(&row[first..]);
            to[count..].fill(0.0);
        }
        filled = copy;
        Rows {
            values: &filled,
            stride: block,
        }
    };
    // SAFETY: the caller's promise.
    unsafe {
        into_dense::<L, ROWS, true>(&input, block, weights, &Start::Zero, columns, result);
    }
}

/// A product whose result, filled up to whole blocks and panels, is cut to rows of `columns`
/// values.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn into_dense<L: Lanes, const ROWS: usize, const TRANSPOSED: bool>(
    input: &Rows<'_, f32>,
    rows: usize,
    weights: &Packed<f32>,
    start: &Start<'_>,
    columns: usize,
    result: &mut [f32],
) {
    let padded = weights.padded();
    // SAFETY: the caller's promise.
    unsafe {
        if padded * rows == result.len() {
            product::<L, Single, Single, ROWS, VECTORS, false, TRANSPOSED>(
                input, rows, weights, start, result,
            );
        } else {
            let mut output = Buffer::new(rows * padded);
            product::<L, Single, Single, ROWS, VECTORS, false, TRANSPOSED>(
                input,
                rows,
                weights,
                start,
                &mut output,
            );
            let rows = output.chunks_exact(padded);
            for (to, row) in result.chunks_exact_mut(columns).zip(rows) {
                to.copy_from_slice(&row[..columns]);
            }
        }
    }
}

/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn values_of<L: Lanes, F: Function, const ROWS: usize>(values: &mut [f32]) {
    let mut chunks = values.chunks_exact_mut(L::COUNT);
    for chunk in &mut chunks {
        // SAFETY: the chunk has COUNT values; the instruction set is the caller's promise.
        unsafe { F::value(L::load(chunk.as_ptr())).store(chunk.as_mut_ptr()) }
    }
    let rest = chunks.into_remainder();
    let mut last = Buffer::padded(rest, L::COUNT);
    // SAFETY: the buffer has COUNT values; the instruction set is the caller's promise.
    unsafe { F::value(L::load(last.as_ptr())).store(last.as_mut_ptr()) }
    let count = rest.len();
    rest.copy_from_slice(&last[..count]);
}

/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn slopes_of<L: Lanes, F: Function, const ROWS: usize>(grads: &mut [f32], z: &[f32]) {
    let mut chunks = grads.chunks_exact_mut(L::COUNT);
    let mut arguments = z.chunks_exact(L::COUNT);
    for (grad, z) in (&mut chunks).zip(&mut arguments) {
        // SAFETY: both chunks have COUNT values; the instruction set is the caller's promise.
        unsafe {
            let slope = F::slope(L::load(z.as_ptr()));
            slope.mul(L::load(grad.as_ptr())).store(grad.as_mut_ptr());
        }
    }
    let (rest, z) = (chunks.into_remainder(), arguments.remainder());
    let (mut last, z) = (Buffer::padded(rest, L::COUNT), Buffer::padded(z, L::COUNT));
    // SAFETY: both buffers have COUNT values; the instruction set is the caller's promise.
    unsafe {
        let slope = F::slope(L::load(z.as_ptr()));
        slope.mul(L::load(last.as_ptr())).store(last.as_mut_ptr());
    }
    let count = rest.len();
    rest.copy_from_slice(&last[..count]);
}
