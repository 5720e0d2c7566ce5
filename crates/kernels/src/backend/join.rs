//! The columns of several matrices beside each other, one of them chosen by row from a table: what a
//! network of observations, actions and times takes.

use burn::{
    backend::autodiff::{
        Autodiff,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::{
        Int, Slice, Tensor, TensorMetadata as _, TensorPrimitive,
        backend::Backend,
        ops::{FloatTensor, IntTensor},
    },
};

use crate::RescoreBackend;

/// A table `[entries, ..]`, and the entry of each row, `[rows]`.
pub type Chosen<B> = (FloatTensor<B>, IntTensor<B>);

/// The columns of `left` and `right`, both `[rows, ..]`, beside each other.
pub fn join<B: RescoreBackend>(left: Tensor<B, 2>, right: Tensor<B, 2>) -> Tensor<B, 2> {
    let raw = |x: Tensor<B, 2>| x.into_primitive().tensor();
    let output = B::join(vec![raw(left), raw(right)], None);
    Tensor::from_primitive(TensorPrimitive::Float(output))
}

/// The columns of `left` and `right`, both `[rows, ..]`, and of the rows of `table` `[entries, ..]` at
/// `indices` `[rows]`, beside each other.
pub fn join_chosen<B: RescoreBackend>(
    [left, right]: [Tensor<B, 2>; 2],
    table: Tensor<B, 2>,
    indices: Tensor<B, 1, Int>,
) -> Tensor<B, 2> {
    let raw = |x: Tensor<B, 2>| x.into_primitive().tensor();
    let chosen = (raw(table), indices.into_primitive());
    let output = B::join(vec![raw(left), raw(right)], Some(chosen));
    Tensor::from_primitive(TensorPrimitive::Float(output))
}

/// The default body of [`RescoreBackend::join`].
pub(crate) fn forward<B: Backend>(
    mut parts: Vec<FloatTensor<B>>,
    chosen: Option<Chosen<B>>,
) -> FloatTensor<B> {
    if let Some((table, indices)) = chosen {
        parts.push(B::float_select(table, 0, indices));
    }
    B::float_cat(parts, 1)
}

/// The default body of [`RescoreBackend::join_backward`].
pub(crate) fn backward<B: Backend>(
    grad: FloatTensor<B>,
    first: usize,
    table: &FloatTensor<B>,
    indices: IntTensor<B>,
) -> FloatTensor<B> {
    let grad = columns::<B>(grad, first, table.shape()[1]);
    let (shape, device) = (table.shape(), B::float_device(table));
    let zeros = B::float_zeros(shape, &device, table.dtype().into());
    B::float_select_add(zeros, 0, indices, grad)
}

/// `count` columns from `first` on.
fn columns<B: Backend>(x: FloatTensor<B>, first: usize, count: usize) -> FloatTensor<B> {
    let rows = x.shape()[0];
    B::float_slice(
        x,
        &[Slice::from(0..rows), Slice::from(first..first + count)],
    )
}

/// The backward node: its parents are both parts, and the table where there is one.
#[derive(Debug)]
struct JoinBackward;

/// Widths of the parts, and the table with its indices.
#[derive(Debug, Clone)]
struct Kept<B: Backend> {
    widths: [usize; 2],
    chosen: Option<Chosen<B>>,
}

impl<B: RescoreBackend, const N: usize> Backward<B, N> for JoinBackward {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Kept<B>, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [left, right] = ops.state.widths;
        for (place, parent) in ops.parents.into_iter().enumerate() {
            let Some(node) = parent else { continue };
            let gradient = match (place, &ops.state.chosen) {
                (0, _) => columns::<B>(grad.clone(), 0, left),
                (1, _) => columns::<B>(grad.clone(), left, right),
                (_, Some((table, indices))) => {
                    B::join_backward(grad.clone(), left + right, table.clone(), indices.clone())
                }
                (_, None) => unreachable!("two parts have two parents"),
            };
            grads.register::<B>(node.id, gradient);
        }
    }
}

/// Differentiable parts.
pub(crate) fn differentiable<B: RescoreBackend, C: CheckpointStrategy>(
    parts: Vec<FloatTensor<Autodiff<B, C>>>,
    chosen: Option<Chosen<Autodiff<B, C>>>,
) -> FloatTensor<Autodiff<B, C>> {
    match chosen {
        Some((table, indices)) => as_node::<B, C, 3>(parts, Some((table, indices))),
        None => as_node::<B, C, 2>(parts, None),
    }
}

fn as_node<B: RescoreBackend, C: CheckpointStrategy, const N: usize>(
    parts: Vec<FloatTensor<Autodiff<B, C>>>,
    chosen: Option<Chosen<Autodiff<B, C>>>,
) -> FloatTensor<Autodiff<B, C>> {
    let width = |x: &FloatTensor<Autodiff<B, C>>| x.primitive.shape()[1];
    let widths = [width(&parts[0]), width(&parts[1])];
    let table = chosen.iter().map(|(table, _)| table.node.clone());
    let nodes: Vec<_> = parts.iter().map(|x| x.node.clone()).chain(table).collect();
    let nodes: [_; N] = nodes
        .try_into()
        .expect("two parts, and a table where there is one");
    let parts = parts.into_iter().map(|x| x.primitive).collect();
    let chosen = chosen.map(|(table, indices)| (table.primitive, indices));
    let output = B::join(parts, chosen.clone());
    match JoinBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(Kept { widths, chosen }, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
