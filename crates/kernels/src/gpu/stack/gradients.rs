//! The gradients of all weights and biases.

use cubecl::prelude::*;

use super::kept_at;
use crate::gpu::{
    UNITS,
    noise::Four,
    plan::Plan,
    product::{SIDE, accumulate, depth, no_sums, slice_length},
};

/// Side of a tile of gradients.
const GRADIENT_TILE: usize = 4 * SIDE;

/// Tiles of the gradients of the layers before `layer`, of one network.
pub(super) fn tiles_before(plan: &Plan, inputs: usize, layer: usize) -> usize {
    let layers = (0..layer).map(|layer| {
        let [inputs, outputs] = layer_dims(plan, inputs, layer);
        // One input more, of the bias.
        (inputs + 1).div_ceil(GRADIENT_TILE) * outputs.div_ceil(GRADIENT_TILE)
    });
    layers.sum()
}

/// Inputs and outputs of a layer.
fn layer_dims(plan: &Plan, inputs: usize, layer: usize) -> [usize; 2] {
    let width = |layer: usize| plan.hidden.get(layer).copied().unwrap_or(plan.output);
    let inputs = if layer == 0 { inputs } else { width(layer - 1) };
    [inputs, width(layer)]
}

/// This thread's part of the slice from row `begin` on: of a layer's input (and the 1 behind it), and of
/// what the loss says of its output.
#[cube]
fn fetch(
    found: &mut Array<Four<f32>>,
    x: &Array<f32>,
    grad: &Array<f32>,
    kept: &Array<f32>,
    said: &Array<f32>,
    input_at: usize,
    said_at: usize,
    first_input: usize,
    first_column: usize,
    begin: usize,
    rows: usize,
    #[comptime] inputs: usize,
    #[comptime] layer: usize,
    #[comptime] plan: Plan,
) {
    let width = comptime!(layer_dims(&plan, inputs, layer)[0]);
    let columns = comptime!(layer_dims(&plan, inputs, layer)[1]);
    #[unroll]
    for turn in 0..comptime!(depth(1) * SIDE / UNITS as usize) {
        let item = UNIT_POS as usize + turn * comptime!(UNITS as usize);
        let row = begin + item / SIDE;
        let input = first_input + item % SIDE * 4;
        let column = first_column + item % SIDE * 4;
        let mut values = Four::<f32>::new(0.0);
        let mut about = Four::<f32>::new(0.0);
        if row < rows {
            #[unroll]
            for i in 0..4usize {
                if input + i < width {
                    if comptime!(layer == 0) {
                        values[i] = x[input_at + row * width + input + i];
                    } else {
                        values[i] = kept[input_at + row * width + input + i];
                    }
                } else if input + i == width {
                    values[i] = 1.0f32;
                }
                if column + i < columns {
                    if comptime!(layer == plan.hidden.len()) {
                        about[i] = grad[said_at + row * columns + column + i];
                    } else {
                        about[i] = said[said_at + row * columns + column + i];
                    }
                }
            }
        }
        found[2 * turn] = values;
        found[2 * turn + 1] = about;
    }
}

/// Gradients of weights and biases: `kept` and `said` are those of the other kernels.
#[cube(launch_unchecked)]
pub(super) fn gradients_kernel(
    x: &Array<f32>,
    grad: &Array<f32>,
    kept: &Array<f32>,
    said: &Array<f32>,
    weights: &mut Sequence<Array<f32>>,
    biases: &mut Sequence<Array<f32>>,
    rows: usize,
    members: usize,
    shared: usize,
    #[comptime] inputs: usize,
    #[comptime] plan: Plan,
) {
    let layers = comptime!(plan.hidden.len() + 1);
    let each = comptime!(tiles_before(&plan, inputs, plan.hidden.len() + 1));
    let cube = usize::min(CUBE_POS, members * each - 1);
    let member = cube / each;
    let tile = cube % each;
    let unit = UNIT_POS as usize;

    let mut left = SharedMemory::<Four<f32>>::new(comptime!(slice_length(1)));
    let mut right = SharedMemory::<Four<f32>>::new(comptime!(slice_length(1)));
    #[unroll]
    for layer in 0..layers {
        let first = comptime!(tiles_before(&plan, inputs, layer));
        let end = comptime!(tiles_before(&plan, inputs, layer + 1));
        if tile >= first && tile < end {
            let width = comptime!(layer_dims(&plan, inputs, layer)[0]);
            let columns = comptime!(layer_dims(&plan, inputs, layer)[1]);
            let across = comptime!(layer_dims(&plan, inputs, layer)[1].div_ceil(GRADIENT_TILE));
            let first_input = (tile - first) / across * GRADIENT_TILE;
            let first_column = (tile - first) % across * GRADIENT_TILE;
            let all = members * rows;
            // Where the layer's input and what the loss says of its output begin.
            let mut input_at = select(shared == 1, 0, member * rows * width);
            let mut said_at = member * rows * columns;
            if comptime!(layer > 0) {
                let about = comptime!(usize::max(layer, 1) - 1);
                let at = kept_at(all, about, comptime!(plan.clone()));
                input_at = at + all * width + member * rows * width;
            }
            if comptime!(layer + 1 < layers) {
                let about = comptime!(if layer + 1 < layers { layer } else { 0 });
                said_at += kept_at(all, about, comptime!(plan.clone())) / 2;
            }

            let mut sums = no_sums(1usize);
            // The next slice is on its way while this one is multiplied.
            let mut next = Array::<Four<f32>>::new(comptime!(2 * depth(1) * SIDE / UNITS as usize));
            fetch(
                &mut next,
                x,
                grad,
                kept,
                said,
                input_at,
                said_at,
                first_input,
                first_column,
                0usize,
                rows,
                inputs,
                layer,
                comptime!(plan.clone()),
            );
            let mut begin = 0usize;
            while begin < rows {
                #[unroll]
                for turn in 0..comptime!(depth(1) * SIDE / UNITS as usize) {
                    let item = unit + turn * comptime!(UNITS as usize);
                    let place = item / SIDE * comptime!(SIDE + 1) + item % SIDE;
                    left[place] = next[2 * turn];
                    right[place] = next[2 * turn + 1];
                }
                sync_cube();
                begin += comptime!(depth(1));
                fetch(
                    &mut next,
                    x,
                    grad,
                    kept,
                    said,
                    input_at,
                    said_at,
                    first_input,
                    first_column,
                    begin,
                    rows,
                    inputs,
                    layer,
                    comptime!(plan.clone()),
                );
                accumulate(&mut sums, &left, &right, 1usize);
                sync_cube();
            }

            let input = first_input + unit / SIDE * 4;
            let column = first_column + unit % SIDE * 4;
            let weight = weights.index_mut(layer);
            let bias = biases.index_mut(layer);
            #[unroll]
            for i in 0..4usize {
                let sum = sums[i];
                #[unroll]
                for j in 0..4usize {
                    if column + j < columns {
                        if input + i < width {
                            weight[(member * width + input + i) * columns + column + j] = sum[j];
                        } else if input + i == width {
                            bias[member * columns + column + j] = sum[j];
                        }
                    }
                }
            }
        }
    }
}
