//! Training a stack of layers in three kernels: a tile of rows forward through all layers, a tile
//! backward, and the gradients of all weights.
//!
//! Forward and backward a cube takes a tile of rows of one network, its activations in shared memory
//! ([`super::layers`]). What the hidden layers give before and after their activation stays in one
//! buffer, what the loss says of them in another. A gradient of weights is a product over the rows: all
//! of them, of all layers and networks, are the tiles of one launch, and biases are the weights of an
//! input that is always 1.

use burn::tensor::{Shape, Tensor, TensorMetadata as _, ops::FloatTensor};
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, tensor::CubeTensor};
use cubecl::{client::ComputeClient, prelude::*};

use super::{
    UNITS,
    elementwise::{slope_of, value_of},
    empty,
    layers::{output_layer, sums_of},
    noise::Four,
    plan::{Plan, Source, grid_of, multiprocessors},
    primitive,
    product::{SIDE, accumulate, depth, no_sums, slice_length},
    tensor,
};
use crate::{
    Activation, Layer, Stack,
    backend::stack,
    stack::{StackGradients, StackPass, StackWanted},
};

/// Where the values of hidden layer `layer` before its activation begin in the buffer that the forward
/// pass keeps; those after it follow. `rows` are those of all networks.
#[cube]
fn kept_at(rows: usize, #[comptime] layer: usize, #[comptime] plan: Plan) -> usize {
    rows * comptime!(2 * before(&plan, layer))
}

/// Columns of the hidden layers before `layer`.
fn before(plan: &Plan, layer: usize) -> usize {
    plan.hidden[..layer].iter().sum()
}

/// The tile of `x` `[rows, inputs]` from `first_row` on, by column; `begin` is where `x` begins.
#[cube]
fn load(
    a: &mut SharedMemory<Four<f32>>,
    x: &Array<f32>,
    begin: usize,
    first_row: usize,
    rows: usize,
    #[comptime] inputs: usize,
    #[comptime] plan: Plan,
) {
    let mut item = UNIT_POS as usize;
    while item < comptime!(inputs * plan.vectors()) {
        let column = item % inputs;
        let vector = item / inputs;
        let mut values = Four::<f32>::empty();
        #[unroll]
        for i in 0..4usize {
            // Rows beyond the last fill the tile up.
            let row = usize::min(first_row + vector * 4 + i, rows - 1);
            values[i] = x[begin + row * inputs + column];
        }
        a[column * comptime!(plan.vectors()) + vector] = values;
        item += UNITS as usize;
    }
}

/// The activation of the sums of this thread, into `a`, and both into `kept`.
#[cube]
fn store(
    a: &mut SharedMemory<Four<f32>>,
    kept: &mut Array<f32>,
    sums: &Array<Four<f32>>,
    begin: usize,
    behind: usize,
    first_row: usize,
    rows: usize,
    #[comptime] keep: bool,
    #[comptime] width: usize,
    #[comptime] activation: Activation,
    #[comptime] plan: Plan,
) {
    let line = comptime!(plan.line());
    let turns = comptime!(plan.turns(width));
    let share = comptime!(plan.share(width));
    let lane = UNIT_POS as usize % comptime!(plan.lanes(width));
    let group = UNIT_POS as usize / comptime!(plan.lanes(width));
    if group < comptime!(plan.groups(width)) {
        #[unroll]
        for turn in 0..turns {
            let at = lane + turn * comptime!(plan.lanes(width));
            if at < comptime!(width / plan.line()) {
                #[unroll]
                for v in 0..share {
                    #[unroll]
                    for i in 0..line {
                        let column = at * line + i;
                        let sum = sums[(turn * line + i) * share + v];
                        let mut activated = Four::<f32>::empty();
                        #[unroll]
                        for r in 0..4usize {
                            activated[r] = value_of(sum[r], activation);
                            let row = first_row + (group * share + v) * 4 + r;
                            if comptime!(keep) && row < rows {
                                kept[begin + row * width + column] = sum[r];
                                kept[begin + behind + row * width + column] = activated[r];
                            }
                        }
                        a[column * comptime!(plan.vectors()) + group * share + v] = activated;
                    }
                }
            }
        }
    }
}

