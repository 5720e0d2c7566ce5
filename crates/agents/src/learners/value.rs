//! A value of states and its optimiser.

use burn::{backend::Autodiff, tensor::Tensor};
use rescore_kernels::{NoiseKey, RescoreBackend};
use rescore_nn::{Adam, Network, StateDict, StateError, norm, parameter_sum, value_and_grad};

use super::LearningRate;
use crate::{Setup, Stateful, settings::ActorSettings};

/// A value `V(observation)` that learns.
#[derive(Debug, Clone)]
pub struct ValueLearner<B: RescoreBackend> {
    /// The network, `observation_dim -> 1`.
    pub network: Network<B>,
    /// Its optimiser.
    pub optimizer: Adam<Network<B>>,
    /// The gradient of the last step, for diagnosis.
    latest: Option<Network<B>>,
    learning_rate: LearningRate,
}

impl<B: RescoreBackend> ValueLearner<B> {
    /// A network with random weights from the stream `init/value` of the run.
    pub fn new(settings: &ActorSettings, setup: &Setup<'_, B>) -> Self {
        let key = NoiseKey::new(setup.seed, "init/value");
        let dims = [setup.dims[0], 1];
        let network = Network::init(&settings.network.shape(1.0), dims, &[key], setup.device);
        Self {
            optimizer: Adam::new(&network, settings.optimizer),
            network,
            latest: None,
            learning_rate: LearningRate::falling(
                settings.learning_rate,
                settings.final_fraction,
                setup.updates as f64,
            ),
        }
    }

    /// Values `[batch]` of `network`, which is the learner's or a differentiable copy.
    pub fn values(network: &Network<B>, observations: Tensor<B, 2>) -> Tensor<B, 1> {
        network.forward_rows(observations).squeeze_dim(1)
    }

    /// One step down the gradient of `loss`, `[1]`; the loss before it.
    pub fn learn(
        &mut self,
        loss: impl FnOnce(&Network<Autodiff<B>>) -> Tensor<Autodiff<B>, 1>,
    ) -> Tensor<B, 1> {
        let (loss, gradient, ()) = value_and_grad(&self.network, |network| (loss(network), ()));
        let rate = self.learning_rate.at(self.optimizer.count);
        self.optimizer.step(&mut self.network, &gradient, rate);
        self.latest = Some(gradient);
        loss
    }
}

impl<B: RescoreBackend> Stateful<B> for ValueLearner<B> {
    fn save(&self, state: &mut StateDict) {
        state.insert_tree("value", &self.network);
        state.insert_adam("value_optimizer", &self.optimizer);
    }

    fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        self.network = state.tree("value", &self.network)?;
        self.optimizer = state.adam("value_optimizer", &self.optimizer)?;
        Ok(())
    }

    fn parameter_sum(&self) -> Option<Tensor<B, 1>> {
        Some(parameter_sum(&self.network))
    }

    fn norms(&self) -> Vec<(&'static str, Tensor<B, 1>)> {
        let gradient = self.latest.as_ref().map(norm);
        let gradient = gradient.map(|norm| ("value_gradient_norm", norm));
        let weights = ("value_weight_norm", norm(&self.network));
        gradient.into_iter().chain([weights]).collect()
    }
}
