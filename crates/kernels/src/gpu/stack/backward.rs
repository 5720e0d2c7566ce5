//! A tile of rows backward through all layers.

use cubecl::prelude::*;

use super::{kept_at, load};
use crate::{
    Activation,
    gpu::{UNITS, elementwise::slope_of, noise::Four, plan::Plan},
};

/// Weights that a thread of the backward pass reads ahead.
const AHEAD: usize = 8;

/// Adds what outputs beside each other contribute.
#[cube]
fn add_backward<N: Size>(
    sums: &mut Array<Four<f32>>,
    d: &SharedMemory<Four<f32>>,
    weights: Vector<f32, N>,
    place: usize,
    #[comptime] line: usize,
    #[comptime] share: usize,
    #[comptime] all: usize,
) {
    #[unroll]
    for i in 0..line {
        #[unroll]
        for v in 0..share {
            sums[v] += d[place + i * all + v] * Four::new(weights[i]);
        }
    }
}

/// What the loss says of input `k` of a layer, for the rows of this thread from vector `first` on:
/// `sum_j d_j W[k, j]` with what it says of the outputs in `d`.
#[cube]
fn backward_sums<N: Size>(
    d: &SharedMemory<Four<f32>>,
    weight: &Array<Vector<f32, N>>,
    begin: usize,
    first: usize,
    #[comptime] outputs: usize,
    #[comptime] share: usize,
    #[comptime] all: usize,
) -> Array<Four<f32>> {
    let line = weight.vector_size();
    let mut sums = Array::<Four<f32>>::new(share);
    #[unroll]
    for v in 0..share {
        sums[v] = Four::new(0.0);
    }
    for block in 0..comptime!(outputs / line / AHEAD) {
        let mut weights = Array::<Vector<f32, N>>::new(AHEAD);
        #[unroll]
        for step in 0..AHEAD {
            weights[step] = weight[begin + block * AHEAD + step];
        }
        #[unroll]
        for step in 0..AHEAD {
            let at = (block * AHEAD + step) * line;
            add_backward::<N>(
                &mut sums,
                d,
                weights[step],
                at * all + first,
                line,
                share,
                all,
            );
        }
    }
    for place in comptime!(outputs / line / AHEAD * AHEAD)..comptime!(outputs / line) {
        let weights = weight[begin + place];
        add_backward::<N>(
            &mut sums,
            d,
            weights,
            place * line * all + first,
            line,
            share,
            all,
        );
    }
    sums
}

/// What the loss says of the sums of every hidden layer, into `said` (as [`forward_kernel`] keeps the
/// layers, each once), and of the input, into `by_input` `[members, rows, in]`; `grad` `[members, rows,
/// out]` is what it says of the outputs.
#[cube(launch_unchecked)]
pub(super) fn backward_kernel<N: Size, O: Size>(
    grad: &Array<f32>,
    weights: &Sequence<Array<Vector<f32, N>>>,
    last: &Array<Vector<f32, O>>,
    kept: &Array<f32>,
    said: &mut Array<f32>,
    by_input: &mut Array<f32>,
    rows: usize,
    members: usize,
    #[comptime] inputs: usize,
    #[comptime] wants_input: bool,
    #[comptime] activation: Activation,
    #[comptime] plan: Plan,
) {
    let layers = comptime!(plan.hidden.len());
    let all = comptime!(plan.vectors());
    let tiles = rows.div_ceil(comptime!(plan.tile));
    let cube = usize::min(CUBE_POS, members * tiles - 1);
    let member = cube / tiles;
    let first_row = cube % tiles * comptime!(plan.tile);

    let mut d = SharedMemory::<Four<f32>>::new(comptime!(
        usize::max(plan.widest(), plan.output) * plan.vectors()
    ));
    load(
        &mut d,
        grad,
        member * rows * comptime!(plan.output),
        first_row,
        rows,
        comptime!(plan.output),
        comptime!(plan.clone()),
    );
    sync_cube();
    #[unroll]
    for turned in 0..comptime!(layers + usize::from(wants_input)) {
        // The layer whose input this is about, and the width of that input.
        let layer = comptime!(layers - turned);
        let width = comptime!(if layer == 0 {
            inputs
        } else {
            plan.hidden[layer - 1]
        });
        let outputs = comptime!(if layer == layers {
            plan.output
        } else {
            plan.hidden[layer]
        });
        let lanes = comptime!(backward_lanes(width));
        let groups = comptime!(backward_groups(&plan, width));
        let share = comptime!(plan.vectors() / backward_groups(&plan, width));
        let turns = comptime!(width.div_ceil(backward_lanes(width)));
        let lane = UNIT_POS as usize % lanes;
        let group = UNIT_POS as usize / lanes;
        let first = usize::min(group, comptime!(groups - 1)) * share;
        let mut sums = Array::<Four<f32>>::new(comptime!(
            width.div_ceil(backward_lanes(width))
                * (plan.vectors() / backward_groups(&plan, width))
        ));
        #[unroll]
        for turn in 0..turns {
            let k = usize::min(lane + turn * lanes, comptime!(width - 1));
            if comptime!(layer == layers) {
                let begin = (member * width + k) * comptime!(outputs / plan.output_line());
                let found = backward_sums::<O>(&d, last, begin, first, outputs, share, all);
                #[unroll]
                for v in 0..share {
                    sums[turn * share + v] = found[v];
                }
            } else {
                let begin = (member * width + k) * comptime!(outputs / plan.backward_line());
                let found =
                    backward_sums::<N>(&d, &weights[layer], begin, first, outputs, share, all);
                #[unroll]
                for v in 0..share {
                    sums[turn * share + v] = found[v];
                }
            }
        }
        // The input's place is taken when all threads have read the output's.
        sync_cube();
        if group < groups {
            #[unroll]
            for turn in 0..turns {
                let k = lane + turn * lanes;
                if k < width {
                    #[unroll]
                    for v in 0..share {
                        let mut values = sums[turn * share + v];
                        #[unroll]
                        for r in 0..4usize {
                            let row = first_row + (first + v) * 4 + r;
                            if comptime!(layer == 0) {
                                if row < rows {
                                    by_input[(member * rows + row) * width + k] = values[r];
                                }
                            } else {
                                let place = (member * rows + usize::min(row, rows - 1)) * width + k;
                                let about = comptime!(usize::max(layer, 1) - 1);
                                let at = kept_at(members * rows, about, comptime!(plan.clone()));
                                let slope = slope_of(kept[at + place], activation);
                                values[r] = values[r] * slope;
                                if row < rows {
                                    said[at / 2 + place] = values[r];
                                }
                            }
                        }
                        if comptime!(layer > 0) {
                            d[k * all + first + v] = values;
                        }
                    }
                }
            }
        }
        sync_cube();
    }
}

/// Threads beside each other for the inputs of a layer, one each.
fn backward_lanes(width: usize) -> usize {
    width.next_power_of_two().clamp(8, UNITS as usize)
}

/// Groups of threads that share the rows of a tile then.
fn backward_groups(plan: &Plan, width: usize) -> usize {
    (UNITS as usize / backward_lanes(width)).min(plan.vectors())
}
