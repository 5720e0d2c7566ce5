//! What both chain kernels do beside the network: noise, the start, the posterior of a denoising
//! step, the result; and what they are launched with.
//!
//! The noisy action `x` and the network's prediction lie in shared memory by column, the rows of a
//! tile beside each other.

use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, tensor::CubeTensor};
use cubecl::{client::ComputeClient, prelude::*};

use super::{
    UNITS,
    noise::{Four, normals},
    plan::{Plan, Source},
    primitive,
};
use crate::{ChainNetwork, ChainNoise, NoiseKey, StepCoefficients, constant};

/// Numbers of one denoising step on the device.
const COEFFICIENTS: usize = 5;

#[derive(CubeType, CubeLaunch)]
pub(super) struct Randomness {
    pub(super) key0: u32,
    pub(super) key1: u32,
    pub(super) start_scale: f32,
    /// One counter, or one a state.
    pub(super) counters: Array<u32>,
    /// Given numbers: the start, then the steps in the order in which they are visited.
    pub(super) given: Sequence<Array<f32>>,
}

/// Four numbers for the columns of block `block` of a row: of the start where `step` is the number
/// of steps, of a denoising step otherwise.
#[cube]
fn draw(
    noise: &Randomness,
    row: usize,
    block: usize,
    step: usize,
    num_steps: usize,
    rows: usize,
    #[comptime] plan: Plan,
) -> Four<f32> {
    let key = (noise.key0, noise.key1);
    let mut values = Four::<f32>::empty();
    if comptime!(plan.source == Source::Counter) {
        let counter = noise.counters[0];
        values = normals(key, row as u32, block as u32, step as u32, counter);
    } else if comptime!(plan.source == Source::CounterPerState) {
        let state = row / comptime!(plan.particles);
        let particle = row % comptime!(plan.particles);
        let counter = noise.counters[state];
        values = normals(key, particle as u32, block as u32, step as u32, counter);
    } else {
        #[unroll]
        for lane in 0..4usize {
            let column = block * 4 + lane;
            if column < comptime!(plan.output) {
                let place = row * comptime!(plan.output) + column;
                if step == num_steps {
                    values[lane] = noise.given[0][place];
                } else {
                    let visited = num_steps - 1 - step;
                    values[lane] = noise.given[1][visited * rows * comptime!(plan.output) + place];
                }
            }
        }
    }
    values
}

/// `x_T` of the tile.
#[cube]
pub(super) fn start(
    x: &mut SharedMemory<f32>,
    noise: &Randomness,
    first_row: usize,
    rows: usize,
    num_steps: usize,
    #[comptime] plan: Plan,
) {
    let tile = comptime!(plan.tile);
    let mut item = UNIT_POS as usize;
    while item < comptime!(plan.tile * plan.output.div_ceil(4)) {
        let row = item % tile;
        let block = item / tile;
        // Rows beyond the last fill the tile up.
        let global = usize::min(first_row + row, rows - 1);
        let values = draw(
            noise,
            global,
            block,
            num_steps,
            num_steps,
            rows,
            comptime!(plan.clone()),
        );
        #[unroll]
        for lane in 0..4usize {
            let column = block * 4 + lane;
            if column < comptime!(plan.output) {
                x[column * tile + row] = values[lane] * noise.start_scale;
            }
        }
        item += UNITS as usize;
    }
}

/// Denoising step `t`: the clean action that the network predicts, and the posterior given it.
#[cube]
pub(super) fn posterior(
    x: &mut SharedMemory<f32>,
    prediction: &SharedMemory<f32>,
    bias: &Array<f32>,
    coefficients: &Array<f32>,
    noise: &Randomness,
    t: usize,
    first_row: usize,
    rows: usize,
    num_steps: usize,
    #[comptime] plan: Plan,
) {
    let tile = comptime!(plan.tile);
    let c = t * COEFFICIENTS;
    let mut item = UNIT_POS as usize;
    while item < comptime!(plan.tile * plan.output.div_ceil(4)) {
        let row = item % tile;
        let block = item / tile;
        let mut z = Four::<f32>::new(0.0);
        if t > 0 {
            let global = usize::min(first_row + row, rows - 1);
            z = draw(
                noise,
                global,
                block,
                t,
                num_steps,
                rows,
                comptime!(plan.clone()),
            );
        }
        #[unroll]
        for lane in 0..4usize {
            let column = block * 4 + lane;
            if column < comptime!(plan.output) {
                let place = column * tile + row;
                let e = prediction[place] + bias[column];
                let x0 = x[place] * coefficients[c] - e * coefficients[c + 1];
                // What a device makes of a NaN between bounds differs.
                let clean = select(x0.is_nan(), x0, clamp(x0, -1.0, 1.0));
                x[place] = clean * coefficients[c + 2]
                    + x[place] * coefficients[c + 3]
                    + z[lane] * coefficients[c + 4];
            }
        }
        item += UNITS as usize;
    }
}

