//! The networks that settings can name.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{Activation, NoiseKey, RescoreBackend, Stack};

use crate::{BatchNormMlp, Initializer, Leaf, Linear, Mlp, Residual, Statistics, Tree};

/// A network of one of the kinds that settings can name. Every member of an ensemble has weights of
/// its own.
#[derive(Debug, Clone)]
pub enum Network<B: Backend> {
    /// Linear layers with an activation between them.
    Mlp(Mlp<B>),
    /// Residual blocks with a norm of every row (`SimBa`).
    Residual(Residual<B>),
    /// Linear layers with a norm over the batch between them (XQC).
    BatchNormMlp(BatchNormMlp<B>),
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
    /// See [`Network::Residual`].
    Residual {
        /// Width of the blocks.
        width: usize,
        /// How many blocks there are.
        blocks: usize,
        /// Gain of the last layer's initial weights; 1 for critics, less for actors.
        head_gain: f64,
    },
    /// See [`Network::BatchNormMlp`]. Not for actors: rows of different denoising steps would be
    /// normalised together.
    BatchNormMlp {
        /// Widths of the hidden layers, at least one.
        hidden_dims: Vec<usize>,
    },
}

/// `input -> hidden ... -> output`
fn widths(input: usize, hidden: &[usize], output: usize) -> Vec<usize> {
    [&[input], hidden, &[output]].concat()
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
                let dims = widths(input, hidden_dims, output);
                Self::Mlp(Mlp::init(&dims, *activation, *initializer, keys, device))
            }
            Shape::Residual {
                width,
                blocks,
                head_gain,
            } => {
                let dims = [input, *width, output];
                Self::Residual(Residual::init(dims, *blocks, *head_gain, keys, device))
            }
            Shape::BatchNormMlp { hidden_dims } => {
                let dims = widths(input, hidden_dims, output);
                Self::BatchNormMlp(BatchNormMlp::init(&dims, keys, device))
            }
        }
    }

    /// How many networks lie side by side.
    pub fn members(&self) -> usize {
        self.ends()[0].weight.dims()[0]
    }

    /// Width of the input.
    pub fn input_dim(&self) -> usize {
        self.ends()[0].weight.dims()[1]
    }

    /// Width of the output.
    pub fn output_dim(&self) -> usize {
        self.ends()[1].weight.dims()[2]
    }

    /// The first and the last linear layer.
    fn ends(&self) -> [&Linear<B>; 2] {
        match self {
            Self::Mlp(mlp) => [&mlp.layers[0], &mlp.layers[mlp.layers.len() - 1]],
            Self::Residual(residual) => [&residual.input, &residual.head],
            Self::BatchNormMlp(mlp) => {
                let first = mlp.layers.first().map_or(&mlp.head, |(layer, _)| layer);
                [first, &mlp.head]
            }
        }
    }

    /// Whether rows are normalised together in training, so that an output depends on the others.
    pub fn has_batch_statistics(&self) -> bool {
        matches!(self, Self::BatchNormMlp(_))
    }

    /// The weights as kernels take them; none for networks that are no plain stack of layers, which
    /// the fused kernels cannot run.
    pub fn stack(&self) -> Option<Stack<B>> {
        match self {
            Self::Mlp(mlp) => Some(mlp.stack()),
            Self::Residual(_) | Self::BatchNormMlp(_) => None,
        }
    }
}

impl<B: RescoreBackend> Network<B> {
    /// The outputs `[members, rows, out]` for `x` `[members, rows, in]`, or `[1, rows, in]` where
    /// all members have the same input; norms over the batch use their running statistics.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        match self {
            Self::Mlp(mlp) => mlp.forward(x),
            Self::Residual(residual) => residual.forward(x),
            Self::BatchNormMlp(mlp) => mlp.forward(x),
        }
    }

    /// As [`Network::forward`], but norms over the batch use the statistics of the rows of `x`; with
    /// the running statistics after it. The plain forward pass of networks without such norms.
    pub fn forward_training(&self, x: Tensor<B, 3>) -> (Tensor<B, 3>, Statistics<B>) {
        match self {
            Self::BatchNormMlp(mlp) => mlp.forward_training(x),
            Self::Mlp(_) | Self::Residual(_) => (self.forward(x), Statistics(Vec::new())),
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
            Self::Residual(residual) => Network::Residual(residual.map(path, f)),
            Self::BatchNormMlp(mlp) => Network::BatchNormMlp(mlp.map(path, f)),
        }
    }
}
