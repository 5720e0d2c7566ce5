//! Scoring particles by an ensemble of critics, and the choice among them, as one kernel each.
//!
//! A cube takes a tile of rows through one critic after the other, with the layers of
//! [`super::layers`].

use burn::tensor::{DType, Int, Shape, Tensor};
use burn_cubecl::{
    BoolElement, CubeBackend, CubeRuntime, ops::numeric::empty_device_contiguous_dtype,
};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{
    UNITS, empty,
    layers::{hidden_layer, output_layer},
    noise::Four,
    plan::{Plan, Source, grid_of, multiprocessors},
    primitive, stack, tensor,
};
use crate::{Activation, Combine, Sampled, Stack, backend::residual::pairs};

/// Observations and actions of the tile's rows.
#[cube]
fn load(
    a: &mut SharedMemory<Four<f32>>,
    observations: &Array<f32>,
    actions: &Array<f32>,
    first_row: usize,
    rows: usize,
    #[comptime] observation_dim: usize,
    #[comptime] action_dim: usize,
    #[comptime] plan: Plan,
) {
    let inputs = comptime!(observation_dim + action_dim);
    let mut item = UNIT_POS as usize;
    while item < comptime!((observation_dim + action_dim) * plan.vectors()) {
        let column = item % inputs;
        let vector = item / inputs;
        let mut values = Four::<f32>::empty();
        #[unroll]
        for i in 0..4usize {
            // Rows beyond the last fill the tile up.
            let row = usize::min(first_row + vector * 4 + i, rows - 1);
            if column < observation_dim {
                let state = row / comptime!(plan.particles);
                values[i] = observations[state * observation_dim + column];
            } else {
                values[i] = actions[row * action_dim + (column - observation_dim)];
            }
        }
        a[column * comptime!(plan.vectors()) + vector] = values;
        item += UNITS as usize;
    }
}

/// A member's value with those before it: the smaller, or the sum.
#[cube]
fn combined(score: f32, value: f32, #[comptime] combine: Combine) -> f32 {
    if comptime!(combine == Combine::Mean) {
        score + value
    } else {
        // A NaN of either stays one, whatever the device's own minimum makes of it.
        let keep = score <= value || score.is_nan();
        select(keep, score, value)
    }
}

/// `weights` are those of the hidden layers of all members, `last` those of their outputs.
#[cube(launch_unchecked)]
fn score_kernel<N: Size>(
    observations: &Array<f32>,
    actions: &Array<f32>,
    weights: &Sequence<Array<Vector<f32, N>>>,
    last: &Array<f32>,
    biases: &Sequence<Array<f32>>,
    scores: &mut Array<f32>,
    rows: usize,
    members: usize,
    #[comptime] observation_dim: usize,
    #[comptime] action_dim: usize,
    #[comptime] combine: Combine,
    #[comptime] activation: Activation,
    #[comptime] plan: Plan,
) {
    let tile = comptime!(plan.tile);
    let layers = comptime!(plan.hidden.len());
    let first_row = CUBE_POS * tile;
    let unit = UNIT_POS as usize;

    let mut a = SharedMemory::<Four<f32>>::new(comptime!(
        usize::max(plan.widest(), observation_dim + action_dim) * plan.vectors()
    ));
    let mut q = SharedMemory::<f32>::new(tile);
    let mut partial = SharedMemory::<Four<f32>>::new(comptime!(plan.slices() * plan.vectors()));

    let mut score = 0.0f32;
    for member in 0..members {
        load(
            &mut a,
            observations,
            actions,
            first_row,
            rows,
            observation_dim,
            action_dim,
            comptime!(plan.clone()),
        );
        sync_cube();
        #[unroll]
        for layer in 0..layers {
            let inputs = comptime!(if layer == 0 {
                observation_dim + action_dim
            } else {
                plan.hidden[layer - 1]
            });
            hidden_layer::<N>(
                &mut a,
                &weights[layer],
                &biases[layer],
                member,
                inputs,
                comptime!(plan.hidden[layer]),
                activation,
                comptime!(plan.clone()),
            );
        }
        output_layer(
            &mut q,
            &mut partial,
            &a,
            last,
            member,
            comptime!(plan.clone()),
        );
        sync_cube();
        if unit < tile {
            let value = q[unit] + biases[layers][member];
            if member == 0 {
                score = value;
            } else {
                score = combined(score, value, combine);
            }
        }
    }
    if unit < tile && first_row + unit < rows {
        if comptime!(combine == Combine::Mean) {
            score /= f32::cast_from(members);
        }
        scores[first_row + unit] = score;
    }
}

