//! Stacks of linear layers: views of their weights, and the stack as one differentiable operation.

use burn::{
    backend::autodiff::{
        Autodiff,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::{Tensor, TensorPrimitive, backend::Backend, ops::FloatTensor},
};

use crate::{
    Activation, Layer, RescoreBackend,
    dense::{Wanted, dense},
};

/// Layers with an activation between them (none after the last).
#[derive(Debug, Clone)]
pub struct Stack<B: Backend> {
    /// The layers in order; there is at least one.
    pub layers: Vec<Layer<B>>,
    /// Activation after every layer but the last.
    pub activation: Activation,
}

impl<B: Backend> Stack<B> {
    /// How many networks lie side by side.
    pub fn members(&self) -> usize {
        self.layers[0].weight.dims()[0]
    }

    /// Width of the input.
    pub fn input_dim(&self) -> usize {
        self.layers[0].weight.dims()[1]
    }

    /// Width of the output.
    pub fn output_dim(&self) -> usize {
        self.layers[self.layers.len() - 1].weight.dims()[2]
    }

    /// Widths of the hidden layers.
    pub fn hidden_dims(&self) -> Vec<usize> {
        let hidden = &self.layers[..self.layers.len() - 1];
        hidden.iter().map(|layer| layer.weight.dims()[2]).collect()
    }

    /// Requires that every layer takes what the one before gives.
    ///
    /// # Panics
    /// If one does not.
    pub fn check(&self) {
        let (members, mut inputs) = (self.members(), self.input_dim());
        for layer in &self.layers {
            let [_, _, columns] = layer.weight.dims();
            let expected = ([members, inputs, columns], [members, 1, columns]);
            let found = (layer.weight.dims(), layer.bias.dims());
            assert_eq!(found, expected, "layers do not fit");
            inputs = columns;
        }
    }
}

impl<B: RescoreBackend> Stack<B> {
    /// The outputs `[members, rows, out]` for `x` `[members, rows, in]`, or `[1, rows, in]` where
    /// all members have the same input.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        B::stack(x, self)
    }

    /// The rest of the stack, given the first layer's output `[members, rows, hidden]` before its
    /// activation.
    ///
    /// For callers that put the first layer together from parts that they can reuse.
    pub(crate) fn forward_after_first(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.layers[1..]
            .iter()
            .fold(x, |x, layer| dense(self.activation.forward(x), layer, None))
    }
}

/// What a forward pass leaves for the backward pass. What it keeps is the backend's affair.
#[derive(Debug, Clone)]
pub struct StackPass<B: Backend> {
    /// The outputs, `[members, rows, out]`.
    pub output: Tensor<B, 3>,
    /// For [`RescoreBackend::stack_backward`].
    pub kept: Vec<FloatTensor<B>>,
}

/// Which derivatives of a stack are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackWanted {
    /// By the input.
    pub x: bool,
    /// By weight and bias of every layer.
    pub layers: Vec<[bool; 2]>,
}

/// Derivatives of a stack; those that were asked for.
#[derive(Debug, Clone)]
pub struct StackGradients<B: Backend> {
    /// By the input, in its shape: the sum over the members where they share it.
    pub x: Option<FloatTensor<B>>,
    /// By weight `[members, in, out]` and bias `[members, 1, out]` of every layer.
    pub layers: Vec<[Option<FloatTensor<B>>; 2]>,
}

fn raw<B: Backend, const D: usize>(x: &Tensor<B, D>) -> FloatTensor<B> {
    x.clone().into_primitive().tensor()
}

