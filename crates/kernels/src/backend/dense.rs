//! A linear layer, with or without an activation behind it, as one differentiable operation.

use burn::{
    backend::autodiff::{
        Autodiff,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::{Tensor, TensorPrimitive, backend::Backend, ops::FloatTensor},
};

use crate::{Activation, RescoreBackend};

/// The weights of a fully connected layer `y = x W + b`, of one network or of several members of an
/// ensemble side by side.
#[derive(Debug, Clone)]
pub struct Layer<B: Backend> {
    /// `W`, `[members, in, out]`.
    pub weight: Tensor<B, 3>,
    /// `b`, `[members, 1, out]`.
    pub bias: Tensor<B, 3>,
}

/// The product of `[rows, inner]` and `[inner, columns]`, in `f32` throughout.
pub fn matmul<B: RescoreBackend>(a: Tensor<B, 2>, b: Tensor<B, 2>) -> Tensor<B, 2> {
    let product = B::matmul(a.into_primitive().tensor(), b.into_primitive().tensor());
    Tensor::from_primitive(TensorPrimitive::Float(product))
}

/// `x W + b` of every member, then `activation` where there is one: `x` `[members, rows, in]`, or
/// `[1, rows, in]` where all members have the same input; result `[members, rows, out]`.
pub fn dense<B: RescoreBackend>(
    x: Tensor<B, 3>,
    layer: &Layer<B>,
    activation: Option<Activation>,
) -> Tensor<B, 3> {
    let raw = |x: Tensor<B, 3>| x.into_primitive().tensor();
    let (weight, bias) = (layer.weight.clone(), layer.bias.clone());
    let output = B::dense(raw(x), raw(weight), raw(bias), activation);
    Tensor::from_primitive(TensorPrimitive::Float(output))
}

/// The default body of [`RescoreBackend::dense`] without activation.
pub(crate) fn forward<B: RescoreBackend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    B::float_add(B::matmul(x, weight), bias)
}

/// The default body of [`RescoreBackend::dense_backward`].
pub(crate) fn backward<B: RescoreBackend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    grad: FloatTensor<B>,
    wanted: Wanted,
) -> DenseGradients<B> {
    use burn::tensor::TensorMetadata as _;
    let shared = x.shape()[0] == 1 && grad.shape()[0] > 1;
    DenseGradients {
        x: wanted.x.then(|| {
            let members = B::matmul(grad.clone(), B::float_swap_dims(weight, 1, 2));
            if shared {
                B::float_sum_dim(members, 0)
            } else {
                members
            }
        }),
        weight: wanted
            .weight
            .then(|| B::matmul(B::float_swap_dims(x, 1, 2), grad.clone())),
        bias: wanted.bias.then(|| B::float_sum_dim(grad, 1)),
    }
}

/// Which derivatives of a linear layer are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// By the input.
    pub x: bool,
    /// By the weight.
    pub weight: bool,
    /// By the bias.
    pub bias: bool,
}

/// Derivatives of a linear layer; those that were asked for.
#[derive(Debug, Clone)]
pub struct DenseGradients<B: Backend> {
    /// By the input, in its shape: the sum over the members where they share it.
    pub x: Option<FloatTensor<B>>,
    /// By the weight, `[members, in, out]`.
    pub weight: Option<FloatTensor<B>>,
    /// By the bias, `[members, 1, out]`.
    pub bias: Option<FloatTensor<B>>,
}

/// The backward node.
#[derive(Debug)]
struct DenseBackward;

/// What the backward pass needs of the forward pass.
#[derive(Debug, Clone)]
struct Kept<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    /// The activation, where there is one, and the layer's output before it.
    activated: Option<(Activation, FloatTensor<B>)>,
}

impl<B: RescoreBackend> Backward<B, 3> for DenseBackward {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Kept<B>, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [x, weight, bias] = ops.parents;
        let kept = ops.state;
        let grad = match kept.activated {
            Some((activation, z)) => B::activate_backward(z, grad, activation),
            None => grad,
        };
        let wanted = Wanted {
            x: x.is_some(),
            weight: weight.is_some(),
            bias: bias.is_some(),
        };
        let found = B::dense_backward(kept.x, kept.weight, grad, wanted);
        let parents = [(x, found.x), (weight, found.weight), (bias, found.bias)];
        for (parent, gradient) in parents {
            if let (Some(node), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// A linear layer of differentiable tensors.
pub(crate) fn differentiable<B: RescoreBackend, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    activation: Option<Activation>,
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = [x.node.clone(), weight.node.clone(), bias.node.clone()];
    match DenseBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (x, weight) = (x.primitive, weight.primitive);
            let (input, factor, bias) = (x.clone(), weight.clone(), bias.primitive);
            let (output, activated) = if let Some(activation) = activation {
                let [z, output] = B::dense_activated(input, factor, bias, activation);
                (output, Some((activation, z)))
            } else {
                (B::dense(input, factor, bias, None), None)
            };
            let kept = Kept {
                x,
                weight,
                activated,
            };
            prep.finish(kept, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::dense(
            x.primitive,
            weight.primitive,
            bias.primitive,
            activation,
        )),
    }
}
