//! Distributions over equidistant atoms that are given by logits: their expectation and their cross
//! entropy, each one differentiable operation.

use burn::{
    backend::autodiff::{
        Autodiff,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::{
        Tensor, TensorData, TensorMetadata as _, TensorPrimitive,
        activation::{log_softmax, softmax},
        backend::Backend,
        ops::FloatTensor,
    },
};

use crate::RescoreBackend;

/// Axis of the atoms of `[members, rows, atoms]`.
const ATOMS: usize = 2;

/// Where the atoms are: the first, and the distance of two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Atoms {
    /// The first atom.
    pub low: f64,
    /// Distance of two atoms.
    pub spacing: f64,
}

impl Atoms {
    /// Where the atom `index` is.
    pub fn location(self, index: usize) -> f32 {
        (self.low + index as f64 * self.spacing) as f32
    }
}

/// Expectations `[members, rows]` of the distributions with these logits, `[members, rows, atoms]`.
pub fn expectation<B: RescoreBackend>(logits: Tensor<B, 3>, atoms: Atoms) -> Tensor<B, 2> {
    let output = B::expectation(logits.into_primitive().tensor(), atoms);
    let output: Tensor<B, 3> = Tensor::from_primitive(TensorPrimitive::Float(output));
    output.squeeze_dim(ATOMS)
}

/// `- sum_k target_k log softmax(logits)_k` of every row, `[members, rows]`: logits `[members, rows,
/// atoms]`, and targets `[rows, atoms]`, which are constant.
pub fn cross_entropy<B: RescoreBackend>(
    logits: Tensor<B, 3>,
    targets: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let (logits, targets) = (logits.into_primitive(), targets.into_primitive());
    let output = B::cross_entropy(logits.tensor(), targets.tensor());
    let output: Tensor<B, 3> = Tensor::from_primitive(TensorPrimitive::Float(output));
    output.squeeze_dim(ATOMS)
}

fn tensor<B: Backend, const D: usize>(x: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

fn raw<B: Backend, const D: usize>(x: Tensor<B, D>) -> FloatTensor<B> {
    x.into_primitive().tensor()
}

/// `[1, 1, atoms]`
fn locations<B: Backend>(count: usize, atoms: Atoms, device: &B::Device) -> Tensor<B, 3> {
    let values: Vec<f32> = (0..count).map(|atom| atoms.location(atom)).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, count]), device)
}

/// The default body of [`RescoreBackend::expectation`].
pub(crate) fn expectation_forward<B: Backend>(
    logits: FloatTensor<B>,
    atoms: Atoms,
) -> FloatTensor<B> {
    let logits: Tensor<B, 3> = tensor(logits);
    let at = locations(logits.dims()[ATOMS], atoms, &logits.device());
    raw((softmax(logits, ATOMS) * at).sum_dim(ATOMS))
}

/// The default body of [`RescoreBackend::expectation_backward`]: `p_j (z_j - expectation) grad`.
pub(crate) fn expectation_backward<B: Backend>(
    logits: FloatTensor<B>,
    grad: FloatTensor<B>,
    atoms: Atoms,
) -> FloatTensor<B> {
    let (logits, grad): (Tensor<B, 3>, Tensor<B, 3>) = (tensor(logits), tensor(grad));
    let at = locations(logits.dims()[ATOMS], atoms, &logits.device());
    let probabilities = softmax(logits, ATOMS);
    let mean = (probabilities.clone() * at.clone()).sum_dim(ATOMS);
    raw(probabilities * (at - mean) * grad)
}

/// The default body of [`RescoreBackend::cross_entropy`].
pub(crate) fn cross_entropy_forward<B: Backend>(
    logits: FloatTensor<B>,
    targets: FloatTensor<B>,
) -> FloatTensor<B> {
    let (logits, targets): (Tensor<B, 3>, Tensor<B, 2>) = (tensor(logits), tensor(targets));
    let products = log_softmax(logits, ATOMS) * targets.unsqueeze_dim(0);
    raw(products.sum_dim(ATOMS).neg())
}

/// The default body of [`RescoreBackend::cross_entropy_backward`]: `(softmax sum_k target_k - target)
/// grad`.
pub(crate) fn cross_entropy_backward<B: Backend>(
    logits: FloatTensor<B>,
    targets: FloatTensor<B>,
    grad: FloatTensor<B>,
) -> FloatTensor<B> {
    let (logits, grad): (Tensor<B, 3>, Tensor<B, 3>) = (tensor(logits), tensor(grad));
    let targets = tensor::<B, 2>(targets).unsqueeze_dim::<3>(0);
    let mass = targets.clone().sum_dim(ATOMS);
    raw((softmax(logits, ATOMS) * mass - targets) * grad)
}

/// The backward node of an expectation.
#[derive(Debug)]
struct ExpectationBackward;

impl<B: RescoreBackend> Backward<B, 1> for ExpectationBackward {
    type State = (FloatTensor<B>, Atoms);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (logits, atoms) = ops.state;
        if let [Some(node)] = ops.parents {
            let gradient = B::expectation_backward(logits, grad, atoms);
            grads.register::<B>(node.id, gradient);
        }
    }
}

/// The backward node of a cross entropy.
#[derive(Debug)]
struct CrossEntropyBackward;

impl<B: RescoreBackend> Backward<B, 1> for CrossEntropyBackward {
    type State = [FloatTensor<B>; 2];

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [logits, targets] = ops.state;
        if let [Some(node)] = ops.parents {
            let gradient = B::cross_entropy_backward(logits, targets, grad);
            grads.register::<B>(node.id, gradient);
        }
    }
}

/// The expectation of a differentiable tensor.
pub(crate) fn differentiable_expectation<B: RescoreBackend, C: CheckpointStrategy>(
    logits: FloatTensor<Autodiff<B, C>>,
    atoms: Atoms,
) -> FloatTensor<Autodiff<B, C>> {
    let kept = logits.primitive.clone();
    let output = B::expectation(logits.primitive, atoms);
    match ExpectationBackward
        .prepare::<C>([logits.node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish((kept, atoms), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}

/// The cross entropy of differentiable logits against constant targets.
pub(crate) fn differentiable_cross_entropy<B: RescoreBackend, C: CheckpointStrategy>(
    logits: FloatTensor<Autodiff<B, C>>,
    targets: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    debug_assert_eq!(logits.shape()[ATOMS], targets.shape()[1]);
    let kept = [logits.primitive.clone(), targets.primitive.clone()];
    let output = B::cross_entropy(logits.primitive, targets.primitive);
    match CrossEntropyBackward
        .prepare::<C>([logits.node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish(kept, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