/// Outputs `[members, rows, out]` for `x` `[members, rows, in]`, or `[1, rows, in]` where `shared`.
/// `weights` are those of the hidden layers, `last` those of the output.
#[cube(launch_unchecked)]
fn forward_kernel<N: Size>(
    x: &Array<f32>,
    weights: &Sequence<Array<Vector<f32, N>>>,
    last: &Array<f32>,
    biases: &Sequence<Array<f32>>,
    output: &mut Array<f32>,
    kept: &mut Array<f32>,
    rows: usize,
    members: usize,
    shared: usize,
    #[comptime] inputs: usize,
    #[comptime] keep: bool,
    #[comptime] activation: Activation,
    #[comptime] plan: Plan,
) {
    let layers = comptime!(plan.hidden.len());
    let tiles = rows.div_ceil(comptime!(plan.tile));
    // A grid may have a few cubes more than there are tiles: they repeat the last.
    let cube = usize::min(CUBE_POS, members * tiles - 1);
    let member = cube / tiles;
    let first_row = cube % tiles * comptime!(plan.tile);

    let mut a = SharedMemory::<Four<f32>>::new(comptime!(
        usize::max(plan.widest(), inputs) * plan.vectors()
    ));
    let mut prediction = SharedMemory::<f32>::new(comptime!(plan.output * plan.tile));
    let mut partial =
        SharedMemory::<Four<f32>>::new(comptime!(plan.slices() * plan.output * plan.vectors()));

    let begin = select(shared == 1, 0, member * rows * inputs);
    load(
        &mut a,
        x,
        begin,
        first_row,
        rows,
        inputs,
        comptime!(plan.clone()),
    );
    sync_cube();
    #[unroll]
    for layer in 0..layers {
        let width = comptime!(plan.hidden[layer]);
        let before = comptime!(if layer == 0 {
            inputs
        } else {
            plan.hidden[layer - 1]
        });
        let sums = sums_of::<N>(
            &a,
            &weights[layer],
            &biases[layer],
            member,
            before,
            width,
            comptime!(plan.clone()),
        );
        sync_cube();
        let all = members * rows;
        store(
            &mut a,
            kept,
            &sums,
            kept_at(all, layer, comptime!(plan.clone())) + member * rows * width,
            all * width,
            first_row,
            rows,
            keep,
            width,
            activation,
            comptime!(plan.clone()),
        );
        sync_cube();
    }
    output_layer(
        &mut prediction,
        &mut partial,
        &a,
        last,
        member,
        comptime!(plan.clone()),
    );
    sync_cube();
    let columns = comptime!(plan.output);
    let mut item = UNIT_POS as usize;
    while item < comptime!(plan.tile * plan.output) {
        let row = item / columns;
        let column = item % columns;
        if first_row + row < rows {
            let bias = biases[layers][member * columns + column];
            output[(member * rows + first_row + row) * columns + column] =
                prediction[column * comptime!(plan.tile) + row] + bias;
        }
        item += UNITS as usize;
    }
}

/// Weights that a thread of the backward pass reads ahead.
const AHEAD: usize = 8;

/// Adds what outputs beside each other contribute.
#[cube]
fn add_backward<N: Size>(
    sums: &mut Array<Four<f32>>,
    d: &SharedMemory<Four<f32>>,
    weights: Vector<f32, N>,
    place: usize,
    #[comptime] line: usize,
    #[comptime] share: usize,
    #[comptime] all: usize,
) {
    #[unroll]
    for i in 0..line {
        #[unroll]
        for v in 0..share {
            sums[v] += d[place + i * all + v] * Four::new(weights[i]);
        }
    }
}

