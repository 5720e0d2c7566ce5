//! The denoiser network: predicts the noise in a noisy action.

use burn::tensor::{Int, Tensor, backend::Backend};
use rescore_kernels::{
    Activation, ChainNetwork, Initializer, Linear, Mlp, NoiseKey, Parameters, Precision,
    RescoreBackend, dense::matmul,
};

use crate::time_embedding;

/// Width of the sinusoidal embedding and of the time network's output.
const TIME_DIM: usize = 16;

/// Sizes of a [`Denoiser`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenoiserShape {
    /// Width of an observation.
    pub observation_dim: usize,
    /// Width of an action.
    pub action_dim: usize,
    /// Widths of the hidden layers, at least one.
    pub hidden_dims: Vec<usize>,
}

/// `epsilon(observation, x_t, t)`: a time network `16 -> 32 -> 16` whose output joins observation
/// and noisy action as the input of the trunk; Mish throughout.
///
/// Trunk input order: observation, `x_t`, time features.
#[derive(Debug, Clone)]
pub struct Denoiser<B: Backend> {
    /// Time network.
    pub time: Mlp<B>,
    /// Trunk, `observation_dim + action_dim + 16 -> hidden ... -> action_dim`.
    pub trunk: Mlp<B>,
}

impl<B: Backend> Denoiser<B> {
    /// A network with random weights, a function of `key` alone.
    pub fn init(
        shape: &DenoiserShape,
        initializer: Initializer,
        key: NoiseKey,
        device: &B::Device,
    ) -> Self {
        let time_dims = [TIME_DIM, 2 * TIME_DIM, TIME_DIM];
        let mut trunk_dims = vec![shape.observation_dim + shape.action_dim + TIME_DIM];
        trunk_dims.extend_from_slice(&shape.hidden_dims);
        trunk_dims.push(shape.action_dim);
        // Two parts of one network must not share random numbers.
        let time_key = NoiseKey::new(key.seed(), "time");
        let trunk_key = NoiseKey::new(key.seed(), "trunk");
        Self {
            time: Mlp::init(&time_dims, Activation::Mish, initializer, time_key, device),
            trunk: Mlp::init(
                &trunk_dims,
                Activation::Mish,
                initializer,
                trunk_key,
                device,
            ),
        }
    }

    /// Width of an action.
    pub fn action_dim(&self) -> usize {
        self.trunk.output_dim()
    }

    /// Width of an observation.
    pub fn observation_dim(&self) -> usize {
        self.trunk.input_dim() - self.action_dim() - self.time.output_dim()
    }
}

impl<B: RescoreBackend> Denoiser<B> {
    /// Time features of all steps, `[num_steps, 16]`.
    fn time_features(&self, num_steps: usize, device: &B::Device) -> Tensor<B, 2> {
        let embedding = time_embedding(num_steps, self.time.input_dim(), device);
        self.time.forward(embedding)
    }

    /// Predicted noise `[batch, action_dim]` for observations `[batch, observation_dim]`, noisy
    /// actions `[batch, action_dim]` and one denoising step a row, `times` `[batch]`, each below
    /// `num_steps`.
    pub fn forward(
        &self,
        observations: Tensor<B, 2>,
        noisy_actions: Tensor<B, 2>,
        times: Tensor<B, 1, Int>,
        num_steps: usize,
    ) -> Tensor<B, 2> {
        // A table over the few steps, then a row of it for every sample, costs less than the
        // time network on the whole batch.
        let table = self.time_features(num_steps, &observations.device());
        let time = table.select(0, times);
        self.trunk
            .forward(Tensor::cat(vec![observations, noisy_actions, time], 1))
    }

    /// The network as the denoising chain uses it: layer 1 taken apart, its time part computed for
    /// all of the `num_steps` steps.
    pub fn chain_network(&self, num_steps: usize, precision: Precision) -> ChainNetwork<B> {
        let (observation_dim, action_dim) = (self.observation_dim(), self.action_dim());
        let first = &self.trunk.layers[0];
        let rows = |from: usize, to: usize| first.weight.clone().slice([from..to]);
        let joint_dim = observation_dim + action_dim;
        let features = self.time_features(num_steps, &first.weight.device());
        let time = matmul(features, rows(joint_dim, self.trunk.input_dim()));
        ChainNetwork {
            observation_weight: rows(0, observation_dim),
            action_weight: rows(observation_dim, joint_dim),
            step_bias: time + first.bias.clone().unsqueeze(),
            rest: self.trunk.layers[1..].to_vec(),
            activation: self.trunk.activation,
            precision,
        }
    }
}

impl<B: Backend> Parameters<B> for Denoiser<B> {
    type On<C: Backend> = Denoiser<C>;

    fn layers(&self) -> Vec<(String, &Linear<B>)> {
        let time = self.time.layers.iter().enumerate();
        let trunk = self.trunk.layers.iter().enumerate();
        time.map(|(i, layer)| (format!("time{i}"), layer))
            .chain(trunk.map(|(i, layer)| (format!("l{i}"), layer)))
            .collect()
    }

    fn map<C: Backend>(&self, f: &mut dyn FnMut(&str, &Linear<B>) -> Linear<C>) -> Denoiser<C> {
        let time = self
            .time
            .map(&mut |name, layer| f(&name.replacen('l', "time", 1), layer));
        let trunk = self.trunk.map(f);
        Denoiser { time, trunk }
    }
}
