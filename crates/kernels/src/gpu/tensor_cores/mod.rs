//! The denoising chain on tensor cores: weights and activations in bf16, sums in `f32`.
//!
//! A cube takes a tile of rows through all layers and all denoising steps, as in [`super::chain`].
//! Here its eight planes (warps) share the columns of a layer in blocks of 16. A plane holds the
//! sums of its blocks for all rows of the tile in registers until all planes have read the layer's
//! input, which the output then replaces. Weights are rounded and padded to blocks of 16 once a
//! call. The noisy action itself stays in `f32` and is rounded where layer 1 reads it.

mod blocks;

use burn::tensor::{Shape, Tensor, bf16};
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime};
use cubecl::{
    calculate_cube_count_elemwise,
    client::ComputeClient,
    features::MmaConfig,
    ir::{ElemType, FloatKind},
    prelude::*,
};

use blocks::{activate, no_sums, output_layer, products, round};

use super::{
    UNITS, empty,
    plan::{Plan, grid_of},
    primitive,
    steps::{Randomness, coefficients, finish, posterior, randomness, start, upload},
    tensor,
};
use crate::{ChainNetwork, ChainNoise, StepCoefficients, dense::matmul};

/// Side of the blocks that tensor cores multiply.
const BLOCK: usize = 16;
/// Rows of a tile.
pub(super) const TILE: usize = 64;
/// Blocks of rows in a tile.
const ROW_BLOCKS: usize = TILE / BLOCK;
/// Threads of a plane.
const LANES: u32 = 32;
/// Planes of a cube.
const PLANES: usize = (UNITS / LANES) as usize;
/// Columns between two rows of activations beyond their width, so that the rows of a block lie in
/// different banks of the shared memory.
const SKEW: usize = 8;

/// `width` filled up to whole blocks.
const fn padded(width: usize) -> usize {
    width.next_multiple_of(BLOCK)
}

/// Columns from one row of activations to the next.
fn stride(plan: &Plan) -> usize {
    padded(plan.widest()) + SKEW
}

/// Inputs and outputs of every layer, the action part of the first included.
fn layers(plan: &Plan) -> Vec<[usize; 2]> {
    let mut widths = vec![plan.output];
    widths.extend(&plan.hidden);
    widths.push(plan.output);
    widths.windows(2).map(|pair| [pair[0], pair[1]]).collect()
}

/// Where the weights of layer `layer` begin among all.
fn offset(plan: &Plan, layer: usize) -> usize {
    let size = |[inputs, outputs]: &[usize; 2]| padded(*inputs) * padded(*outputs);
    layers(plan).iter().take(layer).map(size).sum()
}

/// Bytes of shared memory for a network whose widest hidden layer has `widest` columns.
fn shared_bytes(widest: usize, action_dim: usize) -> usize {
    let halves = padded(widest) + SKEW + padded(action_dim) + SKEW;
    let singles = action_dim + padded(action_dim);
    TILE * (2 * halves + 4 * singles) + PLANES * BLOCK * BLOCK * 4
}

/// Whether this device has what the kernel needs for a network of these widths.
pub(super) fn takes<R: CubeRuntime>(
    client: &ComputeClient<R>,
    hidden_dims: &[usize],
    action_dim: usize,
) -> bool {
    let widest = hidden_dims.iter().copied().max().unwrap_or(0);
    let shared = client.properties().hardware.max_shared_memory_size;
    has_tensor_cores(client) && shared_bytes(widest, action_dim) <= shared
}

fn has_tensor_cores<R: CubeRuntime>(client: &ComputeClient<R>) -> bool {
    let float = |kind| ElemType::Float(kind).into();
    let block = BLOCK as u32;
    let hardware = &client.properties().hardware;
    let wanted = MmaConfig {
        a_type: float(FloatKind::BF16),
        b_type: float(FloatKind::BF16),
        cd_type: float(FloatKind::F32),
        m: block,
        n: block,
        k: block,
    };
    client.features().matmul.cmma.contains(&wanted)
        && (hardware.plane_size_min, hardware.plane_size_max) == (LANES, LANES)
        && hardware.max_units_per_cube >= UNITS
}

/// Rounds a matrix and fills it up to whole blocks with zeros.
#[cube(launch)]
fn pack_kernel(
    from: &Array<f32>,
    to: &mut Array<bf16>,
    begin: usize,
    #[comptime] inputs: usize,
    #[comptime] outputs: usize,
) {
    let columns = comptime!(padded(outputs));
    let row = ABSOLUTE_POS / columns;
    let column = ABSOLUTE_POS % columns;
    if row < comptime!(padded(inputs)) {
        let mut value = 0.0f32;
        if row < inputs && column < outputs {
            value = from[row * outputs + column];
        }
        to[begin + ABSOLUTE_POS] = bf16::cast_from(value);
    }
}

