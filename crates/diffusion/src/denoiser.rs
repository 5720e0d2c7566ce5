//! The denoiser network: predicts the noise in a noisy action.

use burn::tensor::{Int, Tensor, backend::Backend};
use rescore_kernels::{
    Activation, ChainNetwork, NoiseKey, Precision, RescoreBackend, dense::matmul, join::join_chosen,
};
use rescore_nn::{Initializer, Leaf, Mlp, Network, Shape, Tree};

use crate::embedding::{embed_times, time_embedding};

/// Width of the sinusoidal embedding and of the time network's output.
const TIME_DIM: usize = 16;

/// Sizes of a [`Denoiser`].
#[derive(Debug, Clone, PartialEq)]
pub struct DenoiserShape {
    /// Width of an observation.
    pub observation_dim: usize,
    /// Width of an action.
    pub action_dim: usize,
    /// What the trunk is.
    pub trunk: Shape,
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
    pub trunk: Network<B>,
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
        let trunk_input = shape.observation_dim + shape.action_dim + TIME_DIM;
        // Two parts of one network must not share random numbers.
        let time_key = NoiseKey::new(key.seed(), "time");
        let trunk_key = NoiseKey::new(key.seed(), "trunk");
        Self {
            time: Mlp::init(
                &time_dims,
                Activation::Mish,
                initializer,
                &[time_key],
                device,
            ),
            trunk: Network::init(
                &shape.trunk,
                [trunk_input, shape.action_dim],
                &[trunk_key],
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
    /// Time features of `times`, `[times, 16]`.
    pub(crate) fn time_features(&self, times: &[f64], device: &B::Device) -> Tensor<B, 2> {
        let embedding = time_embedding(times, self.time.input_dim(), device);
        self.time.forward_rows(embedding)
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
        let steps: Vec<f64> = (0..num_steps).map(|t| t as f64).collect();
        let table = self.time_features(&steps, &observations.device());
        let input = join_chosen([observations, noisy_actions], table, times);
        self.trunk.forward_rows(input)
    }

    /// As [`Denoiser::forward`] at a continuous time of every row, `times` `[batch]`, as the network
    /// is told it.
    pub fn forward_at(
        &self,
        observations: Tensor<B, 2>,
        noisy_actions: Tensor<B, 2>,
        times: &Tensor<B, 1>,
    ) -> Tensor<B, 2> {
        let embedding = embed_times(times, self.time.input_dim());
        let time = self.time.forward_rows(embedding);
        self.predict(observations, noisy_actions, time)
    }

    /// As [`Denoiser::forward`] with the time features of every row, `[batch, 16]`.
    pub(crate) fn predict(
        &self,
        observations: Tensor<B, 2>,
        noisy_actions: Tensor<B, 2>,
        time: Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        self.trunk
            .forward_rows(Tensor::cat(vec![observations, noisy_actions, time], 1))
    }

    /// The network as the fused denoising chain uses it: layer 1 taken apart, its time part computed
    /// for the times of all steps. None where the trunk is no plain stack of layers.
    pub fn chain_network(&self, times: &[f64], precision: Precision) -> Option<ChainNetwork<B>> {
        let (observation_dim, action_dim) = (self.observation_dim(), self.action_dim());
        let stack = self.trunk.stack()?;
        let first = &stack.layers[0];
        let weight = first.weight.clone().squeeze_dim::<2>(0);
        let rows = |from: usize, to: usize| weight.clone().slice([from..to]);
        let joint_dim = observation_dim + action_dim;
        let features = self.time_features(times, &first.weight.device());
        let time = matmul(features, rows(joint_dim, self.trunk.input_dim()));
        Some(ChainNetwork {
            observation_weight: rows(0, observation_dim),
            action_weight: rows(observation_dim, joint_dim),
            step_bias: time + first.bias.clone().squeeze_dim(0),
            rest: stack.layers[1..].to_vec(),
            activation: stack.activation,
            precision,
        })
    }
}

impl<B: Backend> Tree<B> for Denoiser<B> {
    type On<C: Backend> = Denoiser<C>;

    fn map<C: Backend>(
        &self,
        path: &str,
        f: &mut dyn FnMut(Leaf<'_>, &Tensor<B, 3>) -> Tensor<C, 3>,
    ) -> Denoiser<C> {
        let time = self.time.layers.iter().enumerate();
        Denoiser {
            time: Mlp {
                layers: time
                    .map(|(i, layer)| layer.map(&format!("{path}time{i}."), f))
                    .collect(),
                activation: self.time.activation,
            },
            trunk: self.trunk.map(path, f),
        }
    }
}
