//! The denoising chain on tensor cores: as on the processor, the activations and the weights behind
//! layer 1 in bf16, sums, layer 1, noisy action and prediction in `f32`.
//!
//! A cube of sixteen planes (warps) takes a tile of up to 64 rows through all layers and all
//! denoising steps, as in [`super::chain`]. Planes share the columns of a layer in blocks of 16, and
//! the rows where there are more than 32. A plane's sums stay in registers until Mish of them is
//! rounded into shared memory, from where the next layer reads its blocks. Weights are packed once a
//! call, each lane's registers side by side, and copied into shared memory once a tile; layers for
//! which there is no room are read from the caches instead.
//!
//! What a step costs a multiprocessor of an H100 for 64 rows of a network with two layers of 256,
//! by count:
//! - 2112 products of 2048 multiplications: 3500 cycles at the 60% of the peak that `mma.sync`
//!   reaches; at the same time 256 KiB of weights (two groups of rows) and 256 KiB of activations
//!   out of shared memory: 4100 cycles at 128 bytes a cycle;
//! - 98,304 multiplications of layer 1 in `f32`: 770 cycles, and as much for their operands;
//! - 32,768 Mish of 16 instructions: 4200 cycles, 3100 of them with the special function units busy.
//!
//! Together about 10,000 cycles, 6 microseconds. The 136 KiB of weights come out of the second-level
//! cache once a tile instead of once a step, which would be another 4000 cycles.

mod blocks;
mod kernel;
mod layout;
mod pack;

use burn::tensor::{Shape, Tensor};
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime};
use cubecl::{
    calculate_cube_count_elemwise,
    client::ComputeClient,
    features::MmaConfig,
    ir::{ElemType, FloatKind},
    prelude::*,
};

use super::{
    UNITS, empty,
    plan::{Plan, Source, grid_of},
    primitive,
    steps::{coefficients, randomness},
    tensor,
};
use crate::{ChainNetwork, ChainNoise, StepCoefficients, dense::matmul};
use kernel::chain_kernel;
use layout::{BLOCK, COLUMNS, LANES, Layout, PLANES, WORD};
use pack::pack_kernel;

/// Multiprocessors of a device that does not say how many it has.
const MULTIPROCESSORS: u32 = 64;

/// Whether this device has what the kernel needs for a network of these widths.
pub(super) fn takes<R: CubeRuntime>(
    client: &ComputeClient<R>,
    hidden_dims: &[usize],
    action_dim: usize,
) -> bool {
    let plan = Plan {
        tile: 0,
        particles: 1,
        output: action_dim,
        hidden: hidden_dims.to_vec(),
        source: Source::Counter,
    };
    layout(client, &plan, 1).is_some()
}

/// How the kernel is laid out for `rows` rows; nothing where the device does not allow it.
fn layout<R: CubeRuntime>(client: &ComputeClient<R>, plan: &Plan, rows: usize) -> Option<Layout> {
    let hardware = &client.properties().hardware;
    let processors = hardware
        .num_streaming_multiprocessors
        .unwrap_or(MULTIPROCESSORS);
    let shared = hardware.max_shared_memory_size;
    has_tensor_cores(client)
        .then(|| Layout::new(plan, rows, processors as usize, shared))
        .flatten()
}

fn has_tensor_cores<R: CubeRuntime>(client: &ComputeClient<R>) -> bool {
    let bf16 = ElemType::Float(FloatKind::BF16).into();
    let hardware = &client.properties().hardware;
    let matmul = &client.features().matmul;
    let wanted = MmaConfig {
        a_type: bf16,
        b_type: bf16,
        cd_type: ElemType::Float(FloatKind::F32).into(),
        m: BLOCK as u32,
        n: COLUMNS as u32,
        k: BLOCK as u32,
    };
    matmul.mma.contains(&wanted)
        && matmul.ldmatrix.contains(&bf16)
        && (hardware.plane_size_min, hardware.plane_size_max) == (LANES as u32, LANES as u32)
        && hardware.max_units_per_cube >= (LANES * PLANES) as u32
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
    let states = observations.dims()[0];
    let rows = states * plan.particles;
    let layout = layout(&client, plan, rows)?;

    let count = layout.all_words();
    let words = client.empty(count * WORD);
    let words = || {
        // SAFETY: the buffer has room for so many words.
        unsafe { ArrayArg::from_raw_parts(words.clone(), count) }
    };
    let mut matrices = SequenceArg::new();
    let mut biases = SequenceArg::new();
    for layer in &network.rest {
        matrices.push(primitive(layer.weight.clone()).into_array_arg());
        biases.push(primitive(layer.bias.clone()).into_array_arg());
    }
    let cube_dim = CubeDim::new_1d(UNITS);
    // SAFETY: threads beyond the last word do nothing, weights beyond a matrix are not read.
    unsafe {
        pack_kernel::launch_unchecked::<R>(
            &client,
            calculate_cube_count_elemwise(&client, count, cube_dim),
            cube_dim,
            matrices,
            words(),
            layout.clone(),
        );
    }

    let per_state = matmul(observations.clone(), network.observation_weight.clone());
    let actions = empty(
        &client,
        &device,
        Shape::from([states, plan.particles, plan.output]),
    );
    // SAFETY: every index is within its buffer, whose lengths follow from the shapes that were
    // checked above: rows are capped at the last, columns at the width of the layer, and blocks of
    // weights at the last one.
    unsafe {
        chain_kernel::launch_unchecked::<R>(
            &client,
            grid_of(&client, rows.div_ceil(layout.plan.tile)),
            CubeDim::new_2d(LANES as u32, PLANES as u32),
            words(),
            primitive(network.action_weight.clone()).into_array_arg(),
            primitive(per_state).into_array_arg(),
            primitive(network.step_bias.clone()).into_array_arg(),
            biases,
            coefficients::<R, T>(steps, &device),
            randomness(&client, noise),
            actions.clone().into_array_arg(),
            rows,
            steps.len(),
            layout,
        );
    }
    Some(tensor(actions))
}
