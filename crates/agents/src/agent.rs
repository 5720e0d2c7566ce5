//! What the training loop needs of an algorithm.

use burn::tensor::Tensor;
use rescore_kernels::{NoiseKey, RescoreBackend};
use rescore_nn::{StateDict, StateError};

use crate::learners::{
    BestOf, CriticLearner, DeterministicActor, DiffusionActor, GaussianActor, Judges,
};
use crate::{Batch, Metrics, Stateful, Streams};

/// What the actions that evaluation plays are computed from.
#[derive(Debug, Clone)]
pub enum Acting<'a, B: RescoreBackend> {
    /// Of the particles of the policy, or its average, the one that critics value most.
    Diffusion(BestOf<'a, B>),
    /// The squashed mean.
    Gaussian {
        /// The policy.
        actor: &'a GaussianActor<B>,
        /// Who chooses where the best of several samples is asked for.
        judges: Judges<'a, B>,
        /// The stream of these samples.
        key: NoiseKey,
    },
    /// The squashed output.
    Deterministic(&'a DeterministicActor<B>),
}

impl<'a, B: RescoreBackend> Acting<'a, B> {
    /// A diffusion policy of whose particles the trained critics choose.
    pub fn diffusion<S>(
        actor: &'a DiffusionActor<B, S>,
        critics: &'a CriticLearner<B>,
        streams: &Streams,
    ) -> Self {
        Self::Diffusion(actor.best_of(critics.judges(), *streams))
    }

    /// A Gaussian policy.
    pub fn gaussian(
        actor: &'a GaussianActor<B>,
        critics: &'a CriticLearner<B>,
        streams: &Streams,
    ) -> Self {
        Self::Gaussian {
            actor,
            judges: critics.judges(),
            key: streams.key("act/deterministic"),
        }
    }

    /// A deterministic policy.
    pub const fn deterministic(actor: &'a DeterministicActor<B>) -> Self {
        Self::Deterministic(actor)
    }

    /// Of `count` samples of the policy at each of `observations` the one that critics value most,
    /// `[batch, action_dim]`, in [-1, 1]; none where the policy is deterministic.
    pub fn best_of(&self, observations: Tensor<B, 2>, count: usize) -> Option<Tensor<B, 2>> {
        match self {
            Self::Diffusion(best_of) => {
                let best_of = BestOf {
                    particles: count,
                    ..best_of.clone()
                };
                Some(best_of.act(observations))
            }
            Self::Gaussian { actor, judges, key } => {
                let samples = actor.samples_of_observations(observations.clone(), count, *key);
                Some(judges.best(observations, samples))
            }
            Self::Deterministic(_) => None,
        }
    }

    /// Widths of an observation and of an action.
    pub fn dims(&self) -> (usize, usize) {
        match self {
            Self::Diffusion(BestOf { policy, .. }) => {
                (policy.observation_dim(), policy.action_dim())
            }
            Self::Gaussian { actor, .. } => (actor.policy.input_dim(), actor.action_dim()),
            Self::Deterministic(actor) => (actor.policy.input_dim(), actor.policy.output_dim()),
        }
    }
}

/// An off-policy algorithm: acts, learns from batches, and can be stored and restored.
///
/// Randomness is a function of the seed given at construction and of counters (`act_counter`,
/// the number of updates done): an agent holds no generator state.
pub trait Agent<B: RescoreBackend>: Send {
    /// Actions for `observations` (`[n, observation_dim]`) with exploration, `[n, action_dim]` in
    /// units of [-1, 1] (they may exceed them). `act_counter` must differ from call to call
    /// within a run: it selects the random numbers.
    fn act(&self, observations: Tensor<B, 2>, act_counter: u32) -> Tensor<B, 2>;

    /// The actions that evaluation plays: no exploration noise, in [-1, 1], a deterministic
    /// function of each observation alone, not of its place in the batch (up to the rounding of
    /// matrix products, which may depend on the size of the batch).
    fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2>;

    /// As [`Agent::act_deterministic`] with the best of `count` samples of the policy, as the critics
    /// value them, whatever the algorithm itself does; none where its policy is deterministic.
    fn act_best_of(&self, observations: Tensor<B, 2>, count: usize) -> Option<Tensor<B, 2>> {
        self.acting()?.best_of(observations, count)
    }

    /// One gradient update.
    fn update(&mut self, batch: &Batch<B>) -> Metrics<B>;

    /// Number of updates done so far.
    fn updates(&self) -> u64;

    /// What [`Agent::act_deterministic`] is computed from, for exported policies; none where an
    /// algorithm of your own acts otherwise.
    fn acting(&self) -> Option<Acting<'_, B>> {
        None
    }

    /// Everything that is learned or counted.
    fn parts(&self) -> Vec<&dyn Stateful<B>>;

    /// As [`Agent::parts`], in the same order.
    fn parts_mut(&mut self) -> Vec<&mut dyn Stateful<B>>;

    /// Sum of the parameters of all networks, `[1]`, still on the device: not finite if one of them
    /// is not. Cheap enough for every update.
    ///
    /// # Panics
    /// For an agent without parameters.
    fn parameter_sum(&self) -> Tensor<B, 1> {
        self.parts()
            .into_iter()
            .filter_map(Stateful::parameter_sum)
            .reduce(|sum, part| sum + part)
            .expect("an agent has parameters")
    }

    /// Norms of all parts, see [`Stateful::norms`].
    fn norms(&self) -> Vec<(&'static str, Tensor<B, 1>)> {
        self.parts().into_iter().flat_map(Stateful::norms).collect()
    }

    /// Everything that is learned or counted, by name: networks, targets, optimiser moments,
    /// temperature, statistics and counters.
    fn state(&self) -> StateDict {
        let mut state = StateDict::default();
        for part in self.parts() {
            part.save(&mut state);
        }
        state
    }

    /// Restores what [`Agent::state`] gave, or changes nothing.
    ///
    /// # Errors
    /// When a tensor is missing, unknown, or of another shape; the message names it.
    fn load_state(&mut self, state: &StateDict) -> Result<(), StateError> {
        let present = self.state();
        state.check_names(&present)?;
        let loaded = load_parts(self.parts_mut(), state);
        if loaded.is_err() {
            load_parts(self.parts_mut(), &present).expect("an agent takes its own state");
        }
        loaded
    }
}

fn load_parts<B: RescoreBackend>(
    parts: Vec<&mut dyn Stateful<B>>,
    state: &StateDict,
) -> Result<(), StateError> {
    parts.into_iter().try_for_each(|part| part.load(state))
}

/// Implements [`Agent::updates`], [`Agent::parts`] and [`Agent::parts_mut`] by the names of the
/// fields that learn or count; one of them is `updates`, a `u64`. After `=>`, a constructor of
/// [`Acting`] and the fields that it takes implement [`Agent::acting`].
#[macro_export]
macro_rules! parts {
    ($($field:ident),+ $(,)? => $kind:ident($($of:ident),+)) => {
        $crate::parts!($($field),+);

        fn acting(&self) -> Option<$crate::Acting<'_, B>> {
            Some($crate::Acting::$kind($(&self.$of),+))
        }
    };
    ($($field:ident),+ $(,)?) => {
        fn updates(&self) -> u64 {
            self.updates
        }

        fn parts(&self) -> Vec<&dyn $crate::Stateful<B>> {
            vec![$(&self.$field),+]
        }

        fn parts_mut(&mut self) -> Vec<&mut dyn $crate::Stateful<B>> {
            vec![$(&mut self.$field),+]
        }
    };
}
