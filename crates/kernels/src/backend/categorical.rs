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
        IndexingUpdateOp, Int, Tensor, TensorData, TensorMetadata as _, TensorPrimitive,
        activation::{log_softmax, softmax},
        backend::Backend,
        ops::FloatTensor,
    },
};

use crate::{Combine, RescoreBackend, argmax_lowest};

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

/// The step that a target distribution is made of, `[rows]` each.
#[derive(Debug, Clone)]
pub struct Returns<B: Backend> {
    /// Rewards.
    pub rewards: Tensor<B, 1>,
    /// What the future is multiplied by: the discount, or 0 where the episode terminated.
    pub discounts: Tensor<B, 1>,
    /// What is subtracted from the next values.
    pub penalty: Option<Tensor<B, 1>>,
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

/// The distribution over the atoms, `[rows, atoms]`, of `reward + discount (next - penalty)`, where the
/// members of an ensemble give `next` the logits `[members, rows, atoms]` (Bellemare, Dabney and Munos
/// 2017, algorithm 1). Of the members the one with the smallest expectation is believed (`FlashSAC`,
/// XQC), of equal ones the first, or the mean of all (DIME).
pub fn target_distribution<B: RescoreBackend>(
    logits: Tensor<B, 3>,
    atoms: Atoms,
    combine: Combine,
    returns: Returns<B>,
) -> Tensor<B, 2> {
    tensor(B::target_distribution(raw(logits), atoms, combine, returns))
}

/// The default body of [`RescoreBackend::target_distribution`].
pub(crate) fn target_reference<B: Backend>(
    logits: FloatTensor<B>,
    atoms: Atoms,
    combine: Combine,
    returns: Returns<B>,
) -> FloatTensor<B> {
    let logits: Tensor<B, 3> = tensor(logits);
    let [_, _, count] = logits.dims();
    let next = combined(atoms, combine, softmax(logits, ATOMS));
    let places: Tensor<B, 2> = locations(count, atoms, &next.device()).squeeze_dim(0);
    let places = match returns.penalty {
        Some(penalty) => places - penalty.unsqueeze_dim(1),
        None => places,
    };
    let future = returns.discounts.unsqueeze_dim(1) * places;
    raw(project(
        atoms,
        count,
        next,
        returns.rewards.unsqueeze_dim(1) + future,
    ))
}

/// One distribution for each row, `[rows, atoms]`, of those of all members, `[members, rows, atoms]`:
/// see [`target_distribution`].
pub fn combined<B: Backend>(
    atoms: Atoms,
    combine: Combine,
    probabilities: Tensor<B, 3>,
) -> Tensor<B, 2> {
    let combined = match combine {
        Combine::Min => {
            let [_, rows, count] = probabilities.dims();
            let member = lowest_member(atoms, probabilities.clone());
            let member = member.reshape([1, rows, 1]).expand([1, rows, count]);
            probabilities.gather(0, member)
        }
        Combine::Mean => probabilities.mean_dim(0),
    };
    combined.squeeze_dim(0)
}

/// The member whose distribution of each row has the smallest expectation, of equal ones the first:
/// `[rows]` for `[members, rows, atoms]`.
pub fn lowest_member<B: Backend>(atoms: Atoms, probabilities: Tensor<B, 3>) -> Tensor<B, 1, Int> {
    let at = locations(probabilities.dims()[ATOMS], atoms, &probabilities.device());
    let expectations: Tensor<B, 2> = (probabilities * at).sum_dim(ATOMS).squeeze_dim(ATOMS);
    argmax_lowest(expectations.neg().transpose())
}

/// Distributions over returns at any place as distributions over `count` atoms: each probability goes to
/// the two atoms beside its return, more of it to the nearer (Bellemare, Dabney and Munos 2017, equation
/// 7). Returns beyond the atoms go to their ends.
///
/// `probabilities` and `returns` `[rows, n]`, result `[rows, count]` with the same sums.
pub fn project<B: Backend>(
    atoms: Atoms,
    count: usize,
    probabilities: Tensor<B, 2>,
    returns: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let [rows, _] = probabilities.dims();
    let last = (count - 1) as i64;
    let high = atoms.low + last as f64 * atoms.spacing;
    let place = returns.clamp(atoms.low, high).sub_scalar(atoms.low);
    let place = place.div_scalar(atoms.spacing).clamp(0.0, last as f64);
    let floor = place.clone().floor();
    let above = (place - floor.clone()) * probabilities.clone();
    // What is not a number has no place, and its shares below are none either.
    let lower = floor.clone().mask_fill(floor.is_nan(), 0.0).int();
    let upper = lower.clone().add_scalar(1).clamp_max(last);
    let device = probabilities.device();
    Tensor::zeros([rows, count], &device)
        .scatter(
            1,
            lower,
            probabilities - above.clone(),
            IndexingUpdateOp::Add,
        )
        .scatter(1, upper, above, IndexingUpdateOp::Add)
}

/// `factor` times the derivative of the sum of [`cross_entropy`] by the logits, in their shape.
pub fn cross_entropy_slope<B: RescoreBackend>(
    logits: Tensor<B, 3>,
    targets: Tensor<B, 2>,
    factor: f64,
) -> Tensor<B, 3> {
    let [members, rows, _] = logits.dims();
    let grad = Tensor::full([members, rows, 1], factor, &logits.device());
    tensor(B::cross_entropy_backward(
        raw(logits),
        raw(targets),
        raw::<B, 3>(grad),
    ))
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
