//! Networks as trees of linear layers: gradients, moving averages, optimiser moments and files
//! all go over the same list of named layers.

use burn::{
    backend::Autodiff,
    tensor::{Tensor, TensorPrimitive, backend::Backend},
};

use crate::{Linear, RescoreBackend};

/// A network, or anything of the same shape (gradients, optimiser moments, a target copy).
pub trait Parameters<B: Backend>: Clone + Send {
    /// The same structure on another backend.
    type On<C: Backend>: Parameters<C, On<B> = Self>;

    /// All layers with their names (`l0`, `time1`, `q2.l0`), in a fixed order.
    fn layers(&self) -> Vec<(String, &Linear<B>)>;

    /// A structure of the same shape with every layer replaced by `f(name, layer)`, called in the
    /// order of [`Parameters::layers`].
    fn map<C: Backend>(&self, f: &mut dyn FnMut(&str, &Linear<B>) -> Linear<C>) -> Self::On<C>;
}

/// The differentiable copy of a network: what [`value_and_grad`] hands to a loss.
pub type Trained<B, N> = <N as Parameters<B>>::On<Autodiff<B>>;

/// A copy of `network` whose parameters are leaves of a new autodiff graph.
pub fn lift<B: Backend, N: Parameters<B>>(network: &N) -> Trained<B, N> {
    network.map(&mut |_, layer| Linear {
        weight: Tensor::<Autodiff<B>, 2>::from_inner(layer.weight.clone()).require_grad(),
        bias: Tensor::<Autodiff<B>, 1>::from_inner(layer.bias.clone()).require_grad(),
    })
}

/// A copy of `network` on the autodiff backend whose parameters are constants: derivatives pass
/// through the network to its input, none are computed for its weights.
pub fn freeze<B: Backend, N: Parameters<B>>(network: &N) -> Trained<B, N> {
    network.map(&mut |_, layer| Linear {
        weight: Tensor::<Autodiff<B>, 2>::from_inner(layer.weight.clone()),
        bias: Tensor::<Autodiff<B>, 1>::from_inner(layer.bias.clone()),
    })
}

/// The loss `loss(network)` and its gradient with respect to every parameter of `network`.
///
/// `loss` returns the scalar loss, shape `[1]`, and whatever else the caller wants back.
/// Parameters that the loss does not depend on get a zero gradient.
pub fn value_and_grad<B: RescoreBackend, N: Parameters<B>, R>(
    network: &N,
    loss: impl FnOnce(&Trained<B, N>) -> (Tensor<Autodiff<B>, 1>, R),
) -> (Tensor<B, 1>, N, R) {
    let trained = lift::<B, N>(network);
    let (value, rest) = loss(&trained);
    let mut grads = value.backward();
    let gradient = trained.map(&mut |_, layer| Linear {
        weight: layer
            .weight
            .grad_remove(&mut grads)
            .unwrap_or_else(|| layer.weight.clone().inner().zeros_like()),
        bias: layer
            .bias
            .grad_remove(&mut grads)
            .unwrap_or_else(|| layer.bias.clone().inner().zeros_like()),
    });
    (value.inner(), gradient, rest)
}

/// Takes all layers out of `tree`, in order, and leaves empty ones.
pub(crate) fn take<B: Backend, N: Parameters<B, On<B> = N>>(tree: &mut N) -> Vec<Linear<B>> {
    let mut layers = Vec::new();
    *tree = tree.map::<B>(&mut |_, layer| {
        let device = layer.bias.device();
        layers.push(layer.clone());
        Linear {
            weight: Tensor::empty([1, 1], &device),
            bias: Tensor::empty([1], &device),
        }
    });
    layers
}

/// Puts `layers` in the place of those of `tree`, in order.
pub(crate) fn put_back<B: Backend, N: Parameters<B, On<B> = N>>(
    tree: &mut N,
    layers: Vec<Linear<B>>,
) {
    let mut layers = layers.into_iter();
    // As many as `take` gave, one for each that `map` visits; the fallback is never taken.
    *tree = tree.map::<B>(&mut |_, old| layers.next().unwrap_or_else(|| old.clone()));
}

/// Moves `target` to the moving average `(1 - tau) target + tau online`, parameter by parameter.
pub fn polyak<B: RescoreBackend, N>(target: &mut N, online: &N, tau: f64)
where
    N: Parameters<B, On<B> = N>,
{
    let mut targets = Vec::new();
    let mut sources = Vec::new();
    for (layer, (_, online)) in take(target).into_iter().zip(online.layers()) {
        targets.push(layer.weight.into_primitive().tensor());
        targets.push(layer.bias.into_primitive().tensor());
        sources.push(online.weight.clone().into_primitive().tensor());
        sources.push(online.bias.clone().into_primitive().tensor());
    }
    let mut moved = B::lerp(targets, sources, tau)
        .into_iter()
        .map(TensorPrimitive::Float);
    let mut layers = Vec::new();
    while let (Some(weight), Some(bias)) = (moved.next(), moved.next()) {
        layers.push(Linear {
            weight: Tensor::from_primitive(weight),
            bias: Tensor::from_primitive(bias),
        });
    }
    put_back(target, layers);
}
