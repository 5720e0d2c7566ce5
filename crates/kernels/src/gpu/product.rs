//! Products of matrices in `f32` throughout.
//!
//! Burn's own product rounds its factors to the ten bits of TF32 on NVIDIA's tensor cores, also for
//! tensors that are `f32`; here training is `f32`. It also gives a product of 256 by 256 to four
//! multiprocessors. A cube computes a square tile of the result, its side by how many tiles there are,
//! from slices of both factors in shared memory; bias and activation are its epilogue.

use burn::tensor::{Shape, TensorMetadata as _};
use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::prelude::*;

use super::{
    UNITS,
    elementwise::value_of,
    empty,
    noise::Four,
    plan::{grid_of, multiprocessors},
};
use crate::Activation;

/// Threads along each side of a tile.
pub(super) const SIDE: usize = 16;
/// Summands that lie in shared memory at once: fewer where a thread has more sums to make of each.
pub(super) const fn depth(quads: usize) -> usize {
    32 / quads
}

/// Adds `left^T right` of what lies in shared memory, each `[depth, 4 * SIDE * quads]` in vectors of four
/// beside each other, to the sums of this thread: every `SIDE`-th vector of rows and of columns is its.
#[cube]
pub(super) fn accumulate(
    sums: &mut Array<Four<f32>>,
    left: &SharedMemory<Four<f32>>,
    right: &SharedMemory<Four<f32>>,
    #[comptime] quads: usize,
) {
    let width = comptime!(SIDE * quads + 1);
    let row = UNIT_POS as usize / SIDE;
    let column = UNIT_POS as usize % SIDE;
    #[unroll]
    for k in 0..comptime!(depth(quads)) {
        let mut b = Array::<Four<f32>>::new(quads);
        #[unroll]
        for j in 0..quads {
            b[j] = right[k * width + column + j * SIDE];
        }
        #[unroll]
        for i in 0..quads {
            let a = left[k * width + row + i * SIDE];
            #[unroll]
            for r in 0..4usize {
                let factor = Four::new(a[r]);
                #[unroll]
                for j in 0..quads {
                    sums[(i * 4 + r) * quads + j] += factor * b[j];
                }
            }
        }
    }
}

/// Sums of no summand.
#[cube]
pub(super) fn no_sums(#[comptime] quads: usize) -> Array<Four<f32>> {
    let mut sums = Array::<Four<f32>>::new(comptime!(4 * quads * quads));
    #[unroll]
    for i in 0..comptime!(4 * quads * quads) {
        sums[i] = Four::new(0.0);
    }
    sums
}

/// Vectors of a slice in shared memory.
pub(super) const fn slice_length(quads: usize) -> usize {
    depth(quads) * (SIDE * quads + 1)
}

/// Sizes and strides of a product; a stride of 0 repeats a matrix for the whole batch.
#[derive(CubeType, CubeLaunch)]
struct Walk {
    rows: usize,
    columns: usize,
    inner: usize,
    a_batch: usize,
    a_row: usize,
    a_inner: usize,
    b_batch: usize,
    b_inner: usize,
    b_column: usize,
}

/// What becomes of a product: a bias where there is one, and an activation of the sum, which is kept
/// beside it where that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Epilogue {
    bias: bool,
    activation: Option<Activation>,
    keep: bool,
}

/// Four elements beside each other along one axis of a factor; zero beyond its end.
#[cube]
fn four(
    x: &Array<f32>,
    begin: usize,
    first: usize,
    k: usize,
    length: usize,
    inner: usize,
    stride: usize,
    inner_stride: usize,
) -> Four<f32> {
    let mut values = Four::<f32>::new(0.0);
    if k < inner {
        #[unroll]
        for i in 0..4usize {
            if first + i < length {
                values[i] = x[begin + (first + i) * stride + k * inner_stride];
            }
        }
    }
    values
}

/// The summand and the vector of the slice that this thread moves in turn `turn`: threads beside each
/// other read beside each other, whichever axis that is.
#[cube]
fn moved(turn: usize, inner_stride: usize, #[comptime] quads: usize) -> (usize, usize) {
    let vectors = comptime!(SIDE * quads);
    let item = UNIT_POS as usize + turn * comptime!(UNITS as usize);
    let along = inner_stride == 1;
    let k = select(along, item % comptime!(depth(quads)), item / vectors);
    let place = select(along, item / comptime!(depth(quads)), item % vectors);
    (k, place)
}

