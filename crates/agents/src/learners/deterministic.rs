//! A deterministic policy, its moving average and its optimiser.

use burn::{backend::Autodiff, tensor::Tensor};
use rescore_kernels::{NoiseKey, RescoreBackend};
use rescore_nn::{
    Adam, Network, StateDict, StateError, freeze, parameter_sum, polyak, value_and_grad,
};

use super::{CriticLearner, LearningRate, policy_norms};
use crate::{Batch, Setup, Stateful, settings::ActorSettings};

/// A policy `tanh(network(observation))`.
#[derive(Debug, Clone)]
pub struct DeterministicActor<B: RescoreBackend> {
    /// The network that is trained, `observation_dim -> action_dim`.
    pub policy: Network<B>,
    /// Its moving average.
    pub target: Network<B>,
    /// The optimiser of `policy`.
    pub optimizer: Adam<Network<B>>,
    /// The gradient of the last step, for diagnosis.
    latest: Option<Network<B>>,
    learning_rate: LearningRate,
}

impl<B: RescoreBackend> DeterministicActor<B> {
    /// A policy with random weights from the stream `init/policy` of the run, which learns in every
    /// `every`-th update; the target is a copy.
    pub fn new(settings: &ActorSettings, every: u64, setup: &Setup<'_, B>) -> Self {
        let key = NoiseKey::new(setup.seed, "init/policy");
        let policy = Network::init(
            &settings.network.shape(0.1),
            setup.dims,
            &[key],
            setup.device,
        );
        Self {
            target: policy.clone(),
            optimizer: Adam::new(&policy, settings.optimizer),
            policy,
            latest: None,
            learning_rate: LearningRate::falling(
                settings.learning_rate,
                settings.final_fraction,
                setup.updates as f64 / every as f64,
            ),
        }
    }

    /// The actions `[batch, action_dim]` of `policy`, which is the actor's, its target or a
    /// differentiable copy.
    pub fn actions(policy: &Network<B>, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        policy.forward_rows(observations).tanh()
    }

    /// One step down the gradient of `loss`, `[1]`; the loss before it.
    pub fn learn(
        &mut self,
        loss: impl FnOnce(&Network<Autodiff<B>>) -> Tensor<Autodiff<B>, 1>,
    ) -> Tensor<B, 1> {
        let (loss, gradient, ()) = value_and_grad(&self.policy, |policy| (loss(policy), ()));
        let rate = self.learning_rate.at(self.optimizer.count);
        self.optimizer.step(&mut self.policy, &gradient, rate);
        self.latest = Some(gradient);
        loss
    }

    /// One step up the gradient of the first of `critics` at the actor's actions, which is constant
    /// (Silver et al. 2014, deterministic policy gradient); the loss before it, `[1]`.
    pub fn ascend(&mut self, critics: &CriticLearner<B>, batch: &Batch<B>) -> Tensor<B, 1> {
        let observations = Tensor::from_inner(batch.observations.clone());
        let frozen = freeze(&critics.online);
        self.learn(|policy| {
            let actions = DeterministicActor::actions(policy, observations.clone());
            let values = frozen.values(observations, actions);
            values.slice([0..1]).mean().neg()
        })
    }

    /// Moves the target to the moving average.
    pub fn track(&mut self, tau: f64) {
        polyak(&mut self.target, &self.policy, tau);
    }
}

impl<B: RescoreBackend> Stateful<B> for DeterministicActor<B> {
    fn save(&self, state: &mut StateDict) {
        state.insert_tree("policy", &self.policy);
        state.insert_tree("target_policy", &self.target);
        state.insert_adam("policy_optimizer", &self.optimizer);
    }

    fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        self.policy = state.tree("policy", &self.policy)?;
        self.target = state.tree("target_policy", &self.target)?;
        self.optimizer = state.adam("policy_optimizer", &self.optimizer)?;
        Ok(())
    }

    fn parameter_sum(&self) -> Option<Tensor<B, 1>> {
        Some(parameter_sum(&self.policy) + parameter_sum(&self.target))
    }

    fn norms(&self) -> Vec<(&'static str, Tensor<B, 1>)> {
        policy_norms(&self.policy, self.latest.as_ref())
    }
}
