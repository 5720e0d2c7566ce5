//! The denoising chain of a tile.

use burn::tensor::bf16;
use cubecl::prelude::*;

use super::{
    blocks::{first_layer, hidden_layers, keep, output_layer, place, stage},
    layout::{Layout, Pair, Word, padded},
};
use crate::gpu::{
    UNITS,
    steps::{Randomness, finish, posterior, start},
};

/// All denoising steps for the rows of a cube.
#[cube(launch_unchecked)]
pub(super) fn chain_kernel(
    weights: &Array<Word>,
    action_weight: &Array<f32>,
    per_state: &Array<f32>,
    step_bias: &Array<f32>,
    biases: &Sequence<Array<f32>>,
    coefficients: &Array<f32>,
    noise: &Randomness,
    actions: &mut Array<f32>,
    rows: usize,
    num_steps: usize,
    #[comptime] layout: Layout,
) {
    let count = comptime!(layout.count());
    let first_row = CUBE_POS * comptime!(layout.plan.tile);
    let place = place(comptime!(layout.clone()));
    // What a step does beside the network is written for so many threads.
    let is_stepping = UNIT_POS < UNITS;

    let activations = comptime!(layout.plan.tile * layout.stride() / 2);
    let mut front = SharedMemory::<Pair<bf16>>::new_aligned(activations, 16usize);
    let mut back = SharedMemory::<Pair<bf16>>::new_aligned(activations, 16usize);
    let mut resident =
        SharedMemory::<Word>::new_aligned(comptime!(layout.resident.max(1)), 16usize);
    let mut staged = SharedMemory::<Pair<f32>>::new_aligned(
        comptime!(layout.plan.output * padded(layout.plan.hidden[0]) / 2),
        16usize,
    );
    let mut prediction =
        SharedMemory::<f32>::new(comptime!(layout.plan.tile * padded(layout.plan.output)));
    let mut x = SharedMemory::<f32>::new(comptime!(layout.plan.tile * layout.plan.output));

    keep(&mut resident, weights, comptime!(layout.clone()));
    stage(&mut staged, action_weight, comptime!(layout.clone()));
    if is_stepping {
        start(
            &mut x,
            noise,
            first_row,
            rows,
            num_steps,
            comptime!(layout.plan.clone()),
        );
    }
    sync_cube();

    for visited in 0..num_steps {
        let t = num_steps - 1 - visited;

        first_layer(
            &mut front,
            &x,
            &staged,
            per_state,
            step_bias,
            t,
            first_row,
            rows,
            &place,
            comptime!(layout.clone()),
        );
        sync_cube();

        hidden_layers(
            &mut front,
            &mut back,
            &resident,
            weights,
            biases,
            &place,
            comptime!(layout.clone()),
        );

        let last = if comptime!(count % 2 == 1) {
            &front
        } else {
            &back
        };
        output_layer(
            &mut prediction,
            last,
            &resident,
            weights,
            comptime!(layout.clone()),
        );
        sync_cube();
        if is_stepping {
            posterior(
                &mut x,
                &prediction,
                &biases[comptime!(count - 1)],
                coefficients,
                noise,
                t,
                first_row,
                rows,
                num_steps,
                comptime!(layout.plan.clone()),
            );
        }
        sync_cube();
    }
    if is_stepping {
        finish(actions, &x, first_row, rows, comptime!(layout.plan.clone()));
    }
}
