//! A diffusion policy, its moving average and its optimiser.

use burn::{backend::Autodiff, tensor::Tensor};
use rescore_diffusion::{Denoiser, DenoiserShape, NoiseSchedule, Sampler, VariancePreserving};
use rescore_kernels::{ChainNoise, NoiseKey, RescoreBackend};
use rescore_nn::{
    Adam, AdamSettings, StateDict, StateError, parameter_sum, polyak, value_and_grad,
};

use super::{BestOf, CriticLearner, Judges, LearningRate, policy_norms};
use crate::settings::{
    ActorSettings, DiffusionActorSettings, MovingAverage, NetworkSettings, RecipeSettings,
    SdeSettings,
};
use crate::{Batch, Draws, Setup, Stateful, Streams};

/// A policy that denoises noise into actions, of the discrete process or another one `S`.
#[derive(Debug, Clone)]
pub struct DiffusionActor<B: RescoreBackend, S = NoiseSchedule> {
    /// The policy that is trained.
    pub policy: Denoiser<B>,
    /// Its moving average, where there is one.
    pub average: Option<Denoiser<B>>,
    /// Whether the average acts.
    average_acts: bool,
    /// The optimiser of `policy`.
    pub optimizer: Adam<Denoiser<B>>,
    /// Noise of the diffusion.
    pub schedule: S,
    /// How updates sample a policy.
    pub sampler: Sampler,
    /// How the policy that acts is sampled in training and in evaluation.
    pub acting_samplers: [Sampler; 2],
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
        let steps = setup.updates as f64 / every as f64;
        let learning_rate = LearningRate::falling_between(
            settings.learning_rate,
            settings.final_fraction,
            [settings.decay_begin, settings.decay_end].map(|at| at * steps),
        );
        let network = (&settings.network, settings.optimizer, learning_rate);
        let sampler = settings.chain_sampler();
        let acting = [sampler.clone(), sampler.clone()];
        let schedule = settings.noise_schedule();
        Self::build(network, (schedule, sampler, acting), particles, setup)
    }

    /// The policy of a recipe.
    pub fn of(recipe: &RecipeSettings, setup: &Setup<'_, B>) -> Self {
        let acting = &recipe.acting;
        let particles = [acting.particles, acting.evaluation_particles];
        Self::new(&recipe.actor, particles, recipe.policy_every, setup)
    }

    /// The same with a chain that adds no noise in evaluation.
    #[must_use]
    pub fn evaluated_quietly(mut self) -> Self {
        self.acting_samplers[1] = self.sampler.clone().quiet();
        self
    }
}

impl<B: RescoreBackend> DiffusionActor<B, VariancePreserving> {
    /// As [`DiffusionActor::new`] for a policy of the process in continuous time, which learns in every
    /// update.
    pub fn of_sde(
        settings: &ActorSettings,
        sde: &SdeSettings,
        particles: [usize; 2],
        setup: &Setup<'_, B>,
    ) -> Self {
        let learning_rate = LearningRate::falling(
            settings.learning_rate,
            settings.final_fraction,
            setup.updates as f64,
        );
        let network = (&settings.network, settings.optimizer, learning_rate);
        let acting = [sde.acting_sampler(), sde.acting_sampler()];
        let sampled = (sde.schedule(), sde.update_sampler(), acting);
        Self::build(network, sampled, particles, setup)
    }
}

impl<B: RescoreBackend, S> DiffusionActor<B, S> {
    fn build(
        (network, optimizer, learning_rate): (&NetworkSettings, AdamSettings, LearningRate),
        (schedule, sampler, acting_samplers): (S, Sampler, [Sampler; 2]),
        particles: [usize; 2],
        setup: &Setup<'_, B>,
    ) -> Self {
        let [observation_dim, action_dim] = setup.dims;
        let shape = DenoiserShape {
            observation_dim,
            action_dim,
            trunk: network.shape(0.1),
        };
        let key = NoiseKey::new(setup.seed, "init/policy");
        let policy = Denoiser::init(&shape, network.initializer(), key, setup.device);
        Self {
            average: None,
            average_acts: false,
            optimizer: Adam::new(&policy, optimizer),
            policy,
            schedule,
            sampler,
            acting_samplers,
            particles,
            latest: None,
            learning_rate,
        }
    }

