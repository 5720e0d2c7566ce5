//! The networks that settings can name.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{Activation, NoiseKey, RescoreBackend, Stack};

use crate::{Initializer, Leaf, Mlp, Tree};

/// A network of one of the kinds that settings can name. Every member of an ensemble has weights of
/// its own.
#[derive(Debug, Clone)]
pub enum Network<B: Backend> {
    /// Linear layers with an activation between them.
    Mlp(Mlp<B>),
}

/// What a [`Network`] is to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// See [`Network::Mlp`].
    Mlp {
        /// Widths of the hidden layers, at least one.
        hidden_dims: Vec<usize>,
        /// Activation between the layers.
        activation: Activation,
        /// Distribution of the initial weights.
        initializer: Initializer,
    },
}

impl<B: Backend> Network<B> {
    /// Networks `input -> .. -> output`, one for each of `keys`, with random weights that are a
    /// function of the keys alone.
    pub fn init(
        shape: &Shape,
        [input, output]: [usize; 2],
        keys: &[NoiseKey],
        device: &B::Device,
    ) -> Self {
        match shape {
            Shape::Mlp {
                hidden_dims,
                activation,
                initializer,
            } => {
                let mut dims = vec![input];
                dims.extend_from_slice(hidden_dims);
                dims.push(output);
                Self::Mlp(Mlp::init(&dims, *activation, *initializer, keys, device))
            }
        }
    }

    /// How many networks lie side by side.
    pub fn members(&self) -> usize {
        match self {
            Self::Mlp(mlp) => mlp.layers[0].weight.dims()[0],
        }
    }

    /// Width of the input.
    pub fn input_dim(&self) -> usize {
        match self {
            Self::Mlp(mlp) => mlp.input_dim(),
        }
    }

    /// Width of the output.
    pub fn output_dim(&self) -> usize {
        match self {
            Self::Mlp(mlp) => mlp.output_dim(),
        }
    }

    /// The weights as kernels take them; none for networks that are no plain stack of layers, which
    /// the fused kernels cannot run.
    pub fn stack(&self) -> Option<Stack<B>> {
        match self {
            Self::Mlp(mlp) => Some(mlp.stack()),
        }
    }
}

impl<B: RescoreBackend> Network<B> {
    /// The outputs `[members, rows, out]` for `x` `[members, rows, in]`, or `[1, rows, in]` where
    /// all members have the same input; norms over the batch use their running statistics.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        match self {
            Self::Mlp(mlp) => mlp.forward(x),
        }
    }

    /// As [`Network::forward`] for a network of one member: `[rows, in]` to `[rows, out]`.
    pub fn forward_rows(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        self.forward(x.unsqueeze_dim(0)).squeeze_dim(0)
    }
}

impl<B: Backend> Tree<B> for Network<B> {
    type On<C: Backend> = Network<C>;

    fn map<C: Backend>(
        &self,
        path: &str,
        f: &mut dyn FnMut(Leaf<'_>, &Tensor<B, 3>) -> Tensor<C, 3>,
    ) -> Network<C> {
        match self {
            Self::Mlp(mlp) => Network::Mlp(mlp.map(path, f)),
        }
    }
}
