//! What a plane does in a layer: its blocks of rows and columns, with the sums in registers.

use burn::tensor::bf16;
use cubecl::{
    cmma::{MatrixIdent, MmaDefinition},
    prelude::*,
};

use super::layout::{
    BLOCK, COLUMNS, LANES, Layout, PLANES, Pair, Word, activation_place, blocks, padded,
    sum_columns, sum_row, word_place,
};
use crate::mish::SATURATION;

/// Sums of independent products in the output layer, whose few planes would otherwise wait for one
/// product after the other.
const CHAINS: usize = 4;

/// Which rows and columns a plane has, and which of them a lane.
#[derive(CubeType)]
pub(super) struct Place {
    lane: usize,
    /// The first block of rows.
    rows: usize,
    /// Of the groups that share the columns.
    columns: usize,
}

/// The place of this thread.
#[cube]
pub(super) fn place(#[comptime] layout: Layout) -> Place {
    let plane = UNIT_POS_Y as usize;
    let groups = comptime!(layout.row_groups());
    Place {
        lane: UNIT_POS_X as usize,
        rows: plane % groups * comptime!(layout.plane_rows()),
        columns: plane / groups,
    }
}

/// Block `share` of this plane in a layer `width` columns wide. A plane without one computes the
/// last again.
#[cube]
fn block_of(
    place: &Place,
    #[comptime] share: usize,
    #[comptime] width: usize,
    #[comptime] layout: Layout,
) -> usize {
    let block = place.columns + comptime!(share * layout.column_groups());
    if comptime!(layout.is_even(width)) {
        block
    } else {
        usize::min(block, comptime!(blocks(width) - 1))
    }
}

/// Where the sums of a product are kept: by block of columns, by side, by block of rows.
fn sum_of(layout: &Layout, share: usize, side: usize, row_block: usize) -> usize {
    (share * 2 + side) * layout.plane_rows() + row_block
}

/// Two biases side by side; columns beyond the last have the last one's.
#[cube]
fn biases(bias: &Array<f32>, begin: usize, columns: usize, #[comptime] width: usize) -> Pair<f32> {
    let column = columns * 2;
    let mut pair = Pair::<f32>::empty();
    #[unroll]
    for i in 0..2usize {
        if comptime!(width.is_multiple_of(BLOCK)) {
            pair[i] = bias[begin + column + i];
        } else {
            pair[i] = bias[begin + usize::min(column + i, comptime!(width - 1))];
        }
    }
    pair
}

/// Mish of two numbers: `x n / (n + 2)`, `n = e (e + 2)`, `e = exp(min(x, 20))`. The two share a
/// division; the product of their denominators is below `(e^20 + 2)^4 < 1e35`. The result is then
/// rounded to bf16, so that the device's approximations, good to 1e-5, do.
#[cube(fast_math = FastMath::all())]
fn mish(x: Pair<f32>) -> Pair<f32> {
    let left = f32::exp(f32::min(x[0], SATURATION));
    let right = f32::exp(f32::min(x[1], SATURATION));
    let left = left * (left + 2.0);
    let right = right * (right + 2.0);
    let below_left = left + 2.0;
    let below_right = right + 2.0;
    let inverse = 1.0 / (below_left * below_right);
    let mut result = Pair::<f32>::empty();
    result[0] = x[0] * (left * (inverse * below_right));
    result[1] = x[1] * (right * (inverse * below_left));
    result
}