/// One value of those of all members, `[members, rows]`.
#[cube(launch)]
fn combine_kernel(
    values: &Array<f32>,
    scores: &mut Array<f32>,
    members: usize,
    #[comptime] combine: Combine,
) {
    let row = ABSOLUTE_POS;
    if row < scores.len() {
        let mut score = values[row];
        for member in 1..members {
            score = combined(score, values[member * scores.len() + row], combine);
        }
        if comptime!(combine == Combine::Mean) {
            score /= f32::cast_from(members);
        }
        scores[row] = score;
    }
}

/// The scores of few rows: all members at once, a cube for a tile of each.
fn score_few<R, T>(
    critics: &Stack<CubeBackend<R, f32, i32, T>>,
    combine: Combine,
    observations: &Tensor<CubeBackend<R, f32, i32, T>, 2>,
    actions: &Tensor<CubeBackend<R, f32, i32, T>, 3>,
) -> Tensor<CubeBackend<R, f32, i32, T>, 2>
where
    R: CubeRuntime,
    T: BoolElement,
{
    let [states, particles, _] = actions.dims();
    let rows = pairs(observations.clone(), actions.clone()).unsqueeze_dim(0);
    let values = stack::forward(rows, critics, false).output;
    let client = R::client(&values.device());
    let scores = empty(&client, &values.device(), Shape::from([states, particles]));
    let cube_dim = CubeDim::new_1d(UNITS);
    combine_kernel::launch::<R>(
        &client,
        calculate_cube_count_elemwise(&client, states * particles, cube_dim),
        cube_dim,
        primitive(values).into_array_arg(),
        scores.clone().into_array_arg(),
        critics.members(),
        combine,
    );
    tensor(scores)
}

/// [`crate::RescoreBackend::score`]; none where the kernel cannot take these critics.
pub(super) fn score<R, T>(
    critics: &Stack<CubeBackend<R, f32, i32, T>>,
    combine: Combine,
    observations: &Tensor<CubeBackend<R, f32, i32, T>, 2>,
    actions: &Tensor<CubeBackend<R, f32, i32, T>, 3>,
) -> Option<Tensor<CubeBackend<R, f32, i32, T>, 2>>
where
    R: CubeRuntime,
    T: BoolElement,
{
    let device = observations.device();
    let client = R::client(&device);
    let [states, particles, action_dim] = actions.dims();
    let [observed, observation_dim] = observations.dims();
    let rows = states * particles;
    let members = critics.members();
    let mut inputs = observation_dim + action_dim;
    for layer in &critics.layers {
        let [_, _, columns] = layer.bias.dims();
        assert_eq!(
            layer.weight.dims(),
            [members, inputs, columns],
            "layers do not fit"
        );
        inputs = columns;
    }
    assert_eq!(inputs, 1, "a critic gives one value");
    let hidden: Vec<usize> = critics.layers[..critics.layers.len() - 1]
        .iter()
        .map(|layer| layer.bias.dims()[2])
        .collect();
    assert_eq!(observed, states, "an observation for each state");
    let plan = Plan {
        tile: Plan::tile_for(rows, multiprocessors(&client)),
        particles,
        output: 1,
        hidden,
        source: Source::Counter,
    };
    let hardware = &client.properties().hardware;
    // The input or the hidden activations, the value, and the slices of its sum.
    let columns = plan.widest().max(observation_dim + action_dim) + 1 + plan.slices();
    // Layers and biases, observations, actions, scores, and the lengths of all.
    let bindings = 2 * critics.layers.len() + 4;
    let fits = !plan.hidden.is_empty()
        && rows > 0
        && bindings <= hardware.max_bindings as usize
        && hardware.max_units_per_cube >= UNITS;
    let plan = plan
        .fitted(columns, hardware.max_shared_memory_size)
        .filter(|_| fits)?;
    if members > 1 && rows.div_ceil(plan.tile) < 2 * multiprocessors(&client) {
        return Some(score_few(critics, combine, observations, actions));
    }
    let cubes = grid_of(&client, rows.div_ceil(plan.tile));
    let of = |x: &Tensor<_, 3>| primitive(x.clone()).into_array_arg();
    let (last, hidden) = (critics.layers.split_last()).expect("critics have an output layer");
    let scores = empty(&client, &device, Shape::from([states, particles]));
    // SAFETY: every index is within its buffer, whose lengths follow from the shapes that were
    // checked above: rows are capped at the last, columns at the width of the layer.
    unsafe {
        score_kernel::launch_unchecked::<R>(
            &client,
            cubes,
            CubeDim::new_1d(UNITS),
            plan.line(),
            primitive(observations.clone()).into_array_arg(),
            primitive(actions.clone()).into_array_arg(),
            hidden.iter().map(|layer| of(&layer.weight)).collect(),
            of(&last.weight),
            critics.layers.iter().map(|layer| of(&layer.bias)).collect(),
            scores.clone().into_array_arg(),
            rows,
            members,
            observation_dim,
            action_dim,
            combine,
            critics.activation,
            plan,
        );
    }
    Some(tensor(scores))
}

