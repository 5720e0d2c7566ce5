//! Views of the weights of a stack of linear layers.

use burn::tensor::{Tensor, backend::Backend};

use crate::{Activation, Layer, RescoreBackend, dense::dense};

/// Layers with an activation between them (none after the last).
#[derive(Debug, Clone)]
pub struct Stack<B: Backend> {
    /// The layers in order; there is at least one.
    pub layers: Vec<Layer<B>>,
    /// Activation after every layer but the last.
    pub activation: Activation,
}

impl<B: Backend> Stack<B> {
    /// How many networks lie side by side.
    pub fn members(&self) -> usize {
        self.layers[0].weight.dims()[0]
    }

    /// Width of the input.
    pub fn input_dim(&self) -> usize {
        self.layers[0].weight.dims()[1]
    }

    /// Width of the output.
    pub fn output_dim(&self) -> usize {
        self.layers[self.layers.len() - 1].weight.dims()[2]
    }
}

impl<B: RescoreBackend> Stack<B> {
    /// The outputs `[members, rows, out]` for `x` `[members, rows, in]`, or `[1, rows, in]` where
    /// all members have the same input.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let last = self.layers.len() - 1;
        let layers = self.layers.iter().enumerate();
        layers.fold(x, |x, (i, layer)| {
            dense(x, layer, (i < last).then_some(self.activation))
        })
    }

    /// The rest of the stack, given the first layer's output `[members, rows, hidden]` before its
    /// activation.
    ///
    /// For callers that put the first layer together from parts that they can reuse.
    pub(crate) fn forward_after_first(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.layers[1..]
            .iter()
            .fold(x, |x, layer| dense(self.activation.forward(x), layer, None))
    }
}