/// Mish of the sums of this plane, rounded, into `output`; zeros fill the last block up.
#[cube]
fn activate(
    output: &mut SharedMemory<Pair<bf16>>,
    sums: &Sequence<Array<Pair<f32>>>,
    place: &Place,
    #[comptime] width: usize,
    #[comptime] layout: Layout,
) {
    let stride = comptime!(layout.stride() / 2);
    #[unroll]
    for share in 0..comptime!(layout.shares(width)) {
        let block = place.columns + comptime!(share * layout.column_groups());
        if comptime!(layout.is_even(width)) || block < comptime!(blocks(width)) {
            #[unroll]
            for side in 0..2usize {
                let columns = sum_columns(block, side, place.lane);
                #[unroll]
                for row_block in 0..comptime!(layout.plane_rows()) {
                    let sum = sums.index(comptime!(sum_of(&layout, share, side, row_block)));
                    #[unroll]
                    for pair in 0..2usize {
                        let row = sum_row(place.rows + row_block, place.lane, pair);
                        let mut value = mish(sum[pair]);
                        if comptime!(!width.is_multiple_of(BLOCK)) {
                            #[unroll]
                            for i in 0..2usize {
                                value[i] = select(columns * 2 + i < width, value[i], 0.0);
                            }
                        }
                        output[row * stride + columns] = Pair::<bf16>::cast_from(value);
                    }
                }
            }
        }
    }
}

/// Copies the words that stay in shared memory.
#[cube]
pub(super) fn keep(
    resident: &mut SharedMemory<Word>,
    weights: &Array<Word>,
    #[comptime] layout: Layout,
) {
    let mut item = UNIT_POS as usize;
    while item < comptime!(layout.resident) {
        resident[item] = weights[item];
        item += comptime!(PLANES * LANES);
    }
}

/// The action part of layer 1 by row, filled up to whole blocks of columns.
#[cube]
pub(super) fn stage(
    staged: &mut SharedMemory<Pair<f32>>,
    weight: &Array<f32>,
    #[comptime] layout: Layout,
) {
    let width = comptime!(layout.plan.hidden[0]);
    let pairs = comptime!(padded(width) / 2);
    let mut item = UNIT_POS as usize;
    while item < comptime!(layout.plan.output * padded(width) / 2) {
        let row = item / pairs;
        staged[item] = biases(weight, row * width, item % pairs, width);
        item += comptime!(PLANES * LANES);
    }
}

/// Layer 1 into `output`, in `f32` as on the processor: its observation part, bias and time part,
/// then the action part in the order of its columns.
#[cube]
pub(super) fn first_layer(
    output: &mut SharedMemory<Pair<bf16>>,
    x: &SharedMemory<f32>,
    weight: &SharedMemory<Pair<f32>>,
    per_state: &Array<f32>,
    step_bias: &Array<f32>,
    t: usize,
    first_row: usize,
    rows: usize,
    place: &Place,
    #[comptime] layout: Layout,
) {
    let width = comptime!(layout.plan.hidden[0]);
    let pairs = comptime!(padded(layout.plan.hidden[0]) / 2);
    let shares = comptime!(layout.shares(layout.plan.hidden[0]));
    let row_blocks = comptime!(layout.plane_rows());
    let tile = comptime!(layout.plan.tile);

    let mut sums = Sequence::<Array<Pair<f32>>>::new();
    #[unroll]
    for share in 0..shares {
        let block = block_of(place, share, width, comptime!(layout.clone()));
        #[unroll]
        for side in 0..2usize {
            let columns = sum_columns(block, side, place.lane);
            let bias = biases(step_bias, t * width, columns, width);
            #[unroll]
            for row_block in 0..row_blocks {
                let mut sum = Array::<Pair<f32>>::new(2usize);
                #[unroll]
                for pair in 0..2usize {
                    let row = sum_row(place.rows + row_block, place.lane, pair);
                    let global = usize::min(first_row + row, rows - 1);
                    let state = global / comptime!(layout.plan.particles);
                    sum[pair] = biases(per_state, state * width, columns, width) + bias;
                }
                sums.push(sum);
            }
        }
    }
    for k in 0..comptime!(layout.plan.output) {
        let mut actions = Sequence::<f32>::new();
        #[unroll]
        for row_block in 0..row_blocks {
            #[unroll]
            for pair in 0..2usize {
                let row = sum_row(place.rows + row_block, place.lane, pair);
                actions.push(x[k * tile + row]);
            }
        }
        #[unroll]
        for share in 0..shares {
            let block = block_of(place, share, width, comptime!(layout.clone()));
            #[unroll]
            for side in 0..2usize {
                let columns = sum_columns(block, side, place.lane);
                let w = weight[k * pairs + columns];
                #[unroll]
                for row_block in 0..row_blocks {
                    let sum = sums.index_mut(comptime!(sum_of(&layout, share, side, row_block)));
                    #[unroll]
                    for pair in 0..2usize {
                        let action = *actions.index(comptime!(row_block * 2 + pair));
                        sum[pair] += Pair::<f32>::new(action) * w;
                    }
                }
            }
        }
    }
    activate(output, &sums, place, width, layout);
}

