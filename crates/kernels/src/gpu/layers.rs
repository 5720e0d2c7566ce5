//! Layers of a network for a tile of rows whose activations lie in shared memory by column, the
//! rows beside each other in vectors of four.
//!
//! A thread computes a line of columns (or several) for all rows of its share and reads every weight
//! once for them, from the cache that all cubes share. Every row is summed in the same order whatever
//! the tile.

use cubecl::prelude::*;

use super::{UNITS, elementwise::value_of, noise::Four, plan::Plan};
use crate::Activation;

/// The line of columns that this thread computes in turn `turn`; beyond the last one the last.
#[cube]
pub(super) fn line_of(turn: usize, #[comptime] width: usize, #[comptime] plan: Plan) -> usize {
    let lane = UNIT_POS as usize % comptime!(plan.lanes(width));
    usize::min(
        lane + turn * comptime!(plan.lanes(width)),
        comptime!(width / plan.line() - 1),
    )
}

/// `x W + b` of the lines and rows of this thread, for the weights of the network `member` among
/// several.
#[cube]
pub(super) fn sums_of<N: Size>(
    a: &SharedMemory<Four<f32>>,
    weight: &Array<Vector<f32, N>>,
    bias: &Array<f32>,
    member: usize,
    #[comptime] inputs: usize,
    #[comptime] width: usize,
    #[comptime] plan: Plan,
) -> Array<Four<f32>> {
    let line = comptime!(plan.line());
    let turns = comptime!(plan.turns(width));
    let share = comptime!(plan.share(width));
    let all = comptime!(plan.vectors());
    let ahead = comptime!(plan.ahead());
    // Threads beyond the last group compute what nobody stores.
    let group = usize::min(
        UNIT_POS as usize / comptime!(plan.lanes(width)),
        comptime!(plan.groups(width) - 1),
    );
    let mut sums = Array::<Four<f32>>::new(comptime!(
        plan.turns(width) * plan.line() * plan.share(width)
    ));
    let row = comptime!(width / plan.line());
    let begin = member * comptime!(inputs * (width / plan.line()));
    let first = group * share;
    #[unroll]
    for turn in 0..turns {
        let at = line_of(turn, width, comptime!(plan.clone()));
        #[unroll]
        for i in 0..line {
            let sum = Four::new(bias[member * width + at * line + i]);
            #[unroll]
            for v in 0..share {
                sums[(turn * line + i) * share + v] = sum;
            }
        }
    }
    for block in 0..comptime!(inputs / plan.ahead()) {
        #[unroll]
        for turn in 0..turns {
            let at = line_of(turn, width, comptime!(plan.clone()));
            let mut weights = Array::<Vector<f32, N>>::new(ahead);
            #[unroll]
            for step in 0..ahead {
                weights[step] = weight[begin + (block * ahead + step) * row + at];
            }
            #[unroll]
            for step in 0..ahead {
                let k = block * ahead + step;
                add::<N>(
                    &mut sums,
                    a,
                    weights[step],
                    k * all + first,
                    turn,
                    line,
                    share,
                );
            }
        }
    }
    for k in comptime!(inputs / plan.ahead() * plan.ahead())..inputs {
        #[unroll]
        for turn in 0..turns {
            let at = line_of(turn, width, comptime!(plan.clone()));
            let weights = weight[begin + k * row + at];
            add::<N>(&mut sums, a, weights, k * all + first, turn, line, share);
        }
    }
    sums
}

/// Adds what one input contributes to the sums of a line.
#[cube]
fn add<N: Size>(
    sums: &mut Array<Four<f32>>,
    a: &SharedMemory<Four<f32>>,
    weights: Vector<f32, N>,
    place: usize,
    #[comptime] turn: usize,
    #[comptime] line: usize,
    #[comptime] share: usize,
) {
    #[unroll]
    for v in 0..share {
        let x = a[place + v];
        #[unroll]
        for i in 0..line {
            sums[comptime!((turn * line + i) * share) + v] += x * Four::new(weights[i]);
        }
    }
}