/// What the loss says of input `k` of a layer, for the rows of this thread from vector `first` on:
/// `sum_j d_j W[k, j]` with what it says of the outputs in `d`.
#[cube]
fn backward_sums<N: Size>(
    d: &SharedMemory<Four<f32>>,
    weight: &Array<Vector<f32, N>>,
    begin: usize,
    first: usize,
    #[comptime] outputs: usize,
    #[comptime] share: usize,
    #[comptime] all: usize,
) -> Array<Four<f32>> {
    let line = weight.vector_size();
    let mut sums = Array::<Four<f32>>::new(share);
    #[unroll]
    for v in 0..share {
        sums[v] = Four::new(0.0);
    }
    for block in 0..comptime!(outputs / line / AHEAD) {
        let mut weights = Array::<Vector<f32, N>>::new(AHEAD);
        #[unroll]
        for step in 0..AHEAD {
            weights[step] = weight[begin + block * AHEAD + step];
        }
        #[unroll]
        for step in 0..AHEAD {
            let at = (block * AHEAD + step) * line;
            add_backward::<N>(
                &mut sums,
                d,
                weights[step],
                at * all + first,
                line,
                share,
                all,
            );
        }
    }
    for place in comptime!(outputs / line / AHEAD * AHEAD)..comptime!(outputs / line) {
        let weights = weight[begin + place];
        add_backward::<N>(
            &mut sums,
            d,
            weights,
            place * line * all + first,
            line,
            share,
            all,
        );
    }
    sums
}

/// What the loss says of the sums of every hidden layer, into `said` (as [`forward_kernel`] keeps the
/// layers, each once), and of the input, into `by_input` `[members, rows, in]`; `grad` `[members, rows,
/// out]` is what it says of the outputs.
#[cube(launch_unchecked)]
fn backward_kernel<N: Size, O: Size>(
    grad: &Array<f32>,
    weights: &Sequence<Array<Vector<f32, N>>>,
    last: &Array<Vector<f32, O>>,
    kept: &Array<f32>,
    said: &mut Array<f32>,
    by_input: &mut Array<f32>,
    rows: usize,
    members: usize,
    #[comptime] inputs: usize,
    #[comptime] wants_input: bool,
    #[comptime] activation: Activation,
    #[comptime] plan: Plan,
) {
    let layers = comptime!(plan.hidden.len());
    let all = comptime!(plan.vectors());
    let tiles = rows.div_ceil(comptime!(plan.tile));
    let cube = usize::min(CUBE_POS, members * tiles - 1);
    let member = cube / tiles;
    let first_row = cube % tiles * comptime!(plan.tile);

    let mut d = SharedMemory::<Four<f32>>::new(comptime!(
        usize::max(plan.widest(), plan.output) * plan.vectors()
    ));
    load(
        &mut d,
        grad,
        member * rows * comptime!(plan.output),
        first_row,
        rows,
        comptime!(plan.output),
        comptime!(plan.clone()),
    );
    sync_cube();
    #[unroll]
    for turned in 0..comptime!(layers + usize::from(wants_input)) {
        // The layer whose input this is about, and the width of that input.
        let layer = comptime!(layers - turned);
        let width = comptime!(if layer == 0 {
            inputs
        } else {
            plan.hidden[layer - 1]
        });
        let outputs = comptime!(if layer == layers {
            plan.output
        } else {
            plan.hidden[layer]
        });
        let lanes = comptime!(backward_lanes(width));
        let groups = comptime!(backward_groups(&plan, width));
        let share = comptime!(plan.vectors() / backward_groups(&plan, width));
        let turns = comptime!(width.div_ceil(backward_lanes(width)));
        let lane = UNIT_POS as usize % lanes;
        let group = UNIT_POS as usize / lanes;
        let first = usize::min(group, comptime!(groups - 1)) * share;
        let mut sums = Array::<Four<f32>>::new(comptime!(
            width.div_ceil(backward_lanes(width))
                * (plan.vectors() / backward_groups(&plan, width))
        ));
        #[unroll]
        for turn in 0..turns {
            let k = usize::min(lane + turn * lanes, comptime!(width - 1));
            if comptime!(layer == layers) {
                let begin = (member * width + k) * comptime!(outputs / plan.output_line());
                let found = backward_sums::<O>(&d, last, begin, first, outputs, share, all);
                #[unroll]
                for v in 0..share {
                    sums[turn * share + v] = found[v];
                }
            } else {
                let begin = (member * width + k) * comptime!(outputs / plan.backward_line());
                let found =
                    backward_sums::<N>(&d, &weights[layer], begin, first, outputs, share, all);
                #[unroll]
                for v in 0..share {
                    sums[turn * share + v] = found[v];
                }
            }
        }
        // The input's place is taken when all threads have read the output's.
        sync_cube();
        if group < groups {
            #[unroll]
            for turn in 0..turns {
                let k = lane + turn * lanes;
                if k < width {
                    #[unroll]
                    for v in 0..share {
                        let mut values = sums[turn * share + v];
                        #[unroll]
                        for r in 0..4usize {
                            let row = first_row + (first + v) * 4 + r;
                            if comptime!(layer == 0) {
                                if row < rows {
                                    by_input[(member * rows + row) * width + k] = values[r];
                                }
                            } else {
                                let place = (member * rows + usize::min(row, rows - 1)) * width + k;
                                let about = comptime!(usize::max(layer, 1) - 1);
                                let at = kept_at(members * rows, about, comptime!(plan.clone()));
                                let slope = slope_of(kept[at + place], activation);
                                values[r] = values[r] * slope;
                                if row < rows {
                                    said[at / 2 + place] = values[r];
                                }
                            }
                        }
                        if comptime!(layer > 0) {
                            d[k * all + first + v] = values;
                        }
                    }
                }
            }
        }
        sync_cube();
    }
}

