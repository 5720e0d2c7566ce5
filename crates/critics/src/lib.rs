//! Critics: ensembles of `Q(observation, action)` networks.
//!
//! ```
//! use burn::{backend::{Flex, flex::FlexDevice}, tensor::Tensor};
//! use rescore_critics::{Critics, Head};
//! use rescore_kernels::{Activation, Combine, NoiseKey};
//! use rescore_nn::{Initializer, Shape};
//!
//! let (activation, initializer) = (Activation::Mish, Initializer::LecunNormal);
//! let shape = Shape::Mlp { hidden_dims: vec![32], activation, initializer };
//! let key = NoiseKey::new(0, "critics");
//! let twins = Critics::<Flex>::init([3, 1], 2, &shape, Head::Scalar, key, &FlexDevice);
//! // Of four actions the one that the more cautious of both critics values most.
//! let observation = Tensor::zeros([1, 3], &FlexDevice);
//! let actions = Tensor::from_data([[[-1.0], [-0.5], [0.5], [1.0]]], &FlexDevice);
//! let scores = twins.score(Combine::Min, observation.clone(), actions.clone());
//! let best = twins.best(Combine::Min, observation, actions.clone());
//! let chosen = scores.argmax(1).squeeze_dim::<1>(1);
//! assert_eq!(best.into_scalar(), actions.select(1, chosen).into_scalar());
//! ```

mod head;

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{
    Activation, Combine, NoiseKey, RescoreBackend, Sampled, flatten_particles, join::join,
    unflatten_particles,
};
use rescore_nn::{Leaf, Network, Shape, Statistics, Tree};

pub use head::{CriticsError, Head, Support};

/// An ensemble of Q networks, twins by default (Fujimoto et al. 2018), that take
/// `concat(observation, action)`. A target copy is another `Critics`.
#[derive(Debug, Clone)]
pub struct Critics<B: Backend> {
    /// The networks, side by side.
    pub network: Network<B>,
    /// What their outputs are.
    pub head: Head,
}

/// Observations `[batch, observation_dim]`, and an action for each, `[batch, action_dim]`.
pub type Pairs<B> = [Tensor<B, 2>; 2];

/// Outputs of one forward pass over the pairs of a step and of the next one.
#[derive(Debug, Clone)]
pub struct Joint<B: Backend> {
    /// Of the step's pairs, `[members, batch, outputs]`.
    pub current: Tensor<B, 3>,
    /// Of the next step's pairs, `[members, batch, outputs]`.
    pub next: Tensor<B, 3>,
    /// Running statistics after it.
    pub statistics: Statistics<B>,
}

/// Requires that an ensemble has a member.
///
/// # Errors
/// [`CriticsError::NoMembers`]
pub const fn check_members(members: usize) -> Result<(), CriticsError> {
    match members {
        0 => Err(CriticsError::NoMembers),
        _ => Ok(()),
    }
}

impl<B: Backend> Critics<B> {
    /// `members` critics with random weights, a function of `key` alone.
    ///
    /// # Panics
    /// Without members.
    pub fn init(
        [observation_dim, action_dim]: [usize; 2],
        members: usize,
        shape: &Shape,
        head: Head,
        key: NoiseKey,
        device: &B::Device,
    ) -> Self {
        assert!(check_members(members).is_ok(), "an ensemble needs a member");
        let member = |index| NoiseKey::new(key.seed(), &format!("q{index}"));
        let keys: Vec<_> = (1..=members).map(member).collect();
        let dims = [observation_dim + action_dim, head.outputs()];
        let network = Network::init(shape, dims, &keys, device);
        Self { network, head }
    }

    /// Critics of these networks, which give one value each.
    pub const fn scalar(network: Network<B>) -> Self {
        let head = Head::Scalar;
        Self { network, head }
    }
}

/// What the networks take.
fn input<B: RescoreBackend>([observations, actions]: Pairs<B>) -> Tensor<B, 2> {
    join(observations, actions)
}

impl<B: RescoreBackend> Critics<B> {
    /// Outputs of all members, `[members, batch, outputs]`, for observations `[batch,
    /// observation_dim]` and actions `[batch, action_dim]`; norms over the batch use their running
    /// statistics.
    pub fn outputs(&self, observations: Tensor<B, 2>, actions: Tensor<B, 2>) -> Tensor<B, 3> {
        let input = input([observations, actions]);
        self.network.forward(input.unsqueeze_dim(0))
    }

    /// Outputs in training mode for a batch of `(s, a)` and `(s', a')` in one pass: norms over the
    /// batch see all rows at once, because the policy's actions are not distributed as those of the
    /// replay buffer (Bhatt et al. 2024, `CrossQ`).
    pub fn joint(&self, current: Pairs<B>, next: Pairs<B>) -> Joint<B> {
        let [batch, next_batch] = [current[0].dims()[0], next[0].dims()[0]];
        let rows = Tensor::cat(vec![input(current), input(next)], 0);
        let (outputs, statistics) = self.network.forward_training(rows.unsqueeze_dim(0));
        Joint {
            current: outputs.clone().narrow(1, 0, batch),
            next: outputs.narrow(1, batch, next_batch),
            statistics,
        }
    }

    /// The part of [`Critics::joint`] that is trained, `[members, batch, outputs]`, and the running
    /// statistics after it. The next step's pairs are computed where rows are normalised together.
    pub fn trained_outputs(
        &self,
        current: Pairs<B>,
        next: Pairs<B>,
    ) -> (Tensor<B, 3>, Statistics<B>) {
        if self.network.has_batch_statistics() {
            let joint = self.joint(current, next);
            return (joint.current, joint.statistics);
        }
        let [observations, actions] = current;
        (self.outputs(observations, actions), Statistics::default())
    }

    /// The part of [`Critics::joint`] that targets are made of, `[members, batch, outputs]`. The
    /// step's pairs are computed where rows are normalised together.
    pub fn bootstrap_outputs(&self, current: Pairs<B>, next: Pairs<B>) -> Tensor<B, 3> {
        if self.network.has_batch_statistics() {
            return self.joint(current, next).next;
        }
        let [observations, actions] = next;
        self.outputs(observations, actions)
    }

    /// Values of all members, `[members, batch]`; differentiable.
    pub fn values(&self, observations: Tensor<B, 2>, actions: Tensor<B, 2>) -> Tensor<B, 2> {
        self.head.values(self.outputs(observations, actions))
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
        let scalar = self.head == Head::Scalar;
        if let Some(stack) = self.network.stack().filter(|_| scalar) {
            return B::score(&stack, combine, observations, actions);
        }
        if let Network::Residual(residual) = &self.network {
            let (view, atoms) = (residual.view(), self.head.atoms());
            return B::score_residual(&view, atoms, combine, observations, actions);
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
        // Layer 1 in parts, as particles share an observation, is a detour for one action.
        if !self
            .network
            .stack()
            .is_some_and(|stack| stack.activation == Activation::Mish)
        {
            return self.combined(combine, observations, actions);
        }
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
            head: self.head,
        }
    }
}