/// The rows of the tile into `actions`.
#[cube]
pub(super) fn finish(
    actions: &mut Array<f32>,
    x: &SharedMemory<f32>,
    first_row: usize,
    rows: usize,
    #[comptime] plan: Plan,
) {
    let action_dim = comptime!(plan.output);
    let mut item = UNIT_POS as usize;
    while item < comptime!(plan.tile * plan.output) {
        let row = item / action_dim;
        let column = item % action_dim;
        if first_row + row < rows {
            actions[first_row * action_dim + item] = x[column * comptime!(plan.tile) + row];
        }
        item += UNITS as usize;
    }
}

/// Requires the shapes that the kernels count on.
pub(super) fn check_shapes<R, T>(
    network: &ChainNetwork<CubeBackend<R, f32, i32, T>>,
    states: usize,
    particles: usize,
    num_steps: usize,
    noise: &ChainNoise<CubeBackend<R, f32, i32, T>>,
) where
    R: CubeRuntime,
    T: BoolElement,
{
    let [action_dim, hidden] = network.action_weight.dims();
    let mut inputs = hidden;
    for layer in &network.rest {
        let [_, rows, columns] = layer.weight.dims();
        assert_eq!(
            (rows, layer.bias.dims()),
            (inputs, [1, 1, columns]),
            "layers do not fit"
        );
        inputs = columns;
    }
    assert_eq!(inputs, action_dim, "the output is no action");
    assert_eq!(
        network.observation_weight.dims()[1],
        hidden,
        "observation part of layer 1"
    );
    assert_eq!(
        network.step_bias.dims(),
        [num_steps, hidden],
        "time part of layer 1"
    );
    match noise {
        ChainNoise::Counter { .. } => {}
        ChainNoise::CounterPerState { counters, .. } => {
            assert_eq!(counters.len(), states, "a counter for each state");
        }
        ChainNoise::Given {
            start,
            steps: normals,
        } => {
            let shape = [states, particles, action_dim];
            assert_eq!(start.dims(), shape, "given start");
            let shape = [num_steps, states, particles, action_dim];
            assert_eq!(normals.dims(), shape, "given steps");
        }
    }
}

/// The coefficients in the order of their use on a device; no noise at step 0.
pub(super) fn coefficients<R, T>(steps: &[StepCoefficients], device: &R::Device) -> ArrayArg<R>
where
    R: CubeRuntime,
    T: BoolElement,
{
    let mut values = Vec::with_capacity(steps.len() * COEFFICIENTS);
    for (t, step) in steps.iter().enumerate() {
        values.extend([
            step.sqrt_recip_alpha_bar,
            step.sqrt_recip_alpha_bar_minus_one,
            step.posterior_x0,
            step.posterior_xt,
            if t > 0 { step.sigma } else { 0.0 },
        ]);
    }
    let length = values.len();
    let values = constant::<CubeBackend<R, f32, i32, T>, 1>(values, [length], device);
    primitive(values).into_array_arg()
}

fn upload<R: CubeRuntime, E: CubeElement>(client: &ComputeClient<R>, values: &[E]) -> ArrayArg<R> {
    let handle = client.create_from_slice(E::as_bytes(values));
    // SAFETY: the buffer was made for these values and has their number.
    unsafe { ArrayArg::from_raw_parts(handle, values.len()) }
}

pub(super) fn randomness<R, T>(
    client: &ComputeClient<R>,
    noise: &ChainNoise<CubeBackend<R, f32, i32, T>>,
) -> RandomnessLaunch<R>
where
    R: CubeRuntime,
    T: BoolElement,
{
    let drawn = |key: NoiseKey, scale: f32, counters: &[u32]| {
        let [key0, key1] = key.words();
        RandomnessLaunch::new(
            key0,
            key1,
            scale,
            upload(client, counters),
            SequenceArg::new(),
        )
    };
    match noise {
        ChainNoise::Counter {
            key,
            counter,
            start_scale,
        } => drawn(*key, *start_scale, &[*counter]),
        ChainNoise::CounterPerState {
            key,
            counters,
            start_scale,
        } => drawn(*key, *start_scale, counters),
        ChainNoise::Given { start, steps } => {
            let mut given = SequenceArg::new();
            let start: CubeTensor<R> = primitive(start.clone());
            given.push(start.into_array_arg());
            given.push(primitive(steps.clone()).into_array_arg());
            RandomnessLaunch::new(0, 0, 1.0, upload(client, &[0_u32]), given)
        }
    }
}
