//! Linear layers and stacks of them.

use burn::tensor::{Tensor, TensorData, backend::Backend};

use crate::{Activation, NoiseKey, Parameters, RescoreBackend, dense::dense};

/// A fully connected layer `y = x W + b`, `x` of shape `[rows, in]`.
#[derive(Debug, Clone)]
pub struct Linear<B: Backend> {
    /// `W`, `[in, out]`.
    pub weight: Tensor<B, 2>,
    /// `b`, `[out]`.
    pub bias: Tensor<B, 1>,
}

/// Distribution of the initial weights; biases start at zero.
///
/// Both are normals truncated at two standard deviations, as the two JAX libraries have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initializer {
    /// Scale `1 / sqrt(fan_in)` *before* truncation, so that the standard deviation is 12 % less
    /// (dm-haiku's default, and so the reference implementation's).
    TruncatedNormal,
    /// Standard deviation `1 / sqrt(fan_in)` *after* truncation (flax's `lecun_normal`).
    LecunNormal,
}

/// Standard deviation of a unit normal truncated at +-2.
const TRUNCATED_STD: f64 = 0.879_625_661_034_239_8;

impl<B: Backend> Linear<B> {
    /// A layer with random weights. `key` and `index` select the random numbers.
    fn init(
        [fan_in, fan_out]: [usize; 2],
        initializer: Initializer,
        key: NoiseKey,
        index: u32,
        device: &B::Device,
    ) -> Self {
        let std = 1.0 / (fan_in as f64).sqrt();
        let scale = match initializer {
            Initializer::TruncatedNormal => std,
            Initializer::LecunNormal => std / TRUNCATED_STD,
        };
        let mut values = Vec::with_capacity(fan_in * fan_out);
        let mut block = 0;
        while values.len() < fan_in * fan_out {
            // rejection at +-2 keeps 95 % of the draws
            let normals = key.normals(index, block, 0, 0);
            values.extend(
                normals
                    .iter()
                    .filter(|z| z.abs() < 2.0)
                    .map(|z| (f64::from(*z) * scale) as f32),
            );
            block += 1;
        }
        values.truncate(fan_in * fan_out);
        Self {
            weight: Tensor::from_data(TensorData::new(values, [fan_in, fan_out]), device),
            bias: Tensor::zeros([fan_out], device),
        }
    }
}

/// A multi-layer perceptron: linear layers with an activation between them (none after the last).
#[derive(Debug, Clone)]
pub struct Mlp<B: Backend> {
    /// The layers in order; there is at least one.
    pub layers: Vec<Linear<B>>,
    /// Activation after every layer but the last.
    pub activation: Activation,
}

impl<B: Backend> Mlp<B> {
    /// A network with layers of the widths `dims[0] -> dims[1] -> ...`.
    ///
    /// # Panics
    /// With fewer than two widths.
    pub fn init(
        dims: &[usize],
        activation: Activation,
        initializer: Initializer,
        key: NoiseKey,
        device: &B::Device,
    ) -> Self {
        assert!(
            dims.len() >= 2,
            "a network needs an input and an output width"
        );
        let layers = (0_u32..)
            .zip(dims.windows(2))
            .map(|(index, pair)| Linear::init([pair[0], pair[1]], initializer, key, index, device))
            .collect();
        Self { layers, activation }
    }

    /// Width of the input.
    pub fn input_dim(&self) -> usize {
        self.layers[0].weight.dims()[0]
    }

    /// Width of the output.
    pub fn output_dim(&self) -> usize {
        self.layers[self.layers.len() - 1].weight.dims()[1]
    }
}

impl<B: RescoreBackend> Mlp<B> {
    /// The network's output `[rows, out]` for `x` of shape `[rows, in]`.
    pub fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let last = self.layers.len() - 1;
        let layers = self.layers.iter().enumerate();
        layers.fold(x, |x, (i, layer)| {
            dense(x, layer, (i < last).then_some(self.activation))
        })
    }

    /// The rest of the network, given the first layer's output before its activation.
    ///
    /// For callers that put the first layer together from parts that they can reuse.
    pub fn forward_after_first(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        self.layers[1..]
            .iter()
            .fold(x, |x, layer| dense(self.activation.forward(x), layer, None))
    }
}

impl<B: Backend> Parameters<B> for Mlp<B> {
    type On<C: Backend> = Mlp<C>;

    fn layers(&self) -> Vec<(String, &Linear<B>)> {
        named("l", &self.layers)
    }

    fn map<C: Backend>(&self, f: &mut dyn FnMut(&str, &Linear<B>) -> Linear<C>) -> Mlp<C> {
        Mlp {
            layers: named("l", &self.layers)
                .into_iter()
                .map(|(name, layer)| f(&name, layer))
                .collect(),
            activation: self.activation,
        }
    }
}

/// `layers` with the names `prefix0`, `prefix1`, ...
fn named<'a, B: Backend>(prefix: &str, layers: &'a [Linear<B>]) -> Vec<(String, &'a Linear<B>)> {
    layers
        .iter()
        .enumerate()
        .map(|(index, layer)| (format!("{prefix}{index}"), layer))
        .collect()
}
