//! A tile of rows forward through all layers.

use cubecl::prelude::*;

use super::{kept_at, load};
use crate::{
    Activation,
    gpu::{
        UNITS,
        elementwise::value_of,
        layers::{output_layer, sums_of},
        noise::Four,
        plan::Plan,
    },
};

/// The activation of the sums of this thread, into `a`, and both into `kept`.
#[cube]
fn store(
    a: &mut SharedMemory<Four<f32>>,
    kept: &mut Array<f32>,
    sums: &Array<Four<f32>>,
    begin: usize,
    behind: usize,
    first_row: usize,
    rows: usize,
    #[comptime] keep: bool,
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
                for v in 0..share {
                    #[unroll]
                    for i in 0..line {
                        let column = at * line + i;
                        let sum = sums[(turn * line + i) * share + v];
                        let mut activated = Four::<f32>::empty();
                        #[unroll]
                        for r in 0..4usize {
                            activated[r] = value_of(sum[r], activation);
                            let row = first_row + (group * share + v) * 4 + r;
                            if comptime!(keep) && row < rows {
                                kept[begin + row * width + column] = sum[r];
                                kept[begin + behind + row * width + column] = activated[r];
                            }
                        }
                        a[column * comptime!(plan.vectors()) + group * share + v] = activated;
                    }
                }
            }
        }
    }
}

/// Outputs `[members, rows, out]` for `x` `[members, rows, in]`, or `[1, rows, in]` where `shared`.
/// `weights` are those of the hidden layers, `last` those of the output.
#[cube(launch_unchecked)]
pub(super) fn forward_kernel<N: Size>(
    x: &Array<f32>,
    weights: &Sequence<Array<Vector<f32, N>>>,
    last: &Array<f32>,
    biases: &Sequence<Array<f32>>,
    output: &mut Array<f32>,
    kept: &mut Array<f32>,
    rows: usize,
    members: usize,
    shared: usize,
    #[comptime] inputs: usize,
    #[comptime] keep: bool,
    #[comptime] activation: Activation,
    #[comptime] plan: Plan,
) {
    let layers = comptime!(plan.hidden.len());
    let tiles = rows.div_ceil(comptime!(plan.tile));
    // A grid may have a few cubes more than there are tiles: they repeat the last.
    let cube = usize::min(CUBE_POS, members * tiles - 1);
    let member = cube / tiles;
    let first_row = cube % tiles * comptime!(plan.tile);

    let mut a = SharedMemory::<Four<f32>>::new(comptime!(
        usize::max(plan.widest(), inputs) * plan.vectors()
    ));
    let mut prediction = SharedMemory::<f32>::new(comptime!(plan.output * plan.tile));
    let mut partial =
        SharedMemory::<Four<f32>>::new(comptime!(plan.slices() * plan.output * plan.vectors()));

    let begin = select(shared == 1, 0, member * rows * inputs);
    load(
        &mut a,
        x,
        begin,
        first_row,
        rows,
        inputs,
        comptime!(plan.clone()),
    );
    sync_cube();
    #[unroll]
    for layer in 0..layers {
        let width = comptime!(plan.hidden[layer]);
        let before = comptime!(if layer == 0 {
            inputs
        } else {
            plan.hidden[layer - 1]
        });
        let sums = sums_of::<N>(
            &a,
            &weights[layer],
            &biases[layer],
            member,
            before,
            width,
            comptime!(plan.clone()),
        );
        sync_cube();
        let all = members * rows;
        store(
            &mut a,
            kept,
            &sums,
            kept_at(all, layer, comptime!(plan.clone())) + member * rows * width,
            all * width,
            first_row,
            rows,
            keep,
            width,
            activation,
            comptime!(plan.clone()),
        );
        sync_cube();
    }
    output_layer(
        &mut prediction,
        &mut partial,
        &a,
        last,
        member,
        comptime!(plan.clone()),
    );
    sync_cube();
    let columns = comptime!(plan.output);
    let mut item = UNIT_POS as usize;
    while item < comptime!(plan.tile * plan.output) {
        let row = item / columns;
        let column = item % columns;
        if first_row + row < rows {
            let bias = biases[layers][member * columns + column];
            output[(member * rows + first_row + row) * columns + column] =
                prediction[column * comptime!(plan.tile) + row] + bias;
        }
        item += UNITS as usize;
    }
}