/// A block of activations.
#[cube]
fn left(
    input: &SharedMemory<Pair<bf16>>,
    row_block: usize,
    step: usize,
    lane: usize,
    #[comptime] stride: usize,
) -> Array<Pair<bf16>> {
    let begin = activation_place(row_block, step, lane, stride) / 2;
    let mma = MmaDefinition::<bf16, bf16, f32>::new(BLOCK, COLUMNS, BLOCK);
    mma.load_matrix::<_, Const<2>>(
        &input.slice(begin, begin + 4),
        MatrixIdent::A,
        4usize,
        false,
    )
}

/// The weights of one product.
#[cube]
fn right(word: Word, #[comptime] side: usize) -> Array<Pair<bf16>> {
    let mut registers = Array::<Pair<bf16>>::new(2usize);
    registers[0] = Pair::<bf16>::reinterpret(word[comptime!(side * 2)]);
    registers[1] = Pair::<bf16>::reinterpret(word[comptime!(side * 2 + 1)]);
    registers
}

/// A word of layer `layer`, from shared memory where it stays there.
#[cube]
fn word(
    resident: &SharedMemory<Word>,
    weights: &Array<Word>,
    index: usize,
    #[comptime] layer: usize,
    #[comptime] layout: Layout,
) -> Word {
    let index = index + comptime!(layout.begin(layer));
    if comptime!(layout.is_resident(layer)) {
        resident[index]
    } else {
        weights[index]
    }
}

/// The hidden layers after the first, which lies in `front`. They write in turn to `back` and to
/// `front`: a plane need not wait until all have read its layer's input.
#[cube]
pub(super) fn hidden_layers(
    front: &mut SharedMemory<Pair<bf16>>,
    back: &mut SharedMemory<Pair<bf16>>,
    resident: &SharedMemory<Word>,
    weights: &Array<Word>,
    biases: &Sequence<Array<f32>>,
    place: &Place,
    #[comptime] layout: Layout,
) {
    #[unroll]
    for layer in 1..comptime!(layout.count()) {
        let bias = &biases[comptime!(layer - 1)];
        let layout = comptime!(layout.clone());
        if comptime!(layer % 2 == 1) {
            hidden_layer(back, front, resident, weights, bias, place, layer, layout);
        } else {
            hidden_layer(front, back, resident, weights, bias, place, layer, layout);
        }
        sync_cube();
    }
}