fn tensor<B: Backend, const D: usize>(x: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

/// The default body of [`RescoreBackend::stack`].
pub(crate) fn forward<B: RescoreBackend>(x: Tensor<B, 3>, stack: &Stack<B>) -> Tensor<B, 3> {
    let last = stack.layers.len() - 1;
    let layers = stack.layers.iter().enumerate();
    layers.fold(x, |x, (i, layer)| {
        dense(x, layer, (i < last).then_some(stack.activation))
    })
}

/// The default body of [`RescoreBackend::stack_kept`]: keeps what every hidden layer gives before and
/// after its activation.
pub(crate) fn forward_kept<B: RescoreBackend>(x: &Tensor<B, 3>, stack: &Stack<B>) -> StackPass<B> {
    let mut kept = Vec::new();
    let mut x = raw(x);
    let (last, hidden) = (stack.layers.split_last()).expect("a stack has a layer");
    for layer in hidden {
        let (weight, bias) = (raw(&layer.weight), raw(&layer.bias));
        let [z, output] = B::dense_activated(x, weight, bias, stack.activation);
        x = output.clone();
        kept.extend([z, output]);
    }
    let output = tensor(B::dense(x, raw(&last.weight), raw(&last.bias), None));
    StackPass { output, kept }
}

/// The default body of [`RescoreBackend::stack_backward`].
pub(crate) fn backward<B: RescoreBackend>(
    x: &Tensor<B, 3>,
    stack: &Stack<B>,
    kept: &[FloatTensor<B>],
    grad: &Tensor<B, 3>,
    wanted: &StackWanted,
) -> StackGradients<B> {
    let mut grad = raw(grad);
    let mut layers = Vec::new();
    let mut by_input = None;
    for (i, layer) in stack.layers.iter().enumerate().rev() {
        let input = match i {
            0 => raw(x),
            _ => kept[2 * i - 1].clone(),
        };
        let [weight, bias] = wanted.layers[i];
        let x = i > 0 || wanted.x;
        let found = B::dense_backward(
            input,
            raw(&layer.weight),
            grad.clone(),
            Wanted { x, weight, bias },
        );
        layers.push([found.weight, found.bias]);
        if i == 0 {
            by_input = found.x;
        } else if let Some(by_hidden) = found.x {
            grad = B::activate_backward(kept[2 * i - 2].clone(), by_hidden, stack.activation);
        }
    }
    layers.reverse();
    StackGradients {
        x: by_input,
        layers,
    }
}

/// The backward node: its parents are the input, and weight and bias of every layer.
#[derive(Debug)]
struct StackBackward;

/// What the backward pass needs of the forward pass.
#[derive(Debug, Clone)]
struct Kept<B: Backend> {
    x: Tensor<B, 3>,
    stack: Stack<B>,
    by_pass: Vec<FloatTensor<B>>,
}

impl<B: RescoreBackend, const N: usize> Backward<B, N> for StackBackward {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Kept<B>, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = tensor(grads.consume::<B>(&ops.node));
        let Kept { x, stack, by_pass } = ops.state;
        let (input, parameters) = (ops.parents.split_first()).expect("an input and layers");
        let (layers, _) = parameters.as_chunks::<2>();
        let wanted = StackWanted {
            x: input.is_some(),
            layers: (layers.iter())
                .map(|layer| layer.each_ref().map(Option::is_some))
                .collect(),
        };
        let found = B::stack_backward(&x, &stack, &by_pass, grad, &wanted);
        let nodes = std::iter::once(input).chain(layers.as_flattened());
        let gradients = std::iter::once(found.x).chain(found.layers.into_iter().flatten());
        for (node, gradient) in nodes.zip(gradients) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// A stack of differentiable tensors: one node of the graph where it has at most six layers.
pub(crate) fn differentiable<B: RescoreBackend, C: CheckpointStrategy>(
    x: Tensor<Autodiff<B, C>, 3>,
    stack: &Stack<Autodiff<B, C>>,
) -> Tensor<Autodiff<B, C>, 3> {
    match stack.layers.len() {
        1 => as_node::<B, C, 3>(&x, stack),
        2 => as_node::<B, C, 5>(&x, stack),
        3 => as_node::<B, C, 7>(&x, stack),
        4 => as_node::<B, C, 9>(&x, stack),
        5 => as_node::<B, C, 11>(&x, stack),
        6 => as_node::<B, C, 13>(&x, stack),
        _ => forward(x, stack),
    }
}

/// A stack as a node with `N` parents, two a layer and the input.
fn as_node<B: RescoreBackend, C: CheckpointStrategy, const N: usize>(
    x: &Tensor<Autodiff<B, C>, 3>,
    stack: &Stack<Autodiff<B, C>>,
) -> Tensor<Autodiff<B, C>, 3> {
    let raw = |x: &Tensor<Autodiff<B, C>, 3>| x.clone().into_primitive().tensor();
    let layers = stack.layers.iter();
    let parameters = layers.flat_map(|layer| [raw(&layer.weight), raw(&layer.bias)]);
    let parents: Vec<_> = std::iter::once(raw(x)).chain(parameters).collect();
    let inner: Vec<Tensor<B, 3>> = parents
        .iter()
        .map(|x| tensor(x.primitive.clone()))
        .collect();
    let nodes: Vec<_> = parents.into_iter().map(|x| x.node).collect();
    let nodes: [_; N] = nodes
        .try_into()
        .expect("two nodes a layer, and the input's");
    let (x, parameters) = (inner[0].clone(), &inner[1..]);
    let stack = Stack {
        layers: (parameters.chunks(2))
            .map(|layer| Layer {
                weight: layer[0].clone(),
                bias: layer[1].clone(),
            })
            .collect(),
        activation: stack.activation,
    };
    let output = match StackBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let StackPass { output, kept } = B::stack_kept(x.clone(), &stack);
            prep.finish(
                Kept {
                    x,
                    stack,
                    by_pass: kept,
                },
                output.into_primitive().tensor(),
            )
        }
        OpsKind::UnTracked(prep) => prep.finish(B::stack(x, &stack).into_primitive().tensor()),
    };
    Tensor::from_primitive(TensorPrimitive::Float(output))
}
