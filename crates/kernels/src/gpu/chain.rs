//! The denoising chain as one kernel.
//!
//! A cube takes a tile of rows through all layers and all denoising steps, their activations in
//! shared memory ([`super::layers`]). The observation's part of layer 1 is one product before the
//! launch, its time part comes with the network, noise is drawn in registers. The rows of a state do
//! not depend on how many there are.

use burn::tensor::{Shape, Tensor};
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime};
use cubecl::prelude::*;

use super::{
    UNITS, empty,
    layers::{hidden_layer, output_layer, store},
    noise::Four,
    plan::{Plan, Source, grid_of},
    primitive,
    steps::{Randomness, check_shapes, coefficients, finish, posterior, randomness, start, upload},
    tensor, tensor_cores,
};
use crate::{
    Activation, ChainNetwork, ChainNoise, Precision, StepCoefficients, chain, dense::matmul,
};

#[derive(CubeType, CubeLaunch)]
struct Network {
    /// Observation part of layer 1, `[states, hidden]`.
    per_state: Array<f32>,
    /// Time part and bias of layer 1, `[steps, hidden]`.
    step_bias: Array<f32>,
    /// Action part of layer 1, `[action_dim, hidden]`.
    first: Array<f32>,
    /// Weights of the further layers, `[in, out]`.
    weights: Sequence<Array<f32>>,
    /// Their biases.
    biases: Sequence<Array<f32>>,
}

/// Layer 1 into `a`: its observation and time parts are there already.
#[cube]
fn first_layer(
    a: &mut SharedMemory<Four<f32>>,
    x: &SharedMemory<f32>,
    network: &Network,
    t: usize,
    first_row: usize,
    rows: usize,
    #[comptime] plan: Plan,
) {
    let action_dim = comptime!(plan.output);
    let tile = comptime!(plan.tile);
    let unit = UNIT_POS as usize;
    let width = comptime!(plan.hidden[0]);
    let lanes = comptime!(Plan::lanes(plan.hidden[0]));
    let groups = comptime!(plan.groups(plan.hidden[0]));
    let columns = comptime!(plan.hidden[0].div_ceil(Plan::lanes(plan.hidden[0])));
    let vectors = comptime!(plan.vectors() / plan.groups(plan.hidden[0]));
    let lane = unit % lanes;
    let group = unit / lanes;
    if group < groups {
        let mut sums = Array::<Four<f32>>::new(comptime!(columns * vectors));
        #[unroll]
        for c in 0..columns {
            let column = usize::min(lane + c * lanes, comptime!(width - 1));
            let bias = network.step_bias[t * width + column];
            #[unroll]
            for v in 0..vectors {
                let row = (group * vectors + v) * 4;
                let mut sum = Four::<f32>::empty();
                #[unroll]
                for i in 0..4usize {
                    let global = usize::min(first_row + row + i, rows - 1);
                    let state = global / comptime!(plan.particles);
                    sum[i] = network.per_state[state * width + column] + bias;
                }
                for k in 0..action_dim {
                    let w = network.first[k * width + column];
                    #[unroll]
                    for i in 0..4usize {
                        sum[i] += x[k * tile + row + i] * w;
                    }
                }
                sums[c * vectors + v] = sum;
            }
        }
        store(a, &sums, width, comptime!(plan.clone()));
    }
}

#[cube(launch_unchecked)]
fn chain_kernel(
    network: &Network,
    coefficients: &Array<f32>,
    noise: &Randomness,
    actions: &mut Array<f32>,
    rows: usize,
    num_steps: usize,
    #[comptime] plan: Plan,
) {
    let layers = comptime!(plan.hidden.len());
    let first_row = CUBE_POS * comptime!(plan.tile);

    let mut x = SharedMemory::<f32>::new(comptime!(plan.output * plan.tile));
    let mut prediction = SharedMemory::<f32>::new(comptime!(plan.output * plan.tile));
    let mut partial =
        SharedMemory::<Four<f32>>::new(comptime!(plan.slices() * plan.output * plan.vectors()));
    let mut a = SharedMemory::<Four<f32>>::new(comptime!(plan.widest() * plan.vectors()));

    start(
        &mut x,
        noise,
        first_row,
        rows,
        num_steps,
        comptime!(plan.clone()),
    );
    sync_cube();

    for visited in 0..num_steps {
        let t = num_steps - 1 - visited;

        first_layer(
            &mut a,
            &x,
            network,
            t,
            first_row,
            rows,
            comptime!(plan.clone()),
        );
        sync_cube();

        #[unroll]
        for layer in 1..layers {
            hidden_layer(
                &mut a,
                &network.weights[comptime!(layer - 1)],
                &network.biases[comptime!(layer - 1)],
                comptime!(plan.hidden[layer - 1]),
                comptime!(plan.hidden[layer]),
                comptime!(plan.clone()),
            );
        }

        output_layer(
            &mut prediction,
            &mut partial,
            &a,
            &network.weights[comptime!(layers - 1)],
            comptime!(plan.clone()),
        );
        sync_cube();
        posterior(
            &mut x,
            &prediction,
            &network.biases[comptime!(layers - 1)],
            coefficients,
            noise,
            t,
            first_row,
            rows,
            num_steps,
            comptime!(plan.clone()),
        );
        sync_cube();
    }
    finish(actions, &x, first_row, rows, plan);
}

