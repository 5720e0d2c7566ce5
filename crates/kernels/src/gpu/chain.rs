//! The denoising chain as one kernel.
//!
//! A cube takes a tile of rows through all layers and all denoising steps. Their activations stay
//! in shared memory, laid out by column with the rows of the tile beside each other, so that a
//! thread reads four rows at once; a thread computes one column (or several) for all rows of its
//! share and reads every weight once for them, from the cache that all cubes share. The
//! observation's part of layer 1 is one product before the launch, its time part comes with the
//! network, noise is drawn in registers.
//!
//! Every row is summed in the same order whatever the tile, so the rows of a state do not depend
//! on how many there are.

use burn::tensor::{Shape, Tensor};
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime};
use cubecl::prelude::*;

use super::{
    UNITS,
    elementwise::mish_of,
    empty,
    noise::Four,
    primitive,
    steps::{
        Plan, Randomness, Source, check_shapes, coefficients, finish, posterior, randomness, start,
        upload,
    },
    tensor, tensor_cores,
};
use crate::{
    Activation, ChainNetwork, ChainNoise, Precision, StepCoefficients, chain, dense::matmul,
};

impl Plan {
    /// Vectors of four rows in a tile.
    fn vectors(&self) -> usize {
        self.tile / 4
    }

    pub(super) fn widest(&self) -> usize {
        self.hidden.iter().copied().max().unwrap_or(0)
    }

    /// How many threads side by side cover the columns of a layer `width` columns wide; each takes
    /// every `lanes`-th column.
    fn lanes(width: usize) -> usize {
        width.next_power_of_two().clamp(8, UNITS as usize)
    }

    /// How many groups of threads share the rows of a tile.
    fn groups(&self, width: usize) -> usize {
        (UNITS as usize / Self::lanes(width)).min(self.vectors())
    }

    /// Into how many slices the sums of the output layer are cut, so that few columns occupy more
    /// threads. A function of the width alone: it is the order of summation.
    fn slices(&self) -> usize {
        (UNITS as usize / (Self::lanes(self.action_dim) * MAX_TILE / 4)).clamp(1, 8)
    }

    /// Bytes of shared memory.
    fn shared_bytes(&self) -> usize {
        let rows = self.widest() + self.action_dim * (2 + self.slices());
        rows * self.tile * size_of::<f32>()
    }
}

/// The largest tile.
const MAX_TILE: usize = 16;

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
    let action_dim = comptime!(plan.action_dim);
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

/// `a` times the weights of layer `width` columns wide, for the columns and rows of this thread, and
/// Mish, back into `a`.
#[cube]
fn hidden_layer(
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
fn store(
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
fn output_layer(
    prediction: &mut SharedMemory<f32>,
    partial: &mut SharedMemory<Four<f32>>,
    a: &SharedMemory<Four<f32>>,
    weight: &Array<f32>,
    #[comptime] plan: Plan,
) {
    let action_dim = comptime!(plan.action_dim);
    let tile = comptime!(plan.tile);
    let all = comptime!(plan.vectors());
    let unit = UNIT_POS as usize;
    let inputs = comptime!(plan.hidden[plan.hidden.len() - 1]);
    let slices = comptime!(plan.slices());
    let length = comptime!(inputs.div_ceil(slices));
    let mut item = unit;
    while item < comptime!(plan.slices() * plan.action_dim * plan.vectors()) {
        let column = item % action_dim;
        let vector = item / action_dim % all;
        let slice = item / (action_dim * all);
        let mut sum = Four::<f32>::new(0.0);
        let end = usize::min((slice + 1) * length, inputs);
        for k in slice * length..end {
            sum += a[k * all + vector] * Four::new(weight[k * action_dim + column]);
        }
        partial[item] = sum;
        item += UNITS as usize;
    }
    sync_cube();
    let mut item = unit;
    while item < comptime!(plan.action_dim * plan.vectors()) {
        let column = item % action_dim;
        let vector = item / action_dim;
        let mut sum = Four::<f32>::new(0.0);
        #[unroll]
        for slice in 0..slices {
            sum += partial[slice * comptime!(plan.action_dim * plan.vectors()) + item];
        }
        #[unroll]
        for i in 0..4usize {
            prediction[column * tile + vector * 4 + i] = sum[i];
        }
        item += UNITS as usize;
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

    let mut x = SharedMemory::<f32>::new(comptime!(plan.action_dim * plan.tile));
    let mut prediction = SharedMemory::<f32>::new(comptime!(plan.action_dim * plan.tile));
    let mut partial =
        SharedMemory::<Four<f32>>::new(comptime!(plan.slices() * plan.action_dim * plan.vectors()));
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

/// The tile for `rows` rows on a device with `shared` bytes of shared memory for a cube: small
/// where there are few rows, so that all of the device works; none where not even the smallest
/// fits.
fn plan(mut plan: Plan, rows: usize, shared: usize) -> Option<Plan> {
    plan.tile = match rows {
        ..1024 => 4,
        1024..4096 => 8,
        _ => MAX_TILE,
    };
    while plan.shared_bytes() > shared {
        plan.tile /= 2;
        if plan.tile < 4 {
            return None;
        }
    }
    Some(plan)
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
        tile: MAX_TILE,
        particles,
        action_dim,
        hidden: std::iter::once(first)
            .chain(rest.iter().map(|layer| layer.weight.dims()[1]))
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
    let plan = plan(wanted, rows, hardware.max_shared_memory_size)
        .filter(|_| fits && hardware.max_units_per_cube >= UNITS);
    let Some(plan) = plan else {
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
    let cubes = CubeCount::Static(rows.div_ceil(plan.tile) as u32, 1, 1);
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
