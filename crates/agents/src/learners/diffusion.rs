//! A diffusion policy, its moving average and its optimiser.

use burn::{backend::Autodiff, tensor::Tensor};
use rescore_diffusion::{Denoiser, DenoiserShape, NoiseSchedule, Sampler};
use rescore_kernels::{ChainNoise, NoiseKey, RescoreBackend};
use rescore_nn::{Adam, StateDict, StateError, parameter_sum, polyak, value_and_grad};

use crate::{Draws, Setup, Stateful, Streams, settings::DiffusionActorSettings};

/// A policy that denoises noise into actions.
#[derive(Debug, Clone)]
pub struct DiffusionActor<B: RescoreBackend> {
    /// The policy that is trained.
    pub policy: Denoiser<B>,
    /// Its moving average.
    pub average: Denoiser<B>,
    /// The optimiser of `policy`.
    pub optimizer: Adam<Denoiser<B>>,
    /// Noise schedule of the diffusion.
    pub schedule: NoiseSchedule,
    /// How updates sample a policy.
    pub sampler: Sampler,
    /// How a policy is sampled to act and to be evaluated.
    pub act_sampler: Sampler,
    settings: DiffusionActorSettings,
    /// Policy steps of the whole run, of which the learning rate's decay is a fraction.
    total_steps: f64,
}

impl<B: RescoreBackend> DiffusionActor<B> {
    /// A policy with random weights from the stream `init/policy` of the run; the average is a copy.
    pub fn new(settings: &DiffusionActorSettings, setup: &Setup<'_, B>) -> Self {
        let [observation_dim, action_dim] = setup.dims;
        let initializer = settings.network.initializer();
        let shape = DenoiserShape {
            observation_dim,
            action_dim,
            trunk: settings.network.shape(0.1),
        };
        let key = NoiseKey::new(setup.seed, "init/policy");
        let policy = Denoiser::init(&shape, initializer, key, setup.device);
        let schedule = settings.noise_schedule();
        let sampler = |particles| {
            let (start_scale, precision) = (settings.start_scale as f32, settings.precision);
            Sampler::new(&schedule, particles, start_scale, precision.into())
        };
        Self {
            average: policy.clone(),
            optimizer: Adam::new(&policy, settings.optimizer),
            policy,
            sampler: sampler(settings.particles),
            act_sampler: sampler(settings.particles_to_act()),
            schedule,
            settings: settings.clone(),
            total_steps: setup.updates as f64 / settings.policy_delay as f64,
        }
    }

    /// Candidate actions of `policy` as updates sample them, `[batch, particles, action_dim]`.
    pub fn particles(
        &self,
        policy: &Denoiser<B>,
        observations: Tensor<B, 2>,
        noise: &ChainNoise<B>,
    ) -> Tensor<B, 3> {
        self.sampler.all(policy, observations, noise)
    }

    /// Candidate actions of the moving average to act with, `[batch, act_particles, action_dim]`,
    /// from the draw `chain`.
    pub fn particles_to_act(&self, observations: Tensor<B, 2>, draws: &Draws<B>) -> Tensor<B, 3> {
        let noise = draws.chain("chain", &self.act_sampler);
        self.act_sampler.all(&self.average, observations, &noise)
    }

    /// As [`DiffusionActor::particles_to_act`], with noise that is a function of each observation
    /// alone.
    pub fn particles_to_evaluate(
        &self,
        observations: Tensor<B, 2>,
        streams: Streams,
    ) -> Tensor<B, 3> {
        let key = streams.key("act/deterministic");
        let noise = self.act_sampler.noise_of_observations(key, &observations);
        self.act_sampler.all(&self.average, observations, &noise)
    }

    /// The learning rate of the next step: constant, then falling linearly between two fractions of
    /// the run, then constant.
    pub fn learning_rate(&self) -> f64 {
        let [start, end] = [self.settings.learning_rate, self.settings.learning_rate_end];
        let [begin, finish] =
            [self.settings.decay_begin, self.settings.decay_end].map(|at| at * self.total_steps);
        let progress = (self.optimizer.count as f64 - begin) / (finish - begin);
        start + (end - start) * progress.clamp(0.0, 1.0)
    }

    /// One step down the gradient of `loss`, `[1]`; the loss before it.
    pub fn learn(
        &mut self,
        loss: impl FnOnce(&Denoiser<Autodiff<B>>, &NoiseSchedule) -> Tensor<Autodiff<B>, 1>,
    ) -> Tensor<B, 1> {
        let schedule = &self.schedule;
        let (loss, gradient, ()) =
            value_and_grad(&self.policy, |policy| (loss(policy, schedule), ()));
        let learning_rate = self.learning_rate();
        self.optimizer
            .step(&mut self.policy, &gradient, learning_rate);
        loss
    }

    /// Moves the average.
    pub fn track(&mut self, tau: f64) {
        polyak(&mut self.average, &self.policy, tau);
    }
}

impl<B: RescoreBackend> Stateful<B> for DiffusionActor<B> {
    fn save(&self, state: &mut StateDict) {
        state.insert_tree("policy", &self.policy);
        state.insert_tree("target_policy", &self.average);
        state.insert_adam("policy_optimizer", &self.optimizer);
    }

    fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        self.policy = state.tree("policy", &self.policy)?;
        self.average = state.tree("target_policy", &self.average)?;
        self.optimizer = state.adam("policy_optimizer", &self.optimizer)?;
        Ok(())
    }

    fn parameter_sum(&self) -> Option<Tensor<B, 1>> {
        Some(parameter_sum(&self.policy) + parameter_sum(&self.average))
    }
}
