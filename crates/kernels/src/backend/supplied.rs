//! A loss whose derivative is supplied.

use burn::{
    backend::autodiff::{
        Autodiff,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::{Shape, Tensor, TensorPrimitive},
};

use crate::{RescoreBackend, formula::Formula};

/// The backward node.
#[derive(Debug)]
struct Supplied;

/// The derivative and the shape of what it is taken by.
type State<B> = (Formula<B>, Shape);

impl<B: RescoreBackend> Backward<B, 1> for Supplied {
    type State = State<B>;

    fn backward(self, ops: Ops<State<B>, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let grad: Tensor<B, 1> = Tensor::from_primitive(TensorPrimitive::Float(grad));
        let (gradient, shape) = ops.state;
        if let [Some(node)] = ops.parents {
            let gradient = (gradient * Formula::row(grad)).compute();
            let gradient = B::float_reshape(gradient.into_primitive().tensor(), shape);
            grads.register::<B>(node.id, gradient);
        }
    }
}

/// The loss `value` `[1]` of `outputs` with `gradient` as its derivative: a formula of as many elements
/// as there are outputs, in their order.
///
/// For losses whose derivative is simpler than what automatic differentiation makes of them.
pub fn supplied<B: RescoreBackend, C: CheckpointStrategy, const D: usize>(
    outputs: Tensor<Autodiff<B, C>, D>,
    value: Tensor<B, 1>,
    gradient: Formula<B>,
) -> Tensor<Autodiff<B, C>, 1> {
    let shape = outputs.shape();
    debug_assert_eq!(
        gradient.shape().iter().product::<usize>(),
        shape.num_elements()
    );
    let node = outputs.into_primitive().tensor().node;
    let value = value.into_primitive().tensor();
    let output = match Supplied.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((gradient, shape), value),
        OpsKind::UnTracked(prep) => prep.finish(value),
    };
    Tensor::from_primitive(TensorPrimitive::Float(output))
}
