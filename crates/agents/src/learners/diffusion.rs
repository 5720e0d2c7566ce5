//! A diffusion policy, its moving average and its optimiser.

use burn::{backend::Autodiff, tensor::Tensor};
use rescore_diffusion::{Denoiser, DenoiserShape, NoiseSchedule, Sampler};
use rescore_kernels::{ChainNoise, NoiseKey, RescoreBackend};
use rescore_nn::{Adam, StateDict, StateError, parameter_sum, polyak, value_and_grad};

use super::{CriticLearner, LearningRate, policy_norms};
use crate::settings::{DiffusionActorSettings, RecipeSettings};
use crate::{Batch, Draws, Setup, Stateful, Streams};

/// A policy that denoises noise into actions.
#[derive(Debug, Clone)]
pub struct DiffusionActor<B: RescoreBackend> {
    /// The policy that is trained.
    pub policy: Denoiser<B>,
    /// Its moving average, which acts where there is one.
    pub average: Option<Denoiser<B>>,
    /// The optimiser of `policy`.
    pub optimizer: Adam<Denoiser<B>>,
    /// Noise schedule of the diffusion.
    pub schedule: NoiseSchedule,
    /// How a policy is sampled.
    pub sampler: Sampler,
    /// Candidate actions an observation in training and in evaluation.
    pub particles: [usize; 2],
    /// The gradient of the last step, for diagnosis.
    latest: Option<Denoiser<B>>,
    learning_rate: LearningRate,
}

impl<B: RescoreBackend> DiffusionActor<B> {
    /// A policy with random weights from the stream `init/policy` of the run, which learns in every
    /// `every`-th update and chooses among `particles` candidates in training and in evaluation.
    pub fn new(
        settings: &DiffusionActorSettings,
        particles: [usize; 2],
        every: u64,
        setup: &Setup<'_, B>,
    ) -> Self {
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
        let (start_scale, precision) = (settings.start_scale as f32, settings.precision);
        let steps = setup.updates as f64 / every as f64;
        Self {
            average: None,
            optimizer: Adam::new(&policy, settings.optimizer),
            policy,
            sampler: Sampler::new(&schedule, start_scale, precision.into()),
            schedule,
            particles,
            latest: None,
            learning_rate: LearningRate::falling_between(
                settings.learning_rate,
                settings.final_fraction,
                [settings.decay_begin, settings.decay_end].map(|at| at * steps),
            ),
        }
    }

    /// The policy of a recipe.
    pub fn of(recipe: &RecipeSettings, setup: &Setup<'_, B>) -> Self {
        let acting = &recipe.acting;
        let particles = [acting.particles, acting.evaluation_particles];
        Self::new(&recipe.actor, particles, recipe.policy_every, setup)
    }

    /// The same with a moving average of the policy, which acts.
    #[must_use]
    pub fn averaged(mut self) -> Self {
        self.average = Some(self.policy.clone());
        self
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate.at(self.optimizer.count)
    }

    /// The policy that acts.
    pub fn acting(&self) -> &Denoiser<B> {
        self.average.as_ref().unwrap_or(&self.policy)
    }

    /// `count` candidate actions of `policy`, `[batch, count, action_dim]`.
    pub fn sample(
        &self,
        policy: &Denoiser<B>,
        observations: Tensor<B, 2>,
        count: usize,
        noise: &ChainNoise<B>,
    ) -> Tensor<B, 3> {
        self.sampler.sample(policy, observations, count, noise)
    }

    /// Candidate actions to act with in training, `[batch, particles, action_dim]`, from the draw
    /// `chain`.
    pub fn particles_to_act(&self, observations: Tensor<B, 2>, draws: &Draws<B>) -> Tensor<B, 3> {
        let noise = draws.chain("chain", &self.sampler);
        self.sample(self.acting(), observations, self.particles[0], &noise)
    }

    /// The action that training plays, `[batch, action_dim]`: of the candidates the one that `critics`
    /// value most, with noise of standard deviation `noise`, clipped to [-1, 1].
    pub fn explore(
        &self,
        critics: &CriticLearner<B>,
        observations: Tensor<B, 2>,
        noise: f64,
        draws: &Draws<B>,
    ) -> Tensor<B, 2> {
        let candidates = self.particles_to_act(observations.clone(), draws);
        let actions = critics.best(observations, candidates);
        let normals = draws.normals("exploration", actions.dims());
        (actions + normals.mul_scalar(noise)).clamp(-1.0, 1.0)
    }

    /// Next actions of a batch for TD targets, `[batch, action_dim]`: of `count` candidates of the
    /// policy as it is, from the draw `next/chain`, the one that `critics` value most.
    pub fn next_actions(
        &self,
        critics: &CriticLearner<B>,
        batch: &Batch<B>,
        count: usize,
        draws: &Draws<B>,
    ) -> Tensor<B, 2> {
        let observations = batch.next_observations.clone();
        let chain = draws.chain("next/chain", &self.sampler);
        let candidates = self.sample(&self.policy, observations.clone(), count, &chain);
        critics.best(observations, candidates)
    }

    /// The action that evaluation plays, `[batch, action_dim]`: of the candidates the one that
    /// `critics` value most. The noise is a function of each observation alone.
    pub fn evaluate(
        &self,
        critics: &CriticLearner<B>,
        observations: Tensor<B, 2>,
        streams: Streams,
    ) -> Tensor<B, 2> {
        let key = streams.key("act/deterministic");
        let noise = self.sampler.noise_of_observations(key, &observations);
        let count = self.particles[1];
        let candidates = self.sample(self.acting(), observations.clone(), count, &noise);
        critics.best(observations, candidates)
    }

    /// One step down the gradient of `loss`, `[1]`; the loss before it.
    pub fn learn(
        &mut self,
        loss: impl FnOnce(&Denoiser<Autodiff<B>>, &NoiseSchedule) -> Tensor<Autodiff<B>, 1>,
    ) -> Tensor<B, 1> {
        let schedule = &self.schedule;
        let (loss, gradient, ()) =
            value_and_grad(&self.policy, |policy| (loss(policy, schedule), ()));
        let rate = self.learning_rate();
        self.optimizer.step(&mut self.policy, &gradient, rate);
        self.latest = Some(gradient);
        loss
    }

    /// Moves the average, where there is one.
    pub fn track(&mut self, tau: f64) {
        if let Some(average) = &mut self.average {
            polyak(average, &self.policy, tau);
        }
    }
}

impl<B: RescoreBackend> Stateful<B> for DiffusionActor<B> {
    fn save(&self, state: &mut StateDict) {
        state.insert_tree("policy", &self.policy);
        if let Some(average) = &self.average {
            state.insert_tree("target_policy", average);
        }
        state.insert_adam("policy_optimizer", &self.optimizer);
    }

    fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        self.policy = state.tree("policy", &self.policy)?;
        if let Some(average) = &mut self.average {
            *average = state.tree("target_policy", average)?;
        }
        self.optimizer = state.adam("policy_optimizer", &self.optimizer)?;
        Ok(())
    }

    fn parameter_sum(&self) -> Option<Tensor<B, 1>> {
        let average = self.average.as_ref().map(parameter_sum);
        let sum = parameter_sum(&self.policy);
        Some(average.map_or(sum.clone(), |average| sum + average))
    }

    fn norms(&self) -> Vec<(&'static str, Tensor<B, 1>)> {
        policy_norms(&self.policy, self.latest.as_ref())
    }
}