/// Hidden layer `layer`: products of `input` and Mish into `output`.
#[cube]
fn hidden_layer(
    output: &mut SharedMemory<Pair<bf16>>,
    input: &SharedMemory<Pair<bf16>>,
    resident: &SharedMemory<Word>,
    weights: &Array<Word>,
    bias: &Array<f32>,
    place: &Place,
    #[comptime] layer: usize,
    #[comptime] layout: Layout,
) {
    let width = comptime!(layout.outputs(layer));
    let steps = comptime!(blocks(layout.inputs(layer)));
    let shares = comptime!(layout.shares(layout.outputs(layer)));
    let row_blocks = comptime!(layout.plane_rows());
    let mma = MmaDefinition::<bf16, bf16, f32>::new(BLOCK, COLUMNS, BLOCK);

    let mut sums = Sequence::<Array<Pair<f32>>>::new();
    #[unroll]
    for share in 0..shares {
        let block = block_of(place, share, width, comptime!(layout.clone()));
        #[unroll]
        for side in 0..2usize {
            let bias = biases(bias, 0usize, sum_columns(block, side, place.lane), width);
            #[unroll]
            for _ in 0..row_blocks {
                let mut sum = Array::<Pair<f32>>::new(2usize);
                sum[0] = bias;
                sum[1] = bias;
                sums.push(sum);
            }
        }
    }
    for step in 0..steps {
        let mut rows = Sequence::<Array<Pair<bf16>>>::new();
        #[unroll]
        for row_block in 0..row_blocks {
            let row_block = place.rows + row_block;
            rows.push(left(
                input,
                row_block,
                step,
                place.lane,
                comptime!(layout.stride()),
            ));
        }
        #[unroll]
        for share in 0..shares {
            let block = block_of(place, share, width, comptime!(layout.clone()));
            let index = word_place(block, step, place.lane, steps);
            let word = word(resident, weights, index, layer, comptime!(layout.clone()));
            #[unroll]
            for side in 0..2usize {
                let columns = right(word, side);
                #[unroll]
                for row_block in 0..row_blocks {
                    let sum = sums.index_mut(comptime!(sum_of(&layout, share, side, row_block)));
                    mma.execute_inplace(rows.index(row_block), &columns, sum);
                }
            }
        }
    }
    activate(output, &sums, place, width, layout);
}

/// The output without its bias, by column as [`crate::gpu::steps`] reads it: a block for a plane.
#[cube]
pub(super) fn output_layer(
    prediction: &mut SharedMemory<f32>,
    input: &SharedMemory<Pair<bf16>>,
    resident: &SharedMemory<Word>,
    weights: &Array<Word>,
    #[comptime] layout: Layout,
) {
    let layer = comptime!(layout.count());
    let steps = comptime!(blocks(layout.inputs(layout.count())));
    let row_blocks = comptime!(layout.row_blocks());
    let sides = comptime!(if layout.plan.output > COLUMNS {
        2usize
    } else {
        1usize
    });
    let tile = comptime!(layout.plan.tile);
    let lane = UNIT_POS_X as usize;
    let mma = MmaDefinition::<bf16, bf16, f32>::new(BLOCK, COLUMNS, BLOCK);

    let mut item = UNIT_POS_Y as usize;
    while item < comptime!(layout.row_blocks() * blocks(layout.plan.output)) {
        let row_block = item % row_blocks;
        let block = item / row_blocks;
        let mut sums = Sequence::<Array<Pair<f32>>>::new();
        #[unroll]
        for _ in 0..comptime!(CHAINS * sides) {
            let mut sum = Array::<Pair<f32>>::new(2usize);
            sum[0] = Pair::<f32>::new(0.0);
            sum[1] = Pair::<f32>::new(0.0);
            sums.push(sum);
        }
        #[unroll]
        for step in 0..steps {
            let rows = left(input, row_block, step, lane, comptime!(layout.stride()));
            let index = word_place(block, step, lane, steps);
            let word = word(resident, weights, index, layer, comptime!(layout.clone()));
            #[unroll]
            for side in 0..sides {
                let sum = sums.index_mut(comptime!(step % CHAINS * sides + side));
                mma.execute_inplace(&rows, &right(word, side), sum);
            }
        }
        #[unroll]
        for side in 0..sides {
            let column = sum_columns(block, side, lane) * 2;
            #[unroll]
            for pair in 0..2usize {
                let row = sum_row(row_block, lane, pair);
                let mut sum = Pair::<f32>::new(0.0);
                #[unroll]
                for chain in 0..CHAINS {
                    sum += sums.index(comptime!(chain * sides + side))[pair];
                }
                #[unroll]
                for i in 0..2usize {
                    prediction[(column + i) * tile + row] = sum[i];
                }
            }
        }
        item += PLANES;
    }
}