    /// The same with a moving average of the policy, which acts.
    #[must_use]
    pub fn averaged(self) -> Self {
        Self {
            average_acts: true,
            ..self.with_target()
        }
    }

    /// The same with a moving average of the policy, which gives next actions and does not act.
    #[must_use]
    pub fn with_target(mut self) -> Self {
        self.average = Some(self.policy.clone());
        self
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate.at(self.optimizer.count)
    }

    /// The policy that acts.
    pub fn acting(&self) -> &Denoiser<B> {
        let average = self.average.as_ref().filter(|_| self.average_acts);
        average.unwrap_or(&self.policy)
    }

    /// The moving average, or the policy itself where there is none.
    pub fn target(&self) -> &Denoiser<B> {
        self.average.as_ref().unwrap_or(&self.policy)
    }

    /// `count` candidate actions of `policy`, `[batch, count, action_dim]`; those of the discrete process
    /// are in [-1, 1], others may leave it.
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
    /// `chain`; see [`DiffusionActor::sample`].
    pub fn particles_to_act(&self, observations: Tensor<B, 2>, draws: &Draws<B>) -> Tensor<B, 3> {
        let ([sampler, _], [count, _]) = (&self.acting_samplers, self.particles);
        let noise = draws.chain("chain", sampler);
        sampler.sample(self.acting(), observations, count, &noise)
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
        if noise == 0.0 {
            return actions;
        }
        let normals = draws.normals("exploration", actions.dims());
        (actions + normals.mul_scalar(noise)).clamp(-1.0, 1.0)
    }

    /// Next actions of a batch for TD targets, `[batch, action_dim]`: of `count` candidates of `policy`,
    /// from the draw `next/chain`, the one that `judges` value most.
    pub fn next_actions(
        &self,
        policy: &Denoiser<B>,
        judges: &Judges<'_, B>,
        (batch, count): (&Batch<B>, usize),
        draws: &Draws<B>,
    ) -> Tensor<B, 2> {
        let observations = batch.next_observations.clone();
        let chain = draws.chain("next/chain", &self.sampler);
        let candidates = self.sample(policy, observations.clone(), count, &chain);
        judges.best(observations, candidates)
    }

    /// How evaluation plays: of the candidates the action that `judges` value most. The noise is a
    /// function of each observation alone.
    pub fn best_of<'a>(&'a self, judges: Judges<'a, B>, streams: Streams) -> BestOf<'a, B> {
        BestOf {
            policy: self.acting(),
            sampler: &self.acting_samplers[1],
            particles: self.particles[1],
            judges,
            key: streams.key("act/deterministic"),
        }
    }

    /// The action that evaluation plays, `[batch, action_dim]`, see [`DiffusionActor::best_of`].
    pub fn evaluate(
        &self,
        critics: &CriticLearner<B>,
        observations: Tensor<B, 2>,
        streams: Streams,
    ) -> Tensor<B, 2> {
        self.best_of(critics.judges(), streams).act(observations)
    }

    /// One step down the gradient of `loss`, `[1]`; the loss before it.
    pub fn learn(
        &mut self,
        loss: impl FnOnce(&Denoiser<Autodiff<B>>, &S) -> Tensor<Autodiff<B>, 1>,
    ) -> Tensor<B, 1> {
        let schedule = &self.schedule;
        let (loss, gradient, ()) =
            value_and_grad(&self.policy, |policy| (loss(policy, schedule), ()));
        let rate = self.learning_rate();
        self.optimizer.step(&mut self.policy, &gradient, rate);
        self.latest = Some(gradient);
        loss
    }

    /// Moves the average, where there is one, where that is due in the update numbered `updates`.
    pub fn follow(&mut self, average: MovingAverage, updates: u64) {
        if updates.is_multiple_of(average.every) {
            self.track(average.tau);
        }
    }

    /// Moves the average, where there is one.
    pub fn track(&mut self, tau: f64) {
        if let Some(average) = &mut self.average {
            polyak(average, &self.policy, tau);
        }
    }
}

impl<B: RescoreBackend, S> Stateful<B> for DiffusionActor<B, S> {
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
