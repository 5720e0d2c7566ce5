//! Mish as one operation, forward and backward.

use burn::{
    backend::autodiff::{
        Autodiff, NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::{Tensor, TensorPrimitive, backend::Backend, ops::FloatTensor},
};

use crate::RescoreBackend;

/// `x tanh(softplus(x))` of every element.
pub fn mish<B: RescoreBackend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let primitive = B::mish(x.into_primitive().tensor());
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// Above this argument `tanh(softplus(x))` is 1 in `f32`, and the exponential stays finite.
pub(crate) const SATURATION: f32 = 20.0;

/// `e^min(x, 20)` and `n = e (e + 2)`, with which `tanh(softplus(x)) = n / (n + 2)`.
///
/// One exponential instead of an exponential, a logarithm and a hyperbolic tangent; no
/// cancellation for negative arguments.
fn exponentials<B: Backend>(x: FloatTensor<B>) -> (FloatTensor<B>, FloatTensor<B>) {
    let e = B::float_exp(B::float_clamp_max(x, SATURATION.into()));
    let n = B::float_mul(e.clone(), B::float_add_scalar(e.clone(), 2.0.into()));
    (e, n)
}

/// Mish from the backend's own operations.
pub(crate) fn forward<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let (_, n) = exponentials::<B>(x.clone());
    let denominator = B::float_add_scalar(n.clone(), 2.0.into());
    B::float_mul(x, B::float_div(n, denominator))
}

/// `grad * mish'(x)` with `mish'(x) = th + x (1 - th^2) sigmoid(x)`, `th = tanh(softplus(x))`.
pub(crate) fn backward<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let (e, n) = exponentials::<B>(x.clone());
    let denominator = B::float_add_scalar(n.clone(), 2.0.into());
    let th = B::float_div(n, denominator);
    let sigmoid = B::float_div(e.clone(), B::float_add_scalar(e, 1.0.into()));
    let one_minus_th2 = B::float_add_scalar(
        B::float_neg(B::float_mul(th.clone(), th.clone())),
        1.0.into(),
    );
    let slope = B::float_add(th, B::float_mul(B::float_mul(x, one_minus_th2), sigmoid));
    B::float_mul(grad, slope)
}

/// The backward node of Mish; its state is the node whose output is the argument.
#[derive(Debug)]
struct MishBackward;

impl<B: RescoreBackend> Backward<B, 1> for MishBackward {
    type State = NodeId;

    fn backward(self, ops: Ops<NodeId, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [parent] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let x: FloatTensor<B> = checkpointer.retrieve_node_output(ops.state);
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::mish_backward(x, grad));
        }
    }
}

/// Mish on a differentiable tensor.
pub(crate) fn differentiable<B: RescoreBackend, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    match MishBackward
        .prepare::<C>([x.node.clone()])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let state = prep.checkpoint(&x);
            let output = B::mish(x.primitive.clone());
            prep.finish(state, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::mish(x.primitive)),
    }
}