/// Threads beside each other for the inputs of a layer, one each.
fn backward_lanes(width: usize) -> usize {
    width.next_power_of_two().clamp(8, UNITS as usize)
}

/// Groups of threads that share the rows of a tile then.
fn backward_groups(plan: &Plan, width: usize) -> usize {
    (UNITS as usize / backward_lanes(width)).min(plan.vectors())
}

/// Side of a tile of gradients.
const GRADIENT_TILE: usize = 4 * SIDE;

/// Tiles of the gradients of the layers before `layer`, of one network.
fn tiles_before(plan: &Plan, inputs: usize, layer: usize) -> usize {
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
fn gradients_kernel(
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

type Gpu<R, T> = CubeBackend<R, f32, i32, T>;

/// The plan for a stack and the rows of `x`; none where the kernels cannot take it.
fn plan<R, T>(
    client: &ComputeClient<R>,
    x: &Tensor<Gpu<R, T>, 3>,
    stack: &Stack<Gpu<R, T>>,
) -> Option<Plan>
where
    R: CubeRuntime,
    T: BoolElement,
{
    stack.check();
    let [networks, rows, inputs] = x.dims();
    assert_eq!(inputs, stack.input_dim(), "the input's width");
    let members = stack.members();
    assert!(
        networks == members || networks == 1,
        "an input for each network, or one for all"
    );
    let hardware = &client.properties().hardware;
    let plan = Plan {
        tile: Plan::tile_for(rows * members, multiprocessors(client)),
        particles: 1,
        output: stack.output_dim(),
        hidden: stack.hidden_dims(),
        source: Source::Counter,
    };
    // The largest of the three kernels sees two arrays a layer, and four more.
    let bindings = 2 * stack.layers.len() + 6;
    let fits = !plan.hidden.is_empty()
        && rows > 0
        && bindings <= hardware.max_bindings as usize
        && hardware.max_units_per_cube >= UNITS;
    let widest = plan.widest().max(inputs);
    let columns = widest + plan.output * (1 + plan.slices());
    let shared = hardware.max_shared_memory_size;
    plan.fitted(columns, shared).filter(|_| fits)
}

fn argument<R, T>(x: &Tensor<Gpu<R, T>, 3>) -> ArrayArg<R>
where
    R: CubeRuntime,
    T: BoolElement,
{
    primitive(x.clone()).into_array_arg()
}

/// [`crate::RescoreBackend::stack_kept`], or [`crate::RescoreBackend::stack`] where nothing is to be
/// kept.
pub(super) fn forward<R, T>(
    x: Tensor<Gpu<R, T>, 3>,
    stack: &Stack<Gpu<R, T>>,
    keep: bool,
) -> StackPass<Gpu<R, T>>
where
    R: CubeRuntime,
    T: BoolElement,
{
    let device = x.device();
    let client = R::client(&device);
    let Some(plan) = plan(&client, &x, stack) else {
        return if keep {
            stack::forward_kept(x, stack)
        } else {
            let (output, kept) = (stack::forward(x, stack), Vec::new());
            StackPass { output, kept }
        };
    };
    let ([networks, rows, inputs], members) = (x.dims(), stack.members());
    let (last, hidden) = (stack.layers.split_last()).expect("a stack has a layer");
    let output = empty(&client, &device, Shape::from([members, rows, plan.output]));
    let columns: usize = plan.hidden.iter().sum();
    let size = if keep {
        2 * members * rows * columns
    } else {
        1
    };
    let kept = empty(&client, &device, Shape::from([size]));
    // SAFETY: rows and columns are kept within the shapes, which `plan` has checked.
    unsafe {
        forward_kernel::launch_unchecked::<R>(
            &client,
            grid_of(&client, members * rows.div_ceil(plan.tile)),
            CubeDim::new_1d(UNITS),
            plan.line(),
            argument(&x),
            hidden.iter().map(|layer| argument(&layer.weight)).collect(),
            argument(&last.weight),
            stack
                .layers
                .iter()
                .map(|layer| argument(&layer.bias))
                .collect(),
            output.clone().into_array_arg(),
            kept.clone().into_array_arg(),
            rows,
            members,
            usize::from(networks == 1),
            inputs,
            keep,
            stack.activation,
            plan,
        );
    }
    let kept = if keep { vec![kept] } else { Vec::new() };
    StackPass {
        output: tensor(output),
        kept,
    }
}

/// [`crate::RescoreBackend::stack_backward`]
pub(super) fn backward<R, T>(
    x: &Tensor<Gpu<R, T>, 3>,
    stack: &Stack<Gpu<R, T>>,
    kept: &[FloatTensor<Gpu<R, T>>],
    grad: Tensor<Gpu<R, T>, 3>,
    wanted: &StackWanted,
) -> StackGradients<Gpu<R, T>>
where
    R: CubeRuntime,
    T: BoolElement,
{
    let device = x.device();
    let client = R::client(&device);
    let Some(plan) = plan(&client, x, stack) else {
        return stack::backward(x, stack, kept, grad, wanted);
    };
    let ([networks, rows, inputs], members) = (x.dims(), stack.members());
    let (last, hidden) = (stack.layers.split_last()).expect("a stack has a layer");
    let [kept] = kept else {
        unreachable!("the forward pass of this plan keeps one buffer")
    };
    assert_eq!(
        grad.dims(),
        [members, rows, plan.output],
        "a gradient of the outputs"
    );
    let grad = primitive(grad);
    let columns: usize = plan.hidden.iter().sum();
    let said = empty(&client, &device, Shape::from([members * rows * columns]));
    let input_shape = if wanted.x {
        [members, rows, inputs]
    } else {
        [1; 3]
    };
    let by_input = empty(&client, &device, Shape::from(input_shape));
    // SAFETY: as in the forward pass, whose buffer has the sizes of the same plan.
    unsafe {
        backward_kernel::launch_unchecked::<R>(
            &client,
            grid_of(&client, members * rows.div_ceil(plan.tile)),
            CubeDim::new_1d(UNITS),
            plan.backward_line(),
            plan.output_line(),
            grad.clone().into_array_arg(),
            hidden.iter().map(|layer| argument(&layer.weight)).collect(),
            argument(&last.weight),
            kept.clone().into_array_arg(),
            said.clone().into_array_arg(),
            by_input.clone().into_array_arg(),
            rows,
            members,
            inputs,
            wanted.x,
            stack.activation,
            plan.clone(),
        );
    }
    let by_input = wanted.x.then(|| {
        let all: Tensor<Gpu<R, T>, 3> = tensor(by_input);
        let summed = if networks == members {
            all
        } else {
            all.sum_dim(0)
        };
        primitive(summed)
    });
    if !wanted.layers.as_flattened().contains(&true) {
        let layers = stack.layers.iter().map(|_| [None, None]).collect();
        let x = by_input;
        return StackGradients { x, layers };
    }
    let gradients = gradients(x, stack, grad, (kept.clone(), said), plan);
    let layers = gradients.into_iter().zip(&wanted.layers);
    StackGradients {
        x: by_input,
        layers: layers
            .map(|([weight, bias], wanted)| {
                [wanted[0].then_some(weight), wanted[1].then_some(bias)]
            })
            .collect(),
    }
}

/// Derivatives by weight and bias of every layer, for what the loss says of the outputs (`grad`) and of
/// the hidden layers (`said`), whose values were `kept`.
fn gradients<R, T>(
    x: &Tensor<Gpu<R, T>, 3>,
    stack: &Stack<Gpu<R, T>>,
    grad: CubeTensor<R>,
    (kept, said): (CubeTensor<R>, CubeTensor<R>),
    plan: Plan,
) -> Vec<[CubeTensor<R>; 2]>
where
    R: CubeRuntime,
    T: BoolElement,
{
    let device = x.device();
    let client = R::client(&device);
    let ([networks, rows, inputs], members) = (x.dims(), stack.members());
    let like = |x: &Tensor<Gpu<R, T>, 3>| empty(&client, &device, Shape::from(x.dims()));
    let gradients: Vec<[CubeTensor<R>; 2]> = (stack.layers.iter())
        .map(|layer| [like(&layer.weight), like(&layer.bias)])
        .collect();
    let tiles = members * tiles_before(&plan, inputs, stack.layers.len());
    // SAFETY: rows, inputs and columns are kept within the shapes, which the caller has checked; the
    // gradients have the shapes of the weights.
    unsafe {
        gradients_kernel::launch_unchecked::<R>(
            &client,
            grid_of(&client, tiles),
            CubeDim::new_1d(UNITS),
            argument(x),
            grad.into_array_arg(),
            kept.into_array_arg(),
            said.into_array_arg(),
            gradients
                .iter()
                .map(|[weight, _]| weight.clone().into_array_arg())
                .collect(),
            gradients
                .iter()
                .map(|[_, bias]| bias.clone().into_array_arg())
                .collect(),
            rows,
            members,
            usize::from(networks == 1),
            inputs,
            plan,
        );
    }
    gradients
}

/// The derivatives of one layer by its weight and bias: a stack without hidden layers.
pub(super) fn layer_gradients<R, T>(
    x: CubeTensor<R>,
    weight: CubeTensor<R>,
    grad: CubeTensor<R>,
) -> [CubeTensor<R>; 2]
where
    R: CubeRuntime,
    T: BoolElement,
{
    let (x, weight): (Tensor<Gpu<R, T>, 3>, Tensor<Gpu<R, T>, 3>) = (tensor(x), tensor(weight));
    let [members, _, columns] = weight.dims();
    let (client, device) = (R::client(&x.device()), x.device());
    // Its shape is all that matters of the bias.
    let bias = tensor(empty(&client, &device, Shape::from([members, 1, columns])));
    let stack = Stack {
        layers: vec![Layer { weight, bias }],
        activation: Activation::Relu,
    };
    stack.check();
    let [_, rows, _] = x.dims();
    let grad = burn_cubecl::kernel::into_contiguous(grad);
    let expected = Shape::from([members, rows, columns]);
    assert_eq!(grad.shape(), expected, "a gradient of the outputs");
    let nothing = empty(&client, &device, Shape::from([1]));
    let plan = Plan {
        tile: 4,
        particles: 1,
        output: columns,
        hidden: Vec::new(),
        source: Source::Counter,
    };
    let all = gradients(&x, &stack, grad, (nothing.clone(), nothing), plan);
    let [gradients] = <[_; 1]>::try_from(all).expect("one layer has one pair of gradients");
    gradients
}
