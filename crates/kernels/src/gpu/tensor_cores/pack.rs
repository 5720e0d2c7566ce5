//! Weights as the kernel reads them: rounded, filled up with zeros, a word for a lane.

use burn::tensor::bf16;
use cubecl::prelude::*;

use super::layout::{LANES, Layout, Pair, Word, blocks, weight_column, weight_row};

/// Packs the layers after the first, a word a thread.
#[cube(launch_unchecked)]
pub(super) fn pack_kernel(
    matrices: &Sequence<Array<f32>>,
    words: &mut Array<Word>,
    #[comptime] layout: Layout,
) {
    #[unroll]
    for layer in 1..comptime!(layout.count() + 1) {
        let begin = comptime!(layout.begin(layer));
        if ABSOLUTE_POS >= begin && ABSOLUTE_POS < comptime!(layout.end(layer)) {
            words[ABSOLUTE_POS] = word_of(
                &matrices[comptime!(layer - 1)],
                ABSOLUTE_POS - begin,
                comptime!(layout.inputs(layer)),
                comptime!(layout.outputs(layer)),
            );
        }
    }
}

/// Word `place` of a matrix.
#[cube]
fn word_of(
    matrix: &Array<f32>,
    place: usize,
    #[comptime] inputs: usize,
    #[comptime] outputs: usize,
) -> Word {
    let steps = comptime!(blocks(inputs));
    let lane = place % LANES;
    let step = place / LANES % steps;
    let block = place / LANES / steps;
    let mut word = Word::empty();
    #[unroll]
    for register in 0..4usize {
        let column = weight_column(block, lane, register);
        let mut pair = Pair::<bf16>::empty();
        #[unroll]
        for i in 0..2usize {
            let row = weight_row(step, lane, register) + i;
            let mut weight = 0.0f32;
            if row < inputs && column < outputs {
                weight = matrix[row * outputs + column];
            }
            pair[i] = bf16::cast_from(weight);
        }
        word[register] = u32::reinterpret(pair);
    }
    word
}
