//! A norm of every row as one differentiable operation.

use burn::{
    backend::autodiff::{
        Autodiff,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::{Tensor, TensorPrimitive, backend::Backend, ops::FloatTensor},
};

use crate::RescoreBackend;

/// Axis of the columns of `[members, rows, columns]`.
const COLUMNS: usize = 2;
/// Axis of the rows.
const ROWS: usize = 1;

/// `(x - mean) / sqrt(variance + epsilon) scale + shift` of every row (Ba, Kiros and Hinton 2016),
/// the variance divided by the count: `x` `[members, rows, width]`, `scale` and `shift` `[members, 1,
/// width]`, result `[members, rows, width]`.
pub fn layer_norm<B: RescoreBackend>(
    x: Tensor<B, 3>,
    scale: Tensor<B, 3>,
    shift: Tensor<B, 3>,
    epsilon: f64,
) -> Tensor<B, 3> {
    let [x, scale, shift] = [x, scale, shift].map(|x| x.into_primitive().tensor());
    let output = B::norm_rows(x, scale, shift, epsilon);
    Tensor::from_primitive(TensorPrimitive::Float(output))
}

/// Every row less its mean, and over the root of its variance plus `epsilon`; that root's inverse.
fn normal<B: Backend>(x: FloatTensor<B>, epsilon: f64) -> [FloatTensor<B>; 2] {
    let mean = B::float_mean_dim(x.clone(), COLUMNS);
    let deviation = B::float_sub(x, mean);
    let squares = B::float_mul(deviation.clone(), deviation.clone());
    let variance = B::float_mean_dim(squares, COLUMNS);
    let inverse = B::float_recip(B::float_sqrt(B::float_add_scalar(variance, epsilon.into())));
    [B::float_mul(deviation, inverse.clone()), inverse]
}

/// The default body of [`RescoreBackend::norm_rows`].
pub(crate) fn forward<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    epsilon: f64,
) -> FloatTensor<B> {
    let [normal, _] = normal::<B>(x, epsilon);
    B::float_add(B::float_mul(normal, scale), shift)
}

/// Derivatives of a norm of every row.
#[derive(Debug, Clone)]
pub struct NormGradients<B: Backend> {
    /// By the input, `[members, rows, width]`.
    pub x: FloatTensor<B>,
    /// By the scale, `[members, 1, width]`.
    pub scale: FloatTensor<B>,
    /// By the shift, `[members, 1, width]`.
    pub shift: FloatTensor<B>,
}

/// The default body of [`RescoreBackend::norm_rows_backward`]: with the normal `h` and `d = grad
/// scale`, `x` has `(d - mean d - h mean(d h)) / sqrt(variance + epsilon)`.
pub(crate) fn backward<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    grad: FloatTensor<B>,
    epsilon: f64,
) -> NormGradients<B> {
    let [normal, inverse] = normal::<B>(x, epsilon);
    let d = B::float_mul(grad.clone(), scale);
    let along = B::float_mean_dim(B::float_mul(d.clone(), normal.clone()), COLUMNS);
    let centred = B::float_sub(d.clone(), B::float_mean_dim(d, COLUMNS));
    let across = B::float_sub(centred, B::float_mul(normal.clone(), along));
    NormGradients {
        x: B::float_mul(across, inverse),
        scale: B::float_sum_dim(B::float_mul(grad.clone(), normal), ROWS),
        shift: B::float_sum_dim(grad, ROWS),
    }
}

/// The backward node.
#[derive(Debug)]
struct NormBackward;

impl<B: RescoreBackend> Backward<B, 3> for NormBackward {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, scale, epsilon) = ops.state;
        let found = B::norm_rows_backward(x, scale, grad, epsilon);
        let gradients = [found.x, found.scale, found.shift];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// A norm of differentiable tensors.
pub(crate) fn differentiable<B: RescoreBackend, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    scale: FloatTensor<Autodiff<B, C>>,
    shift: FloatTensor<Autodiff<B, C>>,
    epsilon: f64,
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = [x.node.clone(), scale.node.clone(), shift.node.clone()];
    let kept = (x.primitive.clone(), scale.primitive.clone(), epsilon);
    let output = B::norm_rows(x.primitive, scale.primitive, shift.primitive, epsilon);
    match NormBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(kept, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
