//! Layers of a network for a tile of rows whose activations lie in shared memory by column, the
//! rows beside each other in vectors of four.
//!
//! A thread computes one column (or several) for all rows of its share and reads every weight once
//! for them, from the cache that all cubes share. Every row is summed in the same order whatever the
//! tile.

use cubecl::prelude::*;

use super::{UNITS, elementwise::mish_of, noise::Four, plan::Plan};

/// `a` times the weights of layer `width` columns wide, for the columns and rows of this thread, and
/// Mish, back into `a`.
#[cube]
pub(super) fn hidden_layer(
    a: &mut SharedMemory<Four<f32>>,
    weight: &Array<f32>,
    bias: &Array<f32>,
    #[comptime] inputs: usize,
    #[comptime] width: usize,
    #[comptime] plan: Plan,
) {
    let lanes = comptime!(Plan::lanes(width));
    let groups = comptime!(plan.groups(width));
    let columns = comptime!(width.div_ceil(lanes));
    let vectors = comptime!(plan.vectors() / groups);
    let all = comptime!(plan.vectors());
    let lane = UNIT_POS as usize % lanes;
    let group = UNIT_POS as usize / lanes;

    let mut sums = Array::<Four<f32>>::new(comptime!(columns * vectors));
    if group < groups {
        #[unroll]
        for c in 0..columns {
            let column = usize::min(lane + c * lanes, comptime!(width - 1));
            #[unroll]
            for v in 0..vectors {
                sums[c * vectors + v] = Four::new(bias[column]);
            }
        }
        for k in 0..inputs {
            #[unroll]
            for c in 0..columns {
                let column = usize::min(lane + c * lanes, comptime!(width - 1));
                let w = Four::new(weight[k * width + column]);
                #[unroll]
                for v in 0..vectors {
                    sums[c * vectors + v] += a[k * all + group * vectors + v] * w;
                }
            }
        }
    }
    sync_cube();
    if group < groups {
        store(a, &sums, width, comptime!(plan.clone()));
    }
    sync_cube();
}

/// Mish of the sums of this thread, into `a`.
#[cube]
pub(super) fn store(
    a: &mut SharedMemory<Four<f32>>,
    sums: &Array<Four<f32>>,
    #[comptime] width: usize,
    #[comptime] plan: Plan,
) {
    let lanes = comptime!(Plan::lanes(width));
    let groups = comptime!(plan.groups(width));
    let columns = comptime!(width.div_ceil(lanes));
    let vectors = comptime!(plan.vectors() / groups);
    let lane = UNIT_POS as usize % lanes;
    let group = UNIT_POS as usize / lanes;
    #[unroll]
    for c in 0..columns {
        let column = lane + c * lanes;
        if column < width {
            #[unroll]
            for v in 0..vectors {
                let sum = sums[c * vectors + v];
                let mut activated = Four::<f32>::empty();
                #[unroll]
                for i in 0..4usize {
                    activated[i] = mish_of(sum[i]);
                }
                a[column * comptime!(plan.vectors()) + group * vectors + v] = activated;
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
    #[comptime] plan: Plan,
) {
    let columns = comptime!(plan.output);
    let tile = comptime!(plan.tile);
    let all = comptime!(plan.vectors());
    let unit = UNIT_POS as usize;
    let inputs = comptime!(plan.hidden[plan.hidden.len() - 1]);
    let slices = comptime!(plan.slices());
    let length = comptime!(inputs.div_ceil(slices));
    let mut item = unit;
    while item < comptime!(plan.slices() * plan.output * plan.vectors()) {
        let column = item % columns;
        let vector = item / columns % all;
        let slice = item / (columns * all);
        let mut sum = Four::<f32>::new(0.0);
        let end = usize::min((slice + 1) * length, inputs);
        for k in slice * length..end {
            sum += a[k * all + vector] * Four::new(weight[k * columns + column]);
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
