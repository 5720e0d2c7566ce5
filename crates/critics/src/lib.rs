//! Critics: `Q(observation, action)` networks, in pairs against overestimation.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{Activation, Initializer, Linear, Mlp, NoiseKey, Parameters, RescoreBackend};

/// Two independent Q networks (Fujimoto et al. 2018, clipped double Q-learning).
///
/// Each takes `concat(observation, action)` and returns one value. A target copy is another
/// `TwinQ`.
#[derive(Debug, Clone)]
pub struct TwinQ<B: Backend> {
    /// First critic.
    pub q1: Mlp<B>,
    /// Second critic.
    pub q2: Mlp<B>,
}

impl<B: Backend> TwinQ<B> {
    /// Critics `observation_dim + action_dim -> hidden ... -> 1` with random weights, a function
    /// of `key` alone.
    pub fn init(
        [observation_dim, action_dim]: [usize; 2],
        hidden_dims: &[usize],
        activation: Activation,
        initializer: Initializer,
        key: NoiseKey,
        device: &B::Device,
    ) -> Self {
        let mut dims = vec![observation_dim + action_dim];
        dims.extend_from_slice(hidden_dims);
        dims.push(1);
        let network = |name| {
            let key = NoiseKey::new(key.seed(), name);
            Mlp::init(&dims, activation, initializer, key, device)
        };
        Self {
            q1: network("q1"),
            q2: network("q2"),
        }
    }

    /// Both networks, for operations that take weights.
    pub fn networks(&self) -> [&Mlp<B>; 2] {
        [&self.q1, &self.q2]
    }
}

impl<B: RescoreBackend> TwinQ<B> {
    /// Values of both critics, `[batch]` each, for observations `[batch, observation_dim]` and
    /// actions `[batch, action_dim]`.
    pub fn both(&self, observations: Tensor<B, 2>, actions: Tensor<B, 2>) -> [Tensor<B, 1>; 2] {
        let input = Tensor::cat(vec![observations, actions], 1);
        [
            self.q1.forward(input.clone()).squeeze_dim(1),
            self.q2.forward(input).squeeze_dim(1),
        ]
    }

    /// The smaller of both critics, `[batch]`.
    pub fn min(&self, observations: Tensor<B, 2>, actions: Tensor<B, 2>) -> Tensor<B, 1> {
        let [q1, q2] = self.both(observations, actions);
        q1.min_pair(q2)
    }

    /// As [`TwinQ::min`], as one operation without a derivative.
    pub fn min_of_actions(
        &self,
        observations: Tensor<B, 2>,
        actions: Tensor<B, 2>,
    ) -> Tensor<B, 1> {
        let scores = self.min_of_particles(observations, actions.unsqueeze_dim(1));
        scores.squeeze_dim(1)
    }

    /// The smaller of both critics for several actions an observation: observations `[batch,
    /// observation_dim]`, actions `[batch, particles, action_dim]`, result `[batch, particles]`.
    pub fn min_of_particles(
        &self,
        observations: Tensor<B, 2>,
        actions: Tensor<B, 3>,
    ) -> Tensor<B, 2> {
        B::min_q(self.networks(), observations, actions)
    }
}

impl<B: Backend> Parameters<B> for TwinQ<B> {
    type On<C: Backend> = TwinQ<C>;

    fn layers(&self) -> Vec<(String, &Linear<B>)> {
        let prefixed = |prefix: &str, network: &'_ Mlp<B>| -> Vec<String> {
            network
                .layers()
                .iter()
                .map(|(name, _)| format!("{prefix}.{name}"))
                .collect()
        };
        let names = prefixed("q1", &self.q1)
            .into_iter()
            .chain(prefixed("q2", &self.q2));
        names
            .zip(self.q1.layers.iter().chain(&self.q2.layers))
            .collect()
    }

    fn map<C: Backend>(&self, f: &mut dyn FnMut(&str, &Linear<B>) -> Linear<C>) -> TwinQ<C> {
        let q1 = self
            .q1
            .map(&mut |name, layer| f(&format!("q1.{name}"), layer));
        let q2 = self
            .q2
            .map(&mut |name, layer| f(&format!("q2.{name}"), layer));
        TwinQ { q1, q2 }
    }
}
