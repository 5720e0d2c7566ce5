//! Critics: ensembles of `Q(observation, action)` networks.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{
    Combine, NoiseKey, RescoreBackend, Sampled, flatten_particles, unflatten_particles,
};
use rescore_nn::{Leaf, Network, Shape, Tree};

/// An ensemble of Q networks, twins by default (Fujimoto et al. 2018), that take
/// `concat(observation, action)`. A target copy is another `Critics`.
#[derive(Debug, Clone)]
pub struct Critics<B: Backend> {
    /// The networks, side by side.
    pub network: Network<B>,
}

impl<B: Backend> Critics<B> {
    /// `members` critics with random weights, a function of `key` alone.
    pub fn init(
        [observation_dim, action_dim]: [usize; 2],
        members: usize,
        shape: &Shape,
        key: NoiseKey,
        device: &B::Device,
    ) -> Self {
        let member = |index| NoiseKey::new(key.seed(), &format!("q{index}"));
        let keys: Vec<_> = (1..=members).map(member).collect();
        let dims = [observation_dim + action_dim, 1];
        Self {
            network: Network::init(shape, dims, &keys, device),
        }
    }
}

impl<B: RescoreBackend> Critics<B> {
    /// Outputs of all members, `[members, batch, outputs]`, for observations `[batch,
    /// observation_dim]` and actions `[batch, action_dim]`.
    pub fn outputs(&self, observations: Tensor<B, 2>, actions: Tensor<B, 2>) -> Tensor<B, 3> {
        let input = Tensor::cat(vec![observations, actions], 1);
        self.network.forward(input.unsqueeze_dim(0))
    }

    /// Values of all members, `[members, batch]`.
    pub fn values(&self, observations: Tensor<B, 2>, actions: Tensor<B, 2>) -> Tensor<B, 2> {
        self.outputs(observations, actions).squeeze_dim(2)
    }

    /// One value from those of all members, `[batch]`, with a derivative.
    pub fn combined(
        &self,
        combine: Combine,
        observations: Tensor<B, 2>,
        actions: Tensor<B, 2>,
    ) -> Tensor<B, 1> {
        combine.values(self.values(observations, actions))
    }

    /// As [`Critics::combined`] for several actions an observation, without a derivative and, where
    /// the backend has a kernel for these networks, as one operation: observations `[batch,
    /// observation_dim]`, actions `[batch, particles, action_dim]`, result `[batch, particles]`.
    pub fn score(
        &self,
        combine: Combine,
        observations: Tensor<B, 2>,
        actions: Tensor<B, 3>,
    ) -> Tensor<B, 2> {
        if let Some(stack) = self.network.stack().filter(|stack| stack.output_dim() == 1) {
            return B::score(&stack, combine, observations, actions);
        }
        let [batch, particles, _] = actions.dims();
        let [_, observation_dim] = observations.dims();
        let observations =
            observations
                .unsqueeze_dim::<3>(1)
                .expand([batch, particles, observation_dim]);
        let rows = self.combined(
            combine,
            flatten_particles(observations),
            flatten_particles(actions),
        );
        unflatten_particles(rows.unsqueeze_dim(1), batch).squeeze_dim(2)
    }

    /// As [`Critics::score`] for one action an observation, `[batch]`.
    pub fn score_actions(
        &self,
        combine: Combine,
        observations: Tensor<B, 2>,
        actions: Tensor<B, 2>,
    ) -> Tensor<B, 1> {
        self.score(combine, observations, actions.unsqueeze_dim(1))
            .squeeze_dim(1)
    }

    /// Of `actions` `[batch, particles, action_dim]` the one with the largest score, clipped to
    /// [-1, 1]; ties go to the lowest index. With one particle the critics are not asked.
    pub fn best(
        &self,
        combine: Combine,
        observations: Tensor<B, 2>,
        actions: Tensor<B, 3>,
    ) -> Tensor<B, 2> {
        let [batch, particles, dim] = actions.dims();
        if particles == 1 {
            return actions.reshape([batch, dim]).clamp(-1.0, 1.0);
        }
        let scores = self.score(combine, observations, actions.clone());
        let Sampled { actions, .. } = B::best(actions, scores);
        actions
    }
}

impl<B: Backend> Tree<B> for Critics<B> {
    type On<C: Backend> = Critics<C>;

    fn map<C: Backend>(
        &self,
        path: &str,
        f: &mut dyn FnMut(Leaf<'_>, &Tensor<B, 3>) -> Tensor<C, 3>,
    ) -> Critics<C> {
        Critics {
            network: self.network.map(path, f),
        }
    }
}