/// This thread's part of the slice of a factor from summand `begin` on, into registers.
#[cube]
fn fetch(
    into: &mut Array<Four<f32>>,
    x: &Array<f32>,
    at: usize,
    first: usize,
    begin: usize,
    length: usize,
    inner: usize,
    stride: usize,
    inner_stride: usize,
    #[comptime] quads: usize,
) {
    #[unroll]
    for turn in 0..comptime!(depth(quads) * SIDE * quads / UNITS as usize) {
        let (k, place) = moved(turn, inner_stride, quads);
        into[turn] = four(
            x,
            at,
            first + place * 4,
            begin + k,
            length,
            inner,
            stride,
            inner_stride,
        );
    }
}

/// What this thread fetched, into shared memory.
#[cube]
fn put(
    slice: &mut SharedMemory<Four<f32>>,
    fetched: &Array<Four<f32>>,
    inner_stride: usize,
    #[comptime] quads: usize,
) {
    #[unroll]
    for turn in 0..comptime!(depth(quads) * SIDE * quads / UNITS as usize) {
        let (k, place) = moved(turn, inner_stride, quads);
        slice[k * comptime!(SIDE * quads + 1) + place] = fetched[turn];
    }
}

/// `biases` has one array or none, `kept` the sums before an activation.
#[cube(launch_unchecked)]
fn product_kernel(
    a: &Array<f32>,
    b: &Array<f32>,
    biases: &Sequence<Array<f32>>,
    output: &mut Array<f32>,
    kept: &mut Sequence<Array<f32>>,
    walk: &Walk,
    batch: usize,
    #[comptime] epilogue: Epilogue,
    #[comptime] quads: usize,
) {
    let tile = comptime!(4 * SIDE * quads);
    let unit = UNIT_POS as usize;
    let across = walk.columns.div_ceil(tile);
    let down = walk.rows.div_ceil(tile);
    // A grid may have a few cubes more than there are tiles: they repeat the last.
    let cube = usize::min(CUBE_POS, batch * down * across - 1);
    let member = cube / (down * across);
    let first_row = cube / across % down * tile;
    let first_column = cube % across * tile;

    let mut left = SharedMemory::<Four<f32>>::new(comptime!(slice_length(quads)));
    let mut right = SharedMemory::<Four<f32>>::new(comptime!(slice_length(quads)));
    let mut sums = no_sums(quads);

    // The next slice is on its way while this one is multiplied.
    let turns = comptime!(depth(quads) * SIDE * quads / UNITS as usize);
    let mut next_left = Array::<Four<f32>>::new(turns);
    let mut next_right = Array::<Four<f32>>::new(turns);
    fetch(
        &mut next_left,
        a,
        member * walk.a_batch,
        first_row,
        0usize,
        walk.rows,
        walk.inner,
        walk.a_row,
        walk.a_inner,
        quads,
    );
    fetch(
        &mut next_right,
        b,
        member * walk.b_batch,
        first_column,
        0usize,
        walk.columns,
        walk.inner,
        walk.b_column,
        walk.b_inner,
        quads,
    );
    let mut begin = 0usize;
    while begin < walk.inner {
        put(&mut left, &next_left, walk.a_inner, quads);
        put(&mut right, &next_right, walk.b_inner, quads);
        sync_cube();
        begin += comptime!(depth(quads));
        fetch(
            &mut next_left,
            a,
            member * walk.a_batch,
            first_row,
            begin,
            walk.rows,
            walk.inner,
            walk.a_row,
            walk.a_inner,
            quads,
        );
        fetch(
            &mut next_right,
            b,
            member * walk.b_batch,
            first_column,
            begin,
            walk.columns,
            walk.inner,
            walk.b_column,
            walk.b_inner,
            quads,
        );
        accumulate(&mut sums, &left, &right, quads);
        sync_cube();
    }

    #[unroll]
    for i in 0..comptime!(4 * quads) {
        let row = first_row + (unit / SIDE + comptime!(i / 4 * SIDE)) * 4 + comptime!(i % 4);
        #[unroll]
        for j in 0..quads {
            let sum = sums[i * quads + j];
            let column = first_column + (unit % SIDE + j * SIDE) * 4;
            #[unroll]
            for c in 0..4usize {
                if row < walk.rows && column + c < walk.columns {
                    let place = (member * walk.rows + row) * walk.columns + column + c;
                    let mut value = sum[c];
                    if comptime!(epilogue.bias) {
                        value += biases[0][member * walk.columns + column + c];
                    }
                    if comptime!(epilogue.keep) {
                        kept.index_mut(0usize)[place] = value;
                    }
                    if comptime!(epilogue.activation.is_some()) {
                        let activation = comptime!(epilogue.activation.unwrap_or(Activation::Mish));
                        value = value_of(value, activation);
                    }
                    output[place] = value;
                }
            }
        }
    }
}

