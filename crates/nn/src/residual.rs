//! Residual stacks.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::residual::{BlockView, ResidualView};
use rescore_kernels::{NoiseKey, RescoreBackend};

use crate::norm::ROW_EPSILON;
use crate::{Initializer, LayerNorm, Leaf, Linear, Tree};

/// How much wider a block is inside.
const EXPANSION: usize = 4;

/// A block `x + down(relu(up(norm(x))))`.
#[derive(Debug, Clone)]
pub struct Block<B: Backend> {
    /// Before the first layer.
    pub norm: LayerNorm<B>,
    /// `width -> 4 width`
    pub up: Linear<B>,
    /// `4 width -> width`
    pub down: Linear<B>,
}

/// A linear layer, residual blocks, a norm and a linear layer (Lee et al. 2025, `SimBa`): the input
/// reaches the output without an activation on its way.
#[derive(Debug, Clone)]
pub struct Residual<B: Backend> {
    /// `input -> width`; its leaf is called `in`.
    pub input: Linear<B>,
    /// The blocks in order; their leaves are called `ln0`, `up0`, `down0`, `ln1`, ...
    pub blocks: Vec<Block<B>>,
    /// After the last block, `ln_out`.
    pub norm: LayerNorm<B>,
    /// `width -> output`
    pub head: Linear<B>,
}

impl<B: Backend> Residual<B> {
    /// Networks, one for each of `keys`, with orthogonal weights of gain 1 (`sqrt 2` before the
    /// rectifier, `head_gain` in the last layer).
    pub fn init(
        [input, width, output]: [usize; 3],
        blocks: usize,
        head_gain: f64,
        keys: &[NoiseKey],
        device: &B::Device,
    ) -> Self {
        let inner = EXPANSION * width;
        let mut index = 0;
        // Every layer has an index, and so random numbers, of its own.
        let mut linear = |dims: [usize; 2], gain: f64| {
            index += 1;
            let initializer = Initializer::Orthogonal(gain);
            Linear::init(dims, true, initializer, keys, index - 1, device)
        };
        let norm = || LayerNorm::init(keys.len(), width, device);
        Self {
            input: linear([input, width], 1.0),
            blocks: (0..blocks)
                .map(|_| Block {
                    norm: norm(),
                    up: linear([width, inner], std::f64::consts::SQRT_2),
                    down: linear([inner, width], 1.0),
                })
                .collect(),
            norm: norm(),
            head: linear([width, output], head_gain),
        }
    }
}

impl<B: Backend> Residual<B> {
    /// The weights as kernels take them.
    pub fn view(&self) -> ResidualView<B> {
        let blocks = self.blocks.iter().map(|block| BlockView {
            norm: block.norm.view(),
            up: block.up.layer(),
            down: block.down.layer(),
        });
        ResidualView {
            input: self.input.layer(),
            blocks: blocks.collect(),
            norm: self.norm.view(),
            head: self.head.layer(),
            epsilon: ROW_EPSILON,
        }
    }
}

impl<B: RescoreBackend> Residual<B> {
    /// The outputs `[members, rows, out]` for `x` `[members or 1, rows, in]`.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.view().forward(x)
    }
}

impl<B: Backend> Tree<B> for Residual<B> {
    type On<C: Backend> = Residual<C>;

    fn map<C: Backend>(
        &self,
        path: &str,
        f: &mut dyn FnMut(Leaf<'_>, &Tensor<B, 3>) -> Tensor<C, 3>,
    ) -> Residual<C> {
        let input = self.input.map(&format!("{path}in."), f);
        let blocks = self.blocks.iter().enumerate().map(|(i, block)| Block {
            norm: block.norm.map(&format!("{path}ln{i}."), f),
            up: block.up.map(&format!("{path}up{i}."), f),
            down: block.down.map(&format!("{path}down{i}."), f),
        });
        Residual {
            input,
            blocks: blocks.collect(),
            norm: self.norm.map(&format!("{path}ln_out."), f),
            head: self.head.map(&format!("{path}head."), f),
        }
    }
}