/// [`crate::RescoreBackend::denoise_chain`]
pub(super) fn denoise<R, T>(
    network: &ChainNetwork<CubeBackend<R, f32, i32, T>>,
    observations: Tensor<CubeBackend<R, f32, i32, T>, 2>,
    particles: usize,
    steps: &[StepCoefficients],
    noise: &ChainNoise<CubeBackend<R, f32, i32, T>>,
) -> Tensor<CubeBackend<R, f32, i32, T>, 3>
where
    R: CubeRuntime,
    T: BoolElement,
{
    let device = observations.device();
    let client = R::client(&device);
    let [states, _] = observations.dims();
    let rows = states * particles;
    let action_dim = network.action_weight.dims()[0];
    let first = network.action_weight.dims()[1];
    let rest = network
        .rest
        .split_last()
        .map_or(&[][..], |(_, hidden)| hidden);
    check_shapes(network, states, particles, steps.len(), noise);
    let hardware = &client.properties().hardware;
    let wanted = Plan {
        tile: Plan::tile_for(rows),
        particles,
        output: action_dim,
        hidden: std::iter::once(first)
            .chain(rest.iter().map(|layer| layer.weight.dims()[2]))
            .collect(),
        source: match noise {
            ChainNoise::Counter { .. } => Source::Counter,
            ChainNoise::CounterPerState { .. } => Source::CounterPerState,
            ChainNoise::Given { .. } => Source::Given,
        },
    };
    let fits = network.activation == Activation::Mish && rows > 0 && !steps.is_empty();
    if fits
        && network.precision == Precision::Bf16
        && let Some(actions) = tensor_cores::denoise(network, &observations, &wanted, steps, noise)
    {
        return actions;
    }
    // Hidden activations, noisy action and prediction, and the slices of the output's sums.
    let columns = wanted.widest() + action_dim * (2 + wanted.slices());
    // The weights and biases behind layer 1, its three parts, coefficients, counters, given noise,
    // actions, and the lengths of all.
    let bindings = 2 * network.rest.len() + 9;
    let fits =
        fits && hardware.max_units_per_cube >= UNITS && bindings <= hardware.max_bindings as usize;
    let plan = wanted.fitted(columns, hardware.max_shared_memory_size);
    let Some(plan) = plan.filter(|_| fits) else {
        return chain::denoise(network, observations, particles, steps, noise, |_, _, _| {});
    };

    let per_state = matmul(observations, network.observation_weight.clone());
    let mut weights = SequenceArg::new();
    let mut biases = SequenceArg::new();
    for layer in &network.rest {
        weights.push(primitive(layer.weight.clone()).into_array_arg());
        biases.push(primitive(layer.bias.clone()).into_array_arg());
    }
    let actions = empty(
        &client,
        &device,
        Shape::from([states, particles, action_dim]),
    );
    let coefficients = upload(&client, &coefficients(steps));
    let cubes = grid_of(&client, rows.div_ceil(plan.tile));
    // SAFETY: every index is within its buffer, whose lengths follow from the shapes that were
    // checked above: rows are capped at the last, columns at the width of the layer, and blocks of
    // weights at the last one.
    unsafe {
        chain_kernel::launch_unchecked::<R>(
            &client,
            cubes,
            CubeDim::new_1d(UNITS),
            NetworkLaunch::new(
                primitive(per_state).into_array_arg(),
                primitive(network.step_bias.clone()).into_array_arg(),
                primitive(network.action_weight.clone()).into_array_arg(),
                weights,
                biases,
            ),
            coefficients,
            randomness(&client, noise),
            actions.clone().into_array_arg(),
            rows,
            steps.len(),
            plan,
        );
    }
    tensor(actions)
}
