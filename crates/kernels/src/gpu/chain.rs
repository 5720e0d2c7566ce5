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
    layers::{hidden_layer, line_of, output_layer, store},
    noise::Four,
    plan::{Plan, Source, grid_of, multiprocessors},
    primitive,
    steps::{Randomness, check_shapes, coefficients, finish, posterior, randomness, start},
    tensor, tensor_cores,
};
use crate::{
    Activation, ChainNetwork, ChainNoise, Precision, StepCoefficients, chain, dense::matmul,
};

/// Layer 1 of a network: its observation and time parts are computed.
#[derive(CubeType, CubeLaunch)]
struct First {
    /// Observation part, `[states, hidden]`.
    per_state: Array<f32>,
    /// Time part and bias, `[steps, hidden]`.
    step_bias: Array<f32>,
}

/// Layer 1 into `a`; `weight` is its action part, `[action_dim, hidden]`.
#[cube]
fn first_layer<N: Size>(
    a: &mut SharedMemory<Four<f32>>,
    x: &SharedMemory<f32>,
    first: &First,
    weight: &Array<Vector<f32, N>>,
    t: usize,
    first_row: usize,
    rows: usize,
    #[comptime] plan: Plan,
) {
    let action_dim = comptime!(plan.output);
    let tile = comptime!(plan.tile);
    let width = comptime!(plan.hidden[0]);
    let line = comptime!(plan.line());
    let turns = comptime!(plan.turns(plan.hidden[0]));
    let share = comptime!(plan.share(plan.hidden[0]));
    let row = comptime!(plan.hidden[0] / plan.line());
    // The rows of a thread are one state's where the particles of a state fill its share.
    let one_state = comptime!(
        plan.particles
            .is_multiple_of(4 * plan.share(plan.hidden[0]))
    );
    let group = usize::min(
        UNIT_POS as usize / comptime!(plan.lanes(plan.hidden[0])),
        comptime!(plan.groups(plan.hidden[0]) - 1),
    );
    let mut sums = Array::<Four<f32>>::new(comptime!(
        plan.turns(plan.hidden[0]) * plan.line() * plan.share(plan.hidden[0])
    ));
    let mut states = Array::<usize>::new(comptime!(plan.share(plan.hidden[0]) * 4));
    #[unroll]
    for i in 0..comptime!(plan.share(plan.hidden[0]) * 4) {
        if comptime!(i == 0 || !one_state) {
            let global = usize::min(first_row + group * share * 4 + i, rows - 1);
            states[i] = global / comptime!(plan.particles);
        } else {
            states[i] = states[0];
        }
    }
    #[unroll]
    for turn in 0..turns {
        let at = line_of(turn, width, comptime!(plan.clone()));
        #[unroll]
        for i in 0..line {
            let column = at * line + i;
            let bias = first.step_bias[t * width + column];
            #[unroll]
            for v in 0..share {
                let mut sum = Four::<f32>::empty();
                #[unroll]
                for r in 0..4usize {
                    sum[r] = first.per_state[states[v * 4 + r] * width + column] + bias;
                }
                sums[(turn * line + i) * share + v] = sum;
            }
        }
        for k in 0..action_dim {
            let weights = weight[k * row + at];
            #[unroll]
            for v in 0..share {
                let place = k * tile + (group * share + v) * 4;
                let mut values = Four::<f32>::empty();
                #[unroll]
                for r in 0..4usize {
                    values[r] = x[place + r];
                }
                #[unroll]
                for i in 0..line {
                    sums[(turn * line + i) * share + v] += values * Four::new(weights[i]);
                }
            }
        }
    }
    store(a, &sums, width, Activation::Mish, plan);
}

/// `weights` are those of the hidden layers, the action part of the first included, `last` that of the
/// output; `biases` those of all layers behind the first.
#[cube(launch_unchecked)]
fn chain_kernel<N: Size>(
    first: &First,
    weights: &Sequence<Array<Vector<f32, N>>>,
    last: &Array<f32>,
    biases: &Sequence<Array<f32>>,
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

        first_layer::<N>(
            &mut a,
            &x,
            first,
            &weights[0],
            t,
            first_row,
            rows,
            comptime!(plan.clone()),
        );
        sync_cube();

        #[unroll]
        for layer in 1..layers {
            hidden_layer::<N>(
                &mut a,
                &weights[comptime!(layer)],
                &biases[comptime!(layer - 1)],
                0usize,
                comptime!(plan.hidden[layer - 1]),
                comptime!(plan.hidden[layer]),
                Activation::Mish,
                comptime!(plan.clone()),
            );
        }

        output_layer(
            &mut prediction,
            &mut partial,
            &a,
            last,
            0usize,
            comptime!(plan.clone()),
        );
        sync_cube();
        posterior(
            &mut x,
            &prediction,
            &biases[comptime!(layers - 1)],
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
        tile: Plan::tile_for(rows, multiprocessors(&client)),
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
    let fits = network.activation == Activation::Mish
        && rows > 0
        && !steps.is_empty()
        && !network.rest.is_empty();
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
    let mut hidden = SequenceArg::new();
    let mut biases = SequenceArg::new();
    hidden.push(primitive(network.action_weight.clone()).into_array_arg());
    let (last, between) = (network.rest.split_last()).expect("a network has an output layer");
    for layer in between {
        hidden.push(primitive(layer.weight.clone()).into_array_arg());
    }
    for layer in &network.rest {
        biases.push(primitive(layer.bias.clone()).into_array_arg());
    }
    let actions = empty(
        &client,
        &device,
        Shape::from([states, particles, action_dim]),
    );
    let coefficients = coefficients::<R, T>(steps, &device);
    let cubes = grid_of(&client, rows.div_ceil(plan.tile));
    // SAFETY: every index is within its buffer, whose lengths follow from the shapes that were
    // checked above: rows are capped at the last, columns at the width of the layer, and blocks of
    // weights at the last one.
    unsafe {
        chain_kernel::launch_unchecked::<R>(
            &client,
            cubes,
            CubeDim::new_1d(UNITS),
            plan.line(),
            FirstLaunch::new(
                primitive(per_state).into_array_arg(),
                primitive(network.step_bias.clone()).into_array_arg(),
            ),
            hidden,
            primitive(last.weight.clone()).into_array_arg(),
            biases,
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
