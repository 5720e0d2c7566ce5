//! Critics, their targets and their optimiser.

use burn::tensor::Tensor;
use rescore_critics::{Critics, Head};
use rescore_kernels::{Combine, NoiseKey, RescoreBackend};
use rescore_nn::{Adam, StateDict, StateError, parameter_sum, polyak, value_and_grad};
use rescore_objectives::td;

use crate::{Batch, Setup, Stateful, settings::CriticSettings};

/// Critics that learn from temporal differences.
#[derive(Debug, Clone)]
pub struct CriticLearner<B: RescoreBackend> {
    /// The critics that are trained.
    pub online: Critics<B>,
    /// Their moving average, for targets.
    pub target: Critics<B>,
    /// The optimiser of `online`.
    pub optimizer: Adam<Critics<B>>,
    /// How the values of the members become one.
    pub combine: Combine,
    learning_rate: f64,
    gamma: f64,
    reward_scale: f64,
}

impl<B: RescoreBackend> CriticLearner<B> {
    /// Critics with random weights from the stream `init/critics` of the run; targets are copies.
    pub fn new(
        settings: &CriticSettings,
        [gamma, reward_scale]: [f64; 2],
        setup: &Setup<'_, B>,
    ) -> Self {
        let key = NoiseKey::new(setup.seed, "init/critics");
        let shape = settings.network.shape();
        let online = Critics::init(setup.dims, settings.members, &shape, Head::Scalar, key, setup.device);
        Self {
            target: online.clone(),
            optimizer: Adam::new(&online, settings.optimizer),
            online,
            combine: settings.combine.into(),
            learning_rate: settings.learning_rate,
            gamma,
            reward_scale,
        }
    }

    /// Values of the target critics, combined, for `actions` at `observations`, `[batch]`.
    pub fn target_values(&self, observations: Tensor<B, 2>, actions: Tensor<B, 2>) -> Tensor<B, 1> {
        self.target
            .score_actions(self.combine, observations, actions)
    }

    /// `reward_scale r + gamma (1 - terminated) next_values`, all `[batch]`.
    pub fn td_targets(&self, batch: &Batch<B>, next_values: Tensor<B, 1>) -> Tensor<B, 1> {
        td::td_target(
            batch.rewards.clone().mul_scalar(self.reward_scale),
            batch.terminated.clone(),
            next_values,
            self.gamma,
        )
    }

    /// Targets `[batch]` from the target critics at `next_actions`.
    pub fn targets(&self, batch: &Batch<B>, next_actions: Tensor<B, 2>) -> Tensor<B, 1> {
        let observations = batch.next_observations.clone();
        self.td_targets(batch, self.target_values(observations, next_actions))
    }

    /// Losses of all members, `[members]`, and the gradient of their sum.
    pub fn gradient(&self, batch: &Batch<B>, targets: Tensor<B, 1>) -> (Tensor<B, 1>, Critics<B>) {
        let (_, gradient, losses) = value_and_grad(&self.online, |critics| {
            let losses = td::critic_losses(
                critics,
                Tensor::from_inner(batch.observations.clone()),
                Tensor::from_inner(batch.actions.clone()),
                Tensor::from_inner(targets),
            );
            (losses.clone().sum(), losses.inner())
        });
        (losses, gradient)
    }

    /// Moves the critics against `gradient`.
    pub fn step(&mut self, gradient: &Critics<B>) {
        self.optimizer
            .step(&mut self.online, gradient, self.learning_rate);
    }

    /// One step towards `targets` `[batch]`; the losses before it, `[members]`.
    pub fn learn(&mut self, batch: &Batch<B>, targets: Tensor<B, 1>) -> Tensor<B, 1> {
        let (losses, gradient) = self.gradient(batch, targets);
        self.step(&gradient);
        losses
    }

    /// Moves the targets to the moving average.
    pub fn track(&mut self, tau: f64) {
        polyak(&mut self.target, &self.online, tau);
    }

    /// Combined values of the trained critics, without a derivative: actions `[batch, action_dim]`,
    /// result `[batch]`.
    pub fn values(&self, observations: Tensor<B, 2>, actions: Tensor<B, 2>) -> Tensor<B, 1> {
        self.online
            .score_actions(self.combine, observations, actions)
    }

    /// As [`CriticLearner::values`] for several actions an observation, `[batch, samples]`.
    pub fn score(&self, observations: Tensor<B, 2>, actions: Tensor<B, 3>) -> Tensor<B, 2> {
        self.online.score(self.combine, observations, actions)
    }

    /// Of `actions` `[batch, particles, action_dim]` the one with the largest value, clipped to
    /// [-1, 1]; ties go to the lowest index. With one particle the critics are not asked.
    pub fn best(&self, observations: Tensor<B, 2>, actions: Tensor<B, 3>) -> Tensor<B, 2> {
        self.online.best(self.combine, observations, actions)
    }
}

impl<B: RescoreBackend> Stateful<B> for CriticLearner<B> {
    fn save(&self, state: &mut StateDict) {
        state.insert_tree("critics", &self.online);
        state.insert_tree("target_critics", &self.target);
        state.insert_adam("critic_optimizer", &self.optimizer);
    }

    fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        self.online = state.tree("critics", &self.online)?;
        self.target = state.tree("target_critics", &self.target)?;
        self.optimizer = state.adam("critic_optimizer", &self.optimizer)?;
        Ok(())
    }

    fn parameter_sum(&self) -> Option<Tensor<B, 1>> {
        Some(parameter_sum(&self.online) + parameter_sum(&self.target))
    }
}
