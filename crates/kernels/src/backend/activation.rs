//! Activation functions of the networks, each one operation, forward and backward.

use burn::{
    backend::autodiff::{
        Autodiff, NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::{Tensor, TensorPrimitive, backend::Backend, ops::FloatTensor},
};

use crate::{RescoreBackend, gelu, mish};

/// An element-wise activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x tanh(softplus(x))` (Misra 2019).
    Mish,
    /// `x Phi(x)` with the error function, not its tanh approximation (Hendrycks and Gimpel 2016).
    Gelu,
    /// `max(x, 0)`, with derivative 0 at 0.
    Relu,
    /// `tanh(x)`
    Tanh,
}

impl Activation {
    /// Applies the activation to every element.
    pub fn forward<B: RescoreBackend, const D: usize>(self, x: Tensor<B, D>) -> Tensor<B, D> {
        let output = B::activate(x.into_primitive().tensor(), self);
        Tensor::from_primitive(TensorPrimitive::Float(output))
    }
}

/// The default body of [`RescoreBackend::activate`].
pub(crate) fn forward<B: Backend>(x: FloatTensor<B>, activation: Activation) -> FloatTensor<B> {
    match activation {
        Activation::Mish => mish::forward::<B>(x),
        Activation::Gelu => gelu::forward::<B>(x),
        Activation::Relu => B::relu(x),
        Activation::Tanh => B::float_tanh(x),
    }
}

/// The default body of [`RescoreBackend::activate_backward`].
pub(crate) fn backward<B: Backend>(
    x: FloatTensor<B>,
    grad: FloatTensor<B>,
    activation: Activation,
) -> FloatTensor<B> {
    let slope = match activation {
        Activation::Mish => mish::slope::<B>(x),
        Activation::Gelu => gelu::slope::<B>(x),
        // Where the argument is positive, and only there, the value is.
        Activation::Relu => return B::relu_backward(x, grad),
        Activation::Tanh => {
            let y = B::float_tanh(x);
            B::float_add_scalar(B::float_neg(B::float_mul(y.clone(), y)), 1.0.into())
        }
    };
    B::float_mul(grad, slope)
}

/// The backward node; its state is the node whose output is the argument.
#[derive(Debug)]
struct ActivationBackward;

impl<B: RescoreBackend> Backward<B, 1> for ActivationBackward {
    type State = (NodeId, Activation);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let [parent] = ops.parents;
        let (argument, activation) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let x: FloatTensor<B> = checkpointer.retrieve_node_output(argument);
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::activate_backward(x, grad, activation));
        }
    }
}

/// An activation of a differentiable tensor.
pub(crate) fn differentiable<B: RescoreBackend, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    activation: Activation,
) -> FloatTensor<Autodiff<B, C>> {
    match ActivationBackward
        .prepare::<C>([x.node.clone()])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let state = (prep.checkpoint(&x), activation);
            let output = B::activate(x.primitive.clone(), activation);
            prep.finish(state, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::activate(x.primitive, activation)),
    }
}