/// The particle with the largest score of every state, the lowest of several; the last one where a
/// score is NaN.
#[cube(launch)]
fn best_kernel(
    actions: &Array<f32>,
    scores: &Array<f32>,
    chosen: &mut Array<f32>,
    indices: &mut Array<i32>,
    #[comptime] particles: usize,
    #[comptime] action_dim: usize,
) {
    let state = ABSOLUTE_POS;
    if state < indices.len() {
        let mut index = 0usize;
        let mut largest = scores[state * particles];
        let mut unknown = largest.is_nan();
        for particle in 1..particles {
            let score = scores[state * particles + particle];
            if score > largest {
                largest = score;
                index = particle;
            }
            unknown = unknown || score.is_nan();
        }
        if unknown {
            index = comptime!(particles - 1);
        }
        indices[state] = i32::cast_from(index);
        let begin = (state * particles + index) * action_dim;
        for column in 0..action_dim {
            let action = actions[begin + column];
            chosen[state * action_dim + column] =
                select(action.is_nan(), action, clamp(action, -1.0, 1.0));
        }
    }
}

/// The best particle of every state: `actions` `[states, particles, action_dim]`, `scores`
/// `[states, particles]`.
pub(super) fn best<R, T>(
    actions: Tensor<CubeBackend<R, f32, i32, T>, 3>,
    scores: Tensor<CubeBackend<R, f32, i32, T>, 2>,
) -> Sampled<CubeBackend<R, f32, i32, T>>
where
    R: CubeRuntime,
    T: BoolElement,
{
    let device = actions.device();
    let client = R::client(&device);
    let [states, particles, action_dim] = actions.dims();
    debug_assert!(particles > 0);
    let chosen = empty(&client, &device, Shape::from([states, action_dim]));
    let indices =
        empty_device_contiguous_dtype(client.clone(), device, Shape::from([states]), DType::I32);
    let cube_dim = CubeDim::new_1d(UNITS);
    best_kernel::launch::<R>(
        &client,
        calculate_cube_count_elemwise(&client, states, cube_dim),
        cube_dim,
        primitive(actions).into_array_arg(),
        primitive(scores.clone()).into_array_arg(),
        chosen.clone().into_array_arg(),
        indices.clone().into_array_arg(),
        particles,
        action_dim,
    );
    Sampled {
        actions: tensor(chosen),
        indices: Tensor::<_, 1, Int>::from_primitive(indices),
        scores,
    }
}
