//! What a cube does with its tile of rows, in blocks of 16 by 16.

use burn::tensor::bf16;
use cubecl::{
    cmma::{self, Matrix, MatrixIdent, MatrixLayout},
    prelude::*,
};

use super::{BLOCK, LANES, PLANES, ROW_BLOCKS, SKEW, TILE, offset, padded, stride};
use crate::gpu::{UNITS, elementwise::mish_of, plan::Plan};

/// Sums of this plane's blocks of columns for all rows of the tile.
#[cube]
pub(super) fn products(
    sums: &mut Sequence<Matrix<f32>>,
    input: &SharedMemory<bf16>,
    weights: &Array<bf16>,
    #[comptime] input_stride: usize,
    #[comptime] begin: usize,
    #[comptime] inputs: usize,
    #[comptime] outputs: usize,
) {
    let plane = UNIT_POS_Y as usize;
    let columns = comptime!(padded(outputs));
    let blocks = comptime!(padded(outputs) / BLOCK);
    let shares = comptime!(blocks.div_ceil(PLANES));
    for k in 0..comptime!(padded(inputs) / BLOCK) {
        let mut right = Sequence::<Matrix<bf16>>::new();
        #[unroll]
        for share in 0..shares {
            // A plane without a block of its own computes the last one again.
            let block = usize::min(plane + share * PLANES, comptime!(blocks - 1));
            let place = begin + k * BLOCK * columns + block * BLOCK;
            right.push(Matrix::<bf16>::from_slice(
                MatrixIdent::B,
                BLOCK,
                BLOCK,
                BLOCK,
                MatrixLayout::RowMajor,
                &weights.slice(place, weights.len()),
                comptime!(columns as u32),
            ));
        }
        #[unroll]
        for row in 0..ROW_BLOCKS {
            let place = row * BLOCK * input_stride + k * BLOCK;
            let left = Matrix::<bf16>::from_slice(
                MatrixIdent::A,
                BLOCK,
                BLOCK,
                BLOCK,
                MatrixLayout::RowMajor,
                &input.slice(place, comptime!(TILE * input_stride)),
                comptime!(input_stride as u32),
            );
            #[unroll]
            for share in 0..shares {
                let sum = sums.index(comptime!(share * ROW_BLOCKS + row));
                cmma::execute::<bf16, bf16, f32, f32>(&left, right.index(share), sum, sum);
            }
        }
    }
}

/// Fresh sums for a layer `outputs` columns wide.
#[cube]
pub(super) fn no_sums(#[comptime] outputs: usize) -> Sequence<Matrix<f32>> {
    let shares = comptime!((padded(outputs) / BLOCK).div_ceil(PLANES));
    let mut sums = Sequence::<Matrix<f32>>::new();
    #[unroll]
    for _ in 0..comptime!(shares * ROW_BLOCKS) {
        sums.push(Matrix::<f32>::from_value(
            MatrixIdent::Accumulator,
            BLOCK,
            BLOCK,
            BLOCK,
            MatrixLayout::Undefined,
            0.0,
        ));
    }
    sums
}