/// `a` times the weights of layer `width` columns wide and its activation, back into `a`.
#[cube]
pub(super) fn hidden_layer<N: Size>(
    a: &mut SharedMemory<Four<f32>>,
    weight: &Array<Vector<f32, N>>,
    bias: &Array<f32>,
    member: usize,
    #[comptime] inputs: usize,
    #[comptime] width: usize,
    #[comptime] activation: Activation,
    #[comptime] plan: Plan,
) {
    let sums = sums_of::<N>(
        a,
        weight,
        bias,
        member,
        inputs,
        width,
        comptime!(plan.clone()),
    );
    sync_cube();
    store(a, &sums, width, activation, plan);
    sync_cube();
}

/// The activation of the sums of this thread, into `a`.
#[cube]
pub(super) fn store(
    a: &mut SharedMemory<Four<f32>>,
    sums: &Array<Four<f32>>,
    #[comptime] width: usize,
    #[comptime] activation: Activation,
    #[comptime] plan: Plan,
) {
    let line = comptime!(plan.line());
    let turns = comptime!(plan.turns(width));
    let share = comptime!(plan.share(width));
    let lane = UNIT_POS as usize % comptime!(plan.lanes(width));
    let group = UNIT_POS as usize / comptime!(plan.lanes(width));
    if group < comptime!(plan.groups(width)) {
        #[unroll]
        for turn in 0..turns {
            let at = lane + turn * comptime!(plan.lanes(width));
            if at < comptime!(width / plan.line()) {
                #[unroll]
                for i in 0..line {
                    #[unroll]
                    for v in 0..share {
                        let sum = sums[(turn * line + i) * share + v];
                        let mut activated = Four::<f32>::empty();
                        #[unroll]
                        for row in 0..4usize {
                            activated[row] = value_of(sum[row], activation);
                        }
                        let column = at * line + i;
                        a[column * comptime!(plan.vectors()) + group * share + v] = activated;
                    }
                }
            }
        }
    }
}

/// The output without its bias, its sums cut into slices.
#[cube]
pub(super) fn output_layer(
    prediction: &mut SharedMemory<f32>,
    partial: &mut SharedMemory<Four<f32>>,
    a: &SharedMemory<Four<f32>>,
    weight: &Array<f32>,
    member: usize,
    #[comptime] plan: Plan,
) {
    let columns = comptime!(plan.output);
    let tile = comptime!(plan.tile);
    let all = comptime!(plan.vectors());
    let unit = UNIT_POS as usize;
    let inputs = comptime!(plan.hidden[plan.hidden.len() - 1]);
    let slices = comptime!(plan.slices());
    let length = comptime!(inputs.div_ceil(slices));
    let begin = member * comptime!(inputs * plan.output);
    let mut item = unit;
    while item < comptime!(plan.slices() * plan.output * plan.vectors()) {
        let column = item % columns;
        let vector = item / columns % all;
        let slice = item / (columns * all);
        let mut sum = Four::<f32>::new(0.0);
        let end = usize::min((slice + 1) * length, inputs);
        for k in slice * length..end {
            sum += a[k * all + vector] * Four::new(weight[begin + k * columns + column]);
        }
        partial[item] = sum;
        item += UNITS as usize;
    }
    sync_cube();
    let mut item = unit;
    while item < comptime!(plan.output * plan.vectors()) {
        let column = item % columns;
        let vector = item / columns;
        let mut sum = Four::<f32>::new(0.0);
        #[unroll]
        for slice in 0..slices {
            sum += partial[slice * comptime!(plan.output * plan.vectors()) + item];
        }
        #[unroll]
        for i in 0..4usize {
            prediction[column * tile + vector * 4 + i] = sum[i];
        }
        item += UNITS as usize;
    }
}
