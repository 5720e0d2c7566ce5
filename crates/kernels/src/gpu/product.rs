//! Products of matrices in `f32` throughout.
//!
//! Burn's own product rounds its factors to the ten bits of TF32 on NVIDIA's tensor cores, also for
//! tensors that are `f32`; here training is `f32`. Small products have a kernel of their own, because
//! the library's tiles of 128 by 128 leave most of a device idle: a product of 256 by 256 is four of
//! them. Large ones are the same library's, by the routine that multiplies without tensor cores.

use burn::tensor::{DType, Shape, TensorMetadata as _};
use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::prelude::*;
use cubek_matmul::{
    definition::{MatmulElems, MatmulGlobalElems},
    launch::{launch_naive, launch_tiling},
    routines::{BlueprintStrategy, simple_unit::SimpleUnitAlgorithm},
};
use cubek_std::InputBinding;

use super::{
    UNITS,
    elementwise::{add_bias, add_bias_activated, value_of},
    empty,
    plan::{grid_of, multiprocessors},
};
use crate::Activation;

/// Threads along each side of a tile.
pub(super) const SIDE: usize = 16;
/// Summands that lie in shared memory at once.
pub(super) const DEPTH: usize = 32;

/// Columns of a tile from which the library's are taken: there are enough of them then.
const LARGE: usize = 64;

/// Adds `left^T right` of what lies in shared memory, each `[DEPTH, SIDE * micro]`, to the sums of this
/// thread, `micro` by `micro`.
#[cube]
pub(super) fn accumulate(
    sums: &mut Array<f32>,
    left: &SharedMemory<f32>,
    right: &SharedMemory<f32>,
    #[comptime] micro: usize,
) {
    let width = comptime!(SIDE * micro + 1);
    let row = UNIT_POS as usize / SIDE * micro;
    let column = UNIT_POS as usize % SIDE * micro;
    for k in 0..DEPTH {
        let mut a = Array::<f32>::new(micro);
        let mut b = Array::<f32>::new(micro);
        #[unroll]
        for i in 0..micro {
            a[i] = left[k * width + row + i];
            b[i] = right[k * width + column + i];
        }
        #[unroll]
        for i in 0..micro {
            #[unroll]
            for j in 0..micro {
                sums[i * micro + j] += a[i] * b[j];
            }
        }
    }
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
    #[comptime] micro: usize,
) {
    let tile = comptime!(SIDE * micro);
    let width = comptime!(SIDE * micro + 1);
    let unit = UNIT_POS as usize;
    let across = walk.columns.div_ceil(tile);
    let down = walk.rows.div_ceil(tile);
    // A grid may have a few cubes more than there are tiles: they repeat the last.
    let cube = usize::min(CUBE_POS, batch * down * across - 1);
    let member = cube / (down * across);
    let first_row = cube / across % down * tile;
    let first_column = cube % across * tile;

    let mut left = SharedMemory::<f32>::new(comptime!(DEPTH * (SIDE * micro + 1)));
    let mut right = SharedMemory::<f32>::new(comptime!(DEPTH * (SIDE * micro + 1)));
    let mut sums = Array::<f32>::new(comptime!(micro * micro));
    #[unroll]
    for i in 0..comptime!(micro * micro) {
        sums[i] = 0.0;
    }

    let mut begin = 0usize;
    while begin < walk.inner {
        #[unroll]
        for turn in 0..comptime!(DEPTH * SIDE * micro / UNITS as usize) {
            let item = unit + turn * comptime!(UNITS as usize);
            // Threads beside each other read beside each other, whichever axis that is.
            let mut k = item / tile;
            let mut place = item % tile;
            if walk.a_inner == 1 {
                k = item % DEPTH;
                place = item / DEPTH;
            }
            let mut value = 0.0f32;
            if begin + k < walk.inner && first_row + place < walk.rows {
                value = a[member * walk.a_batch
                    + (first_row + place) * walk.a_row
                    + (begin + k) * walk.a_inner];
            }
            left[k * width + place] = value;
            let mut k = item / tile;
            let mut place = item % tile;
            if walk.b_inner == 1 {
                k = item % DEPTH;
                place = item / DEPTH;
            }
            let mut value = 0.0f32;
            if begin + k < walk.inner && first_column + place < walk.columns {
                value = b[member * walk.b_batch
                    + (begin + k) * walk.b_inner
                    + (first_column + place) * walk.b_column];
            }
            right[k * width + place] = value;
        }
        sync_cube();
        accumulate(&mut sums, &left, &right, micro);
        sync_cube();
        begin += DEPTH;
    }

    let row = first_row + unit / SIDE * micro;
    let column = first_column + unit % SIDE * micro;
    #[unroll]
    for i in 0..micro {
        #[unroll]
        for j in 0..micro {
            if row + i < walk.rows && column + j < walk.columns {
                let place = (member * walk.rows + row + i) * walk.columns + column + j;
                let mut value = sums[i * micro + j];
                if comptime!(epilogue.bias) {
                    value += biases[0][member * walk.columns + column + j];
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

/// How many sums along each side a thread computes so that `multiprocessors` have work: four where
/// that makes enough tiles of `tiles` (by their side), else two.
pub(super) fn micro_for(tiles: impl Fn(usize) -> usize, multiprocessors: usize) -> usize {
    if tiles(4 * SIDE) * 2 >= multiprocessors {
        4
    } else {
        2
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
    if tiles(2 * LARGE) >= 2 * processors {
        let output = library(a, b, output);
        return match (bias, epilogue.activation) {
            (Some(bias), Some(activation)) if epilogue.keep => {
                let [z, output] = add_bias_activated(output, bias, activation);
                [output, z]
            }
            (Some(bias), activation) => {
                let output = add_bias(output, bias, activation);
                [output.clone(), output]
            }
            (None, _) => [output.clone(), output],
        };
    }
    let micro = micro_for(tiles, processors);
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
            grid_of(&client, tiles(micro * SIDE)),
            CubeDim::new_1d(UNITS),
            a.into_array_arg(),
            b.into_array_arg(),
            biases.collect(),
            output.clone().into_array_arg(),
            keeps,
            walk,
            batch,
            epilogue,
            micro,
        );
    }
    [output, kept]
}

/// The library's product, into `output`.
fn library<R: CubeRuntime>(
    a: CubeTensor<R>,
    b: CubeTensor<R>,
    output: CubeTensor<R>,
) -> CubeTensor<R> {
    let client = a.client.clone();
    let dtype = DType::F32.into();
    let dtypes = || {
        MatmulElems::from_globals(&MatmulGlobalElems {
            lhs: dtype,
            rhs: dtype,
            out: dtype,
        })
    };
    let input = |x: &CubeTensor<R>| InputBinding::new(x.clone().binding(), dtype);
    let tiled = launch_tiling::launch_ref::<R, SimpleUnitAlgorithm>(
        &client,
        input(&a),
        input(&b),
        output.clone().binding(),
        &BlueprintStrategy::default(),
        &mut dtypes(),
    );
    if tiled.is_err() {
        // A device that the tiles do not fit.
        let (a, b) = (into_contiguous(a), into_contiguous(b));
        launch_naive::launch_ref(
            &client,
            input(&a),
            input(&b),
            output.clone().binding(),
            &dtypes(),
        )
        .expect("the naive product takes every size on every device");
    }
    output
}