/// How many vectors of four along each side a thread computes: two where that makes enough `tiles` (by
/// their side) for the device, else one.
fn quads_for(tiles: impl Fn(usize) -> usize, multiprocessors: usize) -> usize {
    if tiles(8 * SIDE) >= multiprocessors {
        2
    } else {
        1
    }
}

/// `[.., rows, inner]` times `[.., inner, columns]`, with one leading axis or none.
///
/// # Panics
/// If the matrices do not fit: Burn's own checks are not on this path.
pub(super) fn product<R: CubeRuntime>(a: CubeTensor<R>, b: CubeTensor<R>) -> CubeTensor<R> {
    let epilogue = Epilogue {
        bias: false,
        activation: None,
        keep: false,
    };
    let [output, _] = multiply(a, b, None, epilogue);
    output
}

/// `x W + b` of every network, then `activation` where there is one; beside it the sum before the
/// activation where `keep` says so, and otherwise the same again.
///
/// # Panics
/// As [`product`].
pub(super) fn dense<R: CubeRuntime>(
    x: CubeTensor<R>,
    weight: CubeTensor<R>,
    bias: CubeTensor<R>,
    activation: Option<Activation>,
    keep: bool,
) -> [CubeTensor<R>; 2] {
    let epilogue = Epilogue {
        bias: true,
        activation,
        keep,
    };
    multiply(x, weight, Some(bias), epilogue)
}

fn multiply<R: CubeRuntime>(
    a: CubeTensor<R>,
    b: CubeTensor<R>,
    bias: Option<CubeTensor<R>>,
    epilogue: Epilogue,
) -> [CubeTensor<R>; 2] {
    let (left, right) = (a.shape().to_vec(), b.shape().to_vec());
    let last = left.len() - 1;
    let batch = if last == 2 { left[0].max(right[0]) } else { 1 };
    let fit = right.len() == left.len()
        && left[last] == right[last - 1]
        && (last == 1 || [left[0], right[0]].iter().all(|n| [1, batch].contains(n)));
    assert!(fit, "no product of {left:?} and {right:?}");
    let (rows, inner, columns) = (left[last - 1], left[last], right[last]);
    if let Some(bias) = &bias {
        let length = bias.shape().num_elements();
        assert_eq!(length, batch * columns, "a bias for each column");
    }
    let mut shape = left.clone();
    shape[last] = columns;
    if last == 2 {
        shape[0] = batch;
    }
    let client = a.client.clone();
    let output = empty(&client, &a.device, Shape::from(shape.clone()));
    let kept = if epilogue.keep {
        empty(&client, &a.device, Shape::from(shape))
    } else {
        output.clone()
    };
    if batch * rows * columns == 0 {
        return [output, kept];
    }
    let processors = multiprocessors(&client);
    let tiles = |side: usize| batch * rows.div_ceil(side) * columns.div_ceil(side);
    let quads = quads_for(tiles, processors);
    let stride = |x: &CubeTensor<R>, axis: usize| x.meta.strides()[axis];
    let of_batch = |x: &CubeTensor<R>, matrices: usize| match (last, matrices) {
        (2, 2..) => stride(x, 0),
        _ => 0,
    };
    let walk = WalkLaunch::new(
        rows,
        columns,
        inner,
        of_batch(&a, left[0]),
        stride(&a, last - 1),
        stride(&a, last),
        of_batch(&b, right[0]),
        stride(&b, last - 1),
        stride(&b, last),
    );
    let mut keeps = SequenceArg::new();
    if epilogue.keep {
        keeps.push(kept.clone().into_array_arg());
    }
    let biases = bias
        .into_iter()
        .map(|bias| into_contiguous(bias).into_array_arg());
    // SAFETY: rows, columns and summands are kept within the shapes, which fit, and the strides are
    // those of the buffers.
    unsafe {
        product_kernel::launch_unchecked::<R>(
            &client,
            grid_of(&client, tiles(4 * SIDE * quads)),
            CubeDim::new_1d(UNITS),
            a.into_array_arg(),
            b.into_array_arg(),
            biases.collect(),
            output.clone().into_array_arg(),
            keeps,
            walk,
            batch,
            epilogue,
            quads,
        );
    }
    [output, kept]
}