/// Mish of sums and biases, rounded, into `a`. The bias of layer 1 has a part that is the state's.
#[cube]
pub(super) fn activate(
    a: &mut SharedMemory<bf16>,
    scratch: &mut SharedMemory<f32>,
    sums: &Sequence<Matrix<f32>>,
    bias: &Array<f32>,
    bias_begin: usize,
    per_state: &Array<f32>,
    first_row: usize,
    rows: usize,
    #[comptime] is_first: bool,
    #[comptime] outputs: usize,
    #[comptime] plan: Plan,
) {
    let plane = UNIT_POS_Y as usize;
    let lane = UNIT_POS_X as usize;
    let blocks = comptime!(padded(outputs) / BLOCK);
    let shares = comptime!(blocks.div_ceil(PLANES));
    let width = comptime!(stride(&plan));
    let mine = plane * comptime!(BLOCK * BLOCK);
    #[unroll]
    for share in 0..shares {
        let block = plane + share * PLANES;
        if block < blocks {
            #[unroll]
            for row_block in 0..ROW_BLOCKS {
                cmma::store(
                    &mut scratch.slice_mut(mine, mine + comptime!(BLOCK * BLOCK)),
                    sums.index(comptime!(share * ROW_BLOCKS + row_block)),
                    comptime!(BLOCK as u32),
                    MatrixLayout::RowMajor,
                );
                sync_plane();
                #[unroll]
                for turn in 0..comptime!(BLOCK * BLOCK / LANES as usize) {
                    let place = lane + turn * comptime!(LANES as usize);
                    let row = row_block * BLOCK + place / BLOCK;
                    let column = block * BLOCK + place % BLOCK;
                    let mut value = 0.0f32;
                    if column < outputs {
                        let mut sum = scratch[mine + place] + bias[bias_begin + column];
                        if is_first {
                            let global = usize::min(first_row + row, rows - 1);
                            let state = global / comptime!(plan.particles);
                            sum += per_state[state * outputs + column];
                        }
                        value = mish_of(sum);
                    }
                    a[row * width + column] = bf16::cast_from(value);
                }
                sync_plane();
            }
        }
    }
}

/// The noisy action as layer 1 reads it: by row, rounded, filled up with zeros.
#[cube]
pub(super) fn round(
    rounded: &mut SharedMemory<bf16>,
    x: &SharedMemory<f32>,
    #[comptime] plan: Plan,
) {
    let columns = comptime!(padded(plan.output));
    let mut item = UNIT_POS as usize;
    while item < comptime!(TILE * padded(plan.output)) {
        let row = item / columns;
        let column = item % columns;
        let mut value = 0.0f32;
        if column < comptime!(plan.output) {
            value = x[column * TILE + row];
        }
        rounded[row * comptime!(padded(plan.output) + SKEW) + column] = bf16::cast_from(value);
        item += UNITS as usize;
    }
}

/// The output without its bias, a block for a plane.
#[cube]
pub(super) fn output_layer(
    prediction: &mut SharedMemory<f32>,
    a: &SharedMemory<bf16>,
    weights: &Array<bf16>,
    #[comptime] plan: Plan,
) {
    let width = comptime!(stride(&plan));
    let action_columns = comptime!(padded(plan.output));
    let plane = UNIT_POS_Y as usize;
    let blocks = comptime!(ROW_BLOCKS * padded(plan.output) / BLOCK);
    let mut item = plane;
    while item < blocks {
        let row_block = item % ROW_BLOCKS;
        let block = item / ROW_BLOCKS;
        let sum = Matrix::<f32>::from_value(
            MatrixIdent::Accumulator,
            BLOCK,
            BLOCK,
            BLOCK,
            MatrixLayout::Undefined,
            0.0,
        );
        for k in 0..comptime!(padded(plan.hidden[plan.hidden.len() - 1]) / BLOCK) {
            let left = row_block * BLOCK * width + k * BLOCK;
            let left = Matrix::<bf16>::from_slice(
                MatrixIdent::A,
                BLOCK,
                BLOCK,
                BLOCK,
                MatrixLayout::RowMajor,
                &a.slice(left, comptime!(TILE * stride(&plan))),
                comptime!(width as u32),
            );
            let begin = comptime!(offset(&plan, plan.hidden.len()));
            let right = begin + k * BLOCK * action_columns + block * BLOCK;
            let right = Matrix::<bf16>::from_slice(
                MatrixIdent::B,
                BLOCK,
                BLOCK,
                BLOCK,
                MatrixLayout::RowMajor,
                &weights.slice(right, weights.len()),
                comptime!(action_columns as u32),
            );
            cmma::execute::<bf16, bf16, f32, f32>(&left, &right, &sum, &sum);
        }
        let place = block * comptime!(BLOCK * TILE) + row_block * BLOCK;
        cmma::store(
            &mut prediction.slice_mut(place, comptime!(TILE * padded(plan.output))),
            &sum,
            comptime!(TILE as u32),
            MatrixLayout::ColMajor,
        );
        item += PLANES;
    }
}