#[cube(launch_unchecked)]
fn chain_kernel(
    weights: &Array<bf16>,
    per_state: &Array<f32>,
    step_bias: &Array<f32>,
    biases: &Sequence<Array<f32>>,
    coefficients: &Array<f32>,
    noise: &Randomness,
    actions: &mut Array<f32>,
    rows: usize,
    num_steps: usize,
    #[comptime] plan: Plan,
) {
    let action_dim = comptime!(plan.output);
    let action_stride = comptime!(padded(plan.output) + SKEW);
    let width = comptime!(stride(&plan));
    let count = comptime!(plan.hidden.len());
    let first_row = CUBE_POS * TILE;

    let mut a = SharedMemory::<bf16>::new(comptime!(TILE * stride(&plan)));
    let mut rounded = SharedMemory::<bf16>::new(comptime!(TILE * (padded(plan.output) + SKEW)));
    let mut scratch = SharedMemory::<f32>::new(comptime!(PLANES * BLOCK * BLOCK));
    let mut prediction = SharedMemory::<f32>::new(comptime!(TILE * padded(plan.output)));
    let mut x = SharedMemory::<f32>::new(comptime!(TILE * plan.output));

    start(
        &mut x,
        noise,
        first_row,
        rows,
        num_steps,
        comptime!(plan.clone()),
    );
    sync_cube();
    round(&mut rounded, &x, comptime!(plan.clone()));
    sync_cube();

    for visited in 0..num_steps {
        let t = num_steps - 1 - visited;

        let mut sums = no_sums(comptime!(plan.hidden[0]));
        products(
            &mut sums,
            &rounded,
            weights,
            action_stride,
            0usize,
            action_dim,
            comptime!(plan.hidden[0]),
        );
        activate(
            &mut a,
            &mut scratch,
            &sums,
            step_bias,
            t * comptime!(plan.hidden[0]),
            per_state,
            first_row,
            rows,
            true,
            comptime!(plan.hidden[0]),
            comptime!(plan.clone()),
        );
        sync_cube();

        #[unroll]
        for layer in 1..count {
            let mut sums = no_sums(comptime!(plan.hidden[layer]));
            products(
                &mut sums,
                &a,
                weights,
                width,
                comptime!(offset(&plan, layer)),
                comptime!(plan.hidden[layer - 1]),
                comptime!(plan.hidden[layer]),
            );
            // The output takes the input's place when all planes have read it.
            sync_cube();
            activate(
                &mut a,
                &mut scratch,
                &sums,
                &biases[comptime!(layer - 1)],
                0usize,
                per_state,
                first_row,
                rows,
                false,
                comptime!(plan.hidden[layer]),
                comptime!(plan.clone()),
            );
            sync_cube();
        }

        output_layer(&mut prediction, &a, weights, comptime!(plan.clone()));
        sync_cube();
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
            comptime!(plan.clone()),
        );
        sync_cube();
        round(&mut rounded, &x, comptime!(plan.clone()));
        sync_cube();
    }
    finish(actions, &x, first_row, rows, plan);
}

/// [`crate::RescoreBackend::denoise_chain`] in bf16; nothing where the device or its shared memory
/// does not allow it.
pub(super) fn denoise<R, T>(
    network: &ChainNetwork<CubeBackend<R, f32, i32, T>>,
    observations: &Tensor<CubeBackend<R, f32, i32, T>, 2>,
    plan: &Plan,
    steps: &[StepCoefficients],
    noise: &ChainNoise<CubeBackend<R, f32, i32, T>>,
) -> Option<Tensor<CubeBackend<R, f32, i32, T>, 3>>
where
    R: CubeRuntime,
    T: BoolElement,
{
    let device = observations.device();
    let client = R::client(&device);
    if !takes(&client, &plan.hidden, plan.output) {
        return None;
    }
    let plan = Plan {
        tile: TILE,
        ..plan.clone()
    };
    let states = observations.dims()[0];
    let rows = states * plan.particles;

    let layers = layers(&plan);
    let size = offset(&plan, layers.len());
    let weights = client.empty(size * size_of::<bf16>());
    let array = || {
        // SAFETY: the buffer has room for so many values.
        unsafe { ArrayArg::from_raw_parts(weights.clone(), size) }
    };
    let action_weight = std::iter::once(primitive(network.action_weight.clone()));
    let rest = network.rest.iter();
    let matrices = action_weight.chain(rest.map(|layer| primitive(layer.weight.clone())));
    for (index, (matrix, [inputs, outputs])) in matrices.zip(layers).enumerate() {
        let cube_dim = CubeDim::new_1d(UNITS);
        let count = padded(inputs) * padded(outputs);
        pack_kernel::launch::<R>(
            &client,
            calculate_cube_count_elemwise(&client, count, cube_dim),
            cube_dim,
            matrix.into_array_arg(),
            array(),
            offset(&plan, index),
            inputs,
            outputs,
        );
    }

    let per_state = matmul(observations.clone(), network.observation_weight.clone());
    let mut biases = SequenceArg::new();
    for layer in &network.rest {
        biases.push(primitive(layer.bias.clone()).into_array_arg());
    }
    let shape = Shape::from([states, plan.particles, plan.output]);
    let actions = empty(&client, &device, shape);
    // SAFETY: every index is within its buffer, whose lengths follow from the shapes that were
    // checked above: rows are capped at the last, columns at the width of the layer, and blocks of
    // weights at the last one.
    unsafe {
        chain_kernel::launch_unchecked::<R>(
            &client,
            grid_of(&client, rows.div_ceil(TILE)),
            CubeDim::new_2d(LANES, PLANES as u32),
            array(),
            primitive(per_state).into_array_arg(),
            primitive(network.step_bias.clone()).into_array_arg(),
            biases,
            upload(&client, &coefficients(steps)),
            randomness(&client, noise),
            actions.clone().into_array_arg(),
            rows,
            steps.len(),
            plan,
        );
    }
    Some(tensor(actions))
}
