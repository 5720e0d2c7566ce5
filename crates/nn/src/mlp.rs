//! Stacks of linear layers.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{Activation, NoiseKey, RescoreBackend, Stack};

use crate::{Initializer, Leaf, Linear, Tree};

/// A multi-layer perceptron: linear layers with an activation between them (none after the last).
#[derive(Debug, Clone)]
pub struct Mlp<B: Backend> {
    /// The layers in order; there is at least one. Their leaves are called `l0`, `l1`, ...
    pub layers: Vec<Linear<B>>,
    /// Activation after every layer but the last.
    pub activation: Activation,
}

impl<B: Backend> Mlp<B> {
    /// Networks, one for each of `keys`, with layers of the widths `dims[0] -> dims[1] -> ...`.
    ///
    /// # Panics
    /// With fewer than two widths or without a key.
    pub fn init(
        dims: &[usize],
        activation: Activation,
        initializer: Initializer,
        keys: &[NoiseKey],
        device: &B::Device,
    ) -> Self {
        assert!(
            dims.len() >= 2 && !keys.is_empty(),
            "a network needs an input width, an output width and a key"
        );
        let layers = (0_u32..)
            .zip(dims.windows(2))
            .map(|(index, pair)| {
                let dims = [pair[0], pair[1]];
                Linear::init(dims, true, initializer, keys, index, device)
            })
            .collect();
        Self { layers, activation }
    }

    /// Width of the input.
    pub fn input_dim(&self) -> usize {
        self.layers[0].weight.dims()[1]
    }

    /// Width of the output.
    pub fn output_dim(&self) -> usize {
        self.layers[self.layers.len() - 1].weight.dims()[2]
    }

    /// The weights as kernels take them.
    pub fn stack(&self) -> Stack<B> {
        Stack {
            layers: self.layers.iter().map(Linear::layer).collect(),
            activation: self.activation,
        }
    }
}

impl<B: RescoreBackend> Mlp<B> {
    /// The outputs `[members, rows, out]` for `x` `[members, rows, in]`, or `[1, rows, in]` where
    /// all members have the same input.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.stack().forward(x)
    }

    /// As [`Mlp::forward`] for a network of one member and rows alone: `[rows, in]` to `[rows, out]`.
    pub fn forward_rows(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        self.forward(x.unsqueeze_dim(0)).squeeze_dim(0)
    }
}

impl<B: Backend> Tree<B> for Mlp<B> {
    type On<C: Backend> = Mlp<C>;

    fn map<C: Backend>(
        &self,
        path: &str,
        f: &mut dyn FnMut(Leaf<'_>, &Tensor<B, 3>) -> Tensor<C, 3>,
    ) -> Mlp<C> {
        let layers = self.layers.iter().enumerate();
        Mlp {
            layers: layers
                .map(|(i, layer)| layer.map(&format!("{path}l{i}."), f))
                .collect(),
            activation: self.activation,
        }
    }
}
