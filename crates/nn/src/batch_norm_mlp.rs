//! Multi-layer perceptrons with a norm over the batch before every activation.

use burn::{
    backend::Autodiff,
    tensor::{Tensor, backend::Backend},
};
use rescore_kernels::{Activation, NoiseKey, RescoreBackend};

use crate::{BatchNorm, Initializer, Leaf, Linear, Role, Tree, project_columns};

/// Linear layers, each but the last without bias and followed by a norm over the batch and a
/// rectifier, behind a norm of the input (Palenicek et al. 2025, XQC).
///
/// The shift of the norm of the input is a parameter that is never trained: the next norm subtracts
/// it again, so that its derivative is exactly 0. Automatic differentiation leaves roundings of
/// 1e-9 there, which Adam would turn into steps of nearly the learning rate.
#[derive(Debug, Clone)]
pub struct BatchNormMlp<B: Backend> {
    /// Norm of the input, `bn_in`.
    pub input: BatchNorm<B>,
    /// The hidden layers in order, `l0`, `l1`, ..., each with its norm, `bn0`, `bn1`, ...
    pub layers: Vec<(Linear<B>, BatchNorm<B>)>,
    /// The last layer.
    pub head: Linear<B>,
}

/// Running statistics of a network's norms over the batch, in the order of its leaves; none of a
/// network without such norms.
#[derive(Debug, Clone, Default)]
pub struct Statistics<B: Backend>(pub(crate) Vec<Tensor<B, 3>>);

impl<B: Backend> Statistics<Autodiff<B>> {
    /// The same on the inner backend.
    #[must_use]
    pub fn inner(self) -> Statistics<B> {
        Statistics(self.0.into_iter().map(Tensor::inner).collect())
    }
}

impl<B: Backend> Statistics<B> {
    /// Puts these in the place of those of `tree`, the network that they came from or a tree around
    /// it.
    ///
    /// # Panics
    /// If there are some, and not as many as `tree` has.
    pub fn put_into<N: Tree<B, On<B> = N>>(self, tree: &mut N) {
        if self.0.is_empty() {
            return;
        }
        let mut new = self.0.into_iter();
        *tree = tree.map::<B>("", &mut |leaf, tensor| match leaf.role {
            Role::Statistic => new
                .next()
                .expect("a new statistic for each of the network's"),
            _ => tensor.clone(),
        });
        assert!(new.next().is_none(), "more statistics than the network has");
    }
}

impl<B: Backend> BatchNormMlp<B> {
    /// Networks, one for each of `keys`, with layers of the widths `dims[0] -> dims[1] -> ...`:
    /// orthogonal weights whose columns have norm 1.
    ///
    /// # Panics
    /// With fewer than two widths.
    pub fn init(dims: &[usize], keys: &[NoiseKey], device: &B::Device) -> Self {
        let last = dims.len() - 2;
        let linear = |index: usize| {
            let (dims, bias) = ([dims[index], dims[index + 1]], index == last);
            let initializer = Initializer::Orthogonal(1.0);
            Linear::init(dims, bias, initializer, keys, index as u32, device)
        };
        let norm = |index: usize| BatchNorm::init(keys.len(), dims[index], device);
        let mut network = Self {
            input: norm(0),
            layers: (0..last).map(|i| (linear(i), norm(i + 1))).collect(),
            head: linear(last),
        };
        project_columns(&mut network);
        network
    }
}

impl<B: RescoreBackend> BatchNormMlp<B> {
    /// The outputs `[members, rows, out]` for `x` `[members or 1, rows, in]`, with the running
    /// statistics.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.fold(x, BatchNorm::forward)
    }

    /// As [`BatchNormMlp::forward`] with the statistics of the rows of `x`, through which
    /// derivatives pass, and the running statistics after it.
    pub fn forward_training(&self, x: Tensor<B, 3>) -> (Tensor<B, 3>, Statistics<B>) {
        let mut statistics = Vec::new();
        let output = self.fold(x, |norm, x| {
            let (output, running) = norm.forward_training(x);
            statistics.extend(running);
            output
        });
        (output, Statistics(statistics))
    }

    fn fold(
        &self,
        x: Tensor<B, 3>,
        mut norm: impl FnMut(&BatchNorm<B>, Tensor<B, 3>) -> Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        let mut x = norm(&self.input, x);
        for (layer, after) in &self.layers {
            x = Activation::Relu.forward(norm(after, layer.forward(x, None)));
        }
        self.head.forward(x, None)
    }
}

impl<B: Backend> Tree<B> for BatchNormMlp<B> {
    type On<C: Backend> = BatchNormMlp<C>;

    fn map<C: Backend>(
        &self,
        path: &str,
        f: &mut dyn FnMut(Leaf<'_>, &Tensor<B, 3>) -> Tensor<C, 3>,
    ) -> BatchNormMlp<C> {
        let input = self
            .input
            .map_with(&format!("{path}bn_in."), Role::Fixed, f);
        let layers = self.layers.iter().enumerate().map(|(i, (layer, norm))| {
            let layer = layer.map(&format!("{path}l{i}."), f);
            (layer, norm.map(&format!("{path}bn{i}."), f))
        });
        BatchNormMlp {
            input,
            layers: layers.collect(),
            head: self.head.map(&format!("{path}head."), f),
        }
    }
}
