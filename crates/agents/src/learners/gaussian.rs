//! A squashed Gaussian policy and its optimiser.

use burn::{backend::Autodiff, tensor::Tensor};
use rescore_kernels::{
    ChainNoise, NoiseKey, RescoreBackend, flatten_particles, unflatten_particles,
};
use rescore_nn::{Adam, Network, StateDict, StateError, parameter_sum, value_and_grad};
use rescore_objectives::gaussian::{LogStd, SquashedSample, split_mean_log_std, squashed_sample};

use super::{LearningRate, policy_norms};
use crate::{Setup, Stateful, settings::ActorSettings};

/// A policy `tanh(N(mean, std))`: the network gives mean and log standard deviation side by side.
#[derive(Debug, Clone)]
pub struct GaussianActor<B: RescoreBackend> {
    /// The network, `observation_dim -> 2 action_dim`.
    pub policy: Network<B>,
    /// Its optimiser.
    pub optimizer: Adam<Network<B>>,
    /// The gradient of the last step, for diagnosis.
    latest: Option<Network<B>>,
    /// Bounds of the log standard deviation.
    log_std: LogStd,
    /// Whether log-probabilities contain the Jacobian of tanh.
    tanh_correction: bool,
    learning_rate: LearningRate,
}

impl<B: RescoreBackend> GaussianActor<B> {
    /// A policy with random weights from the stream `init/policy` of the run.
    pub fn new(
        settings: &ActorSettings,
        log_std: LogStd,
        tanh_correction: bool,
        setup: &Setup<'_, B>,
    ) -> Self {
        let key = NoiseKey::new(setup.seed, "init/policy");
        let [observation_dim, action_dim] = setup.dims;
        let dims = [observation_dim, 2 * action_dim];
        let policy = Network::init(&settings.network.shape(0.1), dims, &[key], setup.device);
        Self {
            optimizer: Adam::new(&policy, settings.optimizer),
            policy,
            latest: None,
            log_std,
            tanh_correction,
            learning_rate: LearningRate::falling(
                settings.learning_rate,
                settings.final_fraction,
                setup.updates as f64,
            ),
        }
    }

    /// Width of an action.
    pub fn action_dim(&self) -> usize {
        self.policy.output_dim() / 2
    }

    /// The actions of `policy`, which is the actor's or a differentiable copy, that the unit normals
    /// `noise` `[batch, action_dim]` select.
    pub fn sample<C: RescoreBackend>(
        &self,
        policy: &Network<C>,
        observations: Tensor<C, 2>,
        noise: Tensor<C, 2>,
    ) -> SquashedSample<C> {
        let output = policy.forward_rows(observations);
        let parameters = split_mean_log_std(output, self.log_std);
        squashed_sample(parameters, noise, self.tanh_correction)
    }

    /// `count` actions at each observation, `[batch, count, action_dim]`, whose noise of the stream `key`
    /// is a function of the observation alone.
    pub fn samples_of_observations(
        &self,
        observations: Tensor<B, 2>,
        count: usize,
        key: NoiseKey,
    ) -> Tensor<B, 3> {
        let [states, dim] = observations.dims();
        let device = observations.device();
        let noise = ChainNoise::of_observations(key, &observations, 1.0);
        let normals = noise.start([states, count, self.action_dim()], 0, &device);
        let rows = observations.unsqueeze_dim::<3>(1);
        let rows = flatten_particles(rows.expand([states, count, dim]));
        let actions = self.sample(&self.policy, rows, normals).actions;
        unflatten_particles(actions, states)
    }

    /// `tanh(mean)`, `[batch, action_dim]`.
    pub fn mode(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        let output = self.policy.forward_rows(observations);
        let [mean, _] = split_mean_log_std(output, self.log_std);
        mean.tanh().compute()
    }

    /// One step down the gradient of `loss`, which returns the loss, `[1]`, and whatever else the
    /// caller wants back: the loss before the step, and that.
    pub fn learn<R>(
        &mut self,
        loss: impl FnOnce(&Self, &Network<Autodiff<B>>) -> (Tensor<Autodiff<B>, 1>, R),
    ) -> (Tensor<B, 1>, R) {
        let (loss, gradient, rest) = value_and_grad(&self.policy, |policy| loss(self, policy));
        let rate = self.learning_rate.at(self.optimizer.count);
        self.optimizer.step(&mut self.policy, &gradient, rate);
        self.latest = Some(gradient);
        (loss, rest)
    }
}

impl<B: RescoreBackend> Stateful<B> for GaussianActor<B> {
    fn save(&self, state: &mut StateDict) {
        state.insert_tree("policy", &self.policy);
        state.insert_adam("policy_optimizer", &self.optimizer);
    }

    fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        self.policy = state.tree("policy", &self.policy)?;
        self.optimizer = state.adam("policy_optimizer", &self.optimizer)?;
        Ok(())
    }

    fn parameter_sum(&self) -> Option<Tensor<B, 1>> {
        Some(parameter_sum(&self.policy))
    }

    fn norms(&self) -> Vec<(&'static str, Tensor<B, 1>)> {
        policy_norms(&self.policy, self.latest.as_ref())
    }
}
