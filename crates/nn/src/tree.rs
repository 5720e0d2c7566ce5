//! Trees of leaves.

use burn::{
    backend::Autodiff,
    tensor::{Tensor, TensorPrimitive, backend::Backend},
};
use rescore_kernels::{RescoreBackend, total};

/// What a leaf is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A matrix of a linear layer.
    Weight,
    /// A bias, or the shift of a norm.
    Bias,
    /// The scale of a norm.
    Scale,
    /// A running statistic: stored and copied, but it has no gradient and no optimiser moves it.
    Statistic,
    /// A parameter that is never trained.
    Fixed,
}

impl Role {
    /// Whether a gradient is taken by the leaf and an optimiser moves it.
    pub const fn is_trained(self) -> bool {
        matches!(self, Self::Weight | Self::Bias | Self::Scale)
    }
}

/// Which leaf of a tree a tensor is.
#[derive(Debug, Clone, Copy)]
pub struct Leaf<'a> {
    /// Path of names, for example `l0.weight`.
    pub name: &'a str,
    /// What it is for.
    pub role: Role,
}

/// A network, or anything of the same structure (gradient, optimiser moments, target copy).
///
/// Every leaf has three axes, `[members, rows, columns]`: the members of an ensemble, then a matrix
/// `[in, out]`, or a vector as one row.
pub trait Tree<B: Backend>: Clone + Send {
    /// The same structure on another backend.
    type On<C: Backend>: Tree<C, On<B> = Self>;

    /// The structure with every leaf replaced by `f(leaf, tensor)`, in a fixed order. Names begin
    /// with `path`, which is empty or ends in a dot.
    fn map<C: Backend>(
        &self,
        path: &str,
        f: &mut dyn FnMut(Leaf<'_>, &Tensor<B, 3>) -> Tensor<C, 3>,
    ) -> Self::On<C>;
}

/// The differentiable copy of a network: what [`crate::value_and_grad`] hands to a loss.
pub type Trained<B, N> = <N as Tree<B>>::On<Autodiff<B>>;

/// All leaves of `tree` in order: name, role, tensor.
pub fn leaves<B: Backend, N: Tree<B>>(tree: &N) -> Vec<(String, Role, Tensor<B, 3>)> {
    let mut found = Vec::new();
    tree.map::<B>("", &mut |leaf, tensor| {
        found.push((leaf.name.to_owned(), leaf.role, tensor.clone()));
        tensor.clone()
    });
    found
}

/// Takes all tensors out of `tree`, in order, and leaves placeholders: nobody else then holds them,
/// and an operation can write in place.
pub(crate) fn take<B: Backend, N: Tree<B, On<B> = N>>(tree: &mut N) -> Vec<Tensor<B, 3>> {
    let mut tensors = Vec::new();
    *tree = tree.map::<B>("", &mut |_, tensor| {
        tensors.push(tensor.clone());
        Tensor::empty([1, 1, 1], &tensor.device())
    });
    tensors
}

/// Puts `tensors` in the place of those of `tree`, in order.
pub(crate) fn put_back<B: Backend, N: Tree<B, On<B> = N>>(
    tree: &mut N,
    tensors: Vec<Tensor<B, 3>>,
) {
    let mut tensors = tensors.into_iter();
    *tree = tree.map::<B>("", &mut |_, _| {
        tensors
            .next()
            .expect("as many tensors as `take` gave, one for each leaf")
    });
}

/// The primitive of a tensor.
pub(crate) fn raw<B: Backend, const D: usize>(
    x: Tensor<B, D>,
) -> burn::tensor::ops::FloatTensor<B> {
    x.into_primitive().tensor()
}

/// The tensor of a primitive.
pub(crate) fn tensor<B: Backend, const D: usize>(
    x: burn::tensor::ops::FloatTensor<B>,
) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

/// Moves `target` to the moving average `(1 - tau) target + tau online`, leaf by leaf, statistics
/// included.
pub fn polyak<B: RescoreBackend, N>(target: &mut N, online: &N, tau: f64)
where
    N: Tree<B, On<B> = N>,
{
    let targets = take(target).into_iter().map(raw).collect();
    let online = leaves(online);
    let sources = online.into_iter().map(|(_, _, source)| raw(source));
    let moved = B::lerp(targets, sources.collect(), tau);
    put_back(target, moved.into_iter().map(tensor).collect());
}

/// Sum of all leaves of `tree`, `[1]`: not finite if one of them is not. One pass over the
/// parameters, on their device.
///
/// # Panics
/// For a tree without leaves.
pub fn parameter_sum<B: Backend, N: Tree<B>>(tree: &N) -> Tensor<B, 1> {
    leaves(tree)
        .into_iter()
        .map(|(_, _, tensor)| total(tensor))
        .reduce(|sum, leaf| sum + leaf)
        .expect("a network has leaves")
}

/// Euclidean norm of all trained leaves of `tree`, `[1]`.
///
/// # Panics
/// For a tree without trained leaves.
pub fn norm<B: Backend, N: Tree<B>>(tree: &N) -> Tensor<B, 1> {
    leaves(tree)
        .into_iter()
        .filter(|(_, role, _)| role.is_trained())
        .map(|(_, _, tensor)| total(tensor.clone() * tensor))
        .reduce(|sum, leaf| sum + leaf)
        .expect("a network has trained leaves")
        .sqrt()
}

/// Divides every column of every weight (the weights of one output unit) by its Euclidean norm, as
/// networks with a norm before each activation allow: their output does not depend on the scale of
/// the weights (Palenicek et al. 2025, XQC). Biases, scales and statistics stay.
pub fn project_columns<B: Backend, N: Tree<B, On<B> = N>>(tree: &mut N) {
    *tree = tree.map::<B>("", &mut |leaf, tensor| match leaf.role {
        Role::Weight => {
            let squares = tensor.clone() * tensor.clone();
            tensor.clone() / squares.sum_dim(1).sqrt()
        }
        _ => tensor.clone(),
    });
}
