//! Training a stack of layers in three kernels: a tile of rows forward through all layers, a tile
//! backward, and the gradients of all weights.
//!
//! Forward and backward a cube takes a tile of rows of one network, its activations in shared memory
//! ([`super::layers`]). What the hidden layers give before and after their activation stays in one
//! buffer, what the loss says of them in another. A gradient of weights is a product over the rows: all
//! of them, of all layers and networks, are the tiles of one launch, and biases are the weights of an
//! input that is always 1.

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "shared memory is no value"
)]
mod backward;
mod forward;
mod gradients;

use burn::tensor::{Shape, Tensor, TensorMetadata as _, ops::FloatTensor};
use burn_cubecl::{
    BoolElement, CubeBackend, CubeRuntime, kernel::into_contiguous, tensor::CubeTensor,
};
use cubecl::{client::ComputeClient, prelude::*};

use super::{
    UNITS, empty,
    noise::Four,
    plan::{Plan, Source, grid_of, multiprocessors},
    primitive, tensor,
};
use crate::{
    Activation, Layer, Stack,
    backend::stack,
    stack::{StackGradients, StackPass, StackWanted},
};
use backward::backward_kernel;
use forward::forward_kernel;
use gradients::{gradients_kernel, tiles_before};

/// Where the values of hidden layer `layer` before its activation begin in the buffer that the forward
/// pass keeps; those after it follow. `rows` are those of all networks.
#[cube]
pub(super) fn kept_at(rows: usize, #[comptime] layer: usize, #[comptime] plan: Plan) -> usize {
    rows * comptime!(2 * before(&plan, layer))
}

/// Columns of the hidden layers before `layer`.
fn before(plan: &Plan, layer: usize) -> usize {
    plan.hidden[..layer].iter().sum()
}

/// The tile of `x` `[rows, inputs]` from `first_row` on, by column; `begin` is where `x` begins.
#[cube]
pub(super) fn load(
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
            stack::forward_kept(&x, stack)
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
        return stack::backward(x, stack, kept, &grad, wanted);
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
    let [x, weight] = [x, weight].map(tensor::<R, T, 3>);
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
    let grad = into_contiguous(grad);
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
