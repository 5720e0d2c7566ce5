//! Views of the weights of a residual network, and scoring actions by such critics.

use burn::tensor::{Tensor, backend::Backend};

use crate::categorical::{Atoms, expectation};
use crate::{
    Activation, Combine, Layer, RescoreBackend, dense::dense, flatten_particles, join::join,
    layer_norm::layer_norm, unflatten_particles,
};

/// Scale and shift of a norm of every row, `[members, 1, width]` each.
#[derive(Debug, Clone)]
pub struct NormView<B: Backend> {
    /// The scale.
    pub scale: Tensor<B, 3>,
    /// The shift.
    pub shift: Tensor<B, 3>,
}

/// A block `x + down(relu(up(norm(x))))`.
#[derive(Debug, Clone)]
pub struct BlockView<B: Backend> {
    /// Before the first layer.
    pub norm: NormView<B>,
    /// To the wider layer.
    pub up: Layer<B>,
    /// Back.
    pub down: Layer<B>,
}

/// A linear layer, blocks, a norm and a linear layer (Lee et al. 2025, `SimBa`).
#[derive(Debug, Clone)]
pub struct ResidualView<B: Backend> {
    /// `input -> width`
    pub input: Layer<B>,
    /// The blocks in order.
    pub blocks: Vec<BlockView<B>>,
    /// After the last block.
    pub norm: NormView<B>,
    /// `width -> output`
    pub head: Layer<B>,
    /// Added to the variance of a row.
    pub epsilon: f64,
}

impl<B: RescoreBackend> ResidualView<B> {
    /// The outputs `[members, rows, out]` for `x` `[members or 1, rows, in]`.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let norm = |norm: &NormView<B>, x| {
            layer_norm(x, norm.scale.clone(), norm.shift.clone(), self.epsilon)
        };
        let block = |x: Tensor<B, 3>, block: &BlockView<B>| {
            let normal = norm(&block.norm, x.clone());
            let inside = dense(normal, &block.up, Some(Activation::Relu));
            x + dense(inside, &block.down, None)
        };
        let x = self.blocks.iter().fold(dense(x, &self.input, None), block);
        dense(norm(&self.norm, x), &self.head, None)
    }

    /// How many networks lie side by side.
    pub fn members(&self) -> usize {
        self.input.weight.dims()[0]
    }
}

/// The default body of [`RescoreBackend::score_residual`].
pub(crate) fn score<B: RescoreBackend>(
    critics: &ResidualView<B>,
    atoms: Option<Atoms>,
    combine: Combine,
    observations: Tensor<B, 2>,
    actions: Tensor<B, 3>,
) -> Tensor<B, 2> {
    let [states, particles, _] = actions.dims();
    let rows = pairs(observations, actions).unsqueeze_dim(0);
    let outputs = critics.forward(rows);
    let values = match atoms {
        Some(atoms) => expectation(outputs, atoms),
        None => outputs.squeeze_dim(2),
    };
    let values = combine.values(values).unsqueeze_dim(1);
    unflatten_particles(values, states).reshape([states, particles])
}

/// `concat(observation, action)` of every particle, `[states * particles, width]`.
pub(crate) fn pairs<B: RescoreBackend>(
    observations: Tensor<B, 2>,
    actions: Tensor<B, 3>,
) -> Tensor<B, 2> {
    let [states, particles, _] = actions.dims();
    let [_, width] = observations.dims();
    if particles == 1 {
        return join(observations, flatten_particles(actions));
    }
    let observations = observations.unsqueeze_dim::<3>(1);
    let observations = flatten_particles(observations.expand([states, particles, width]));
    join(observations, flatten_particles(actions))
}
