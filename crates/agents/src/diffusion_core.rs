//! What DPMD and SDAC have in common: networks, optimisers, temperature and acting.
//!
//! The two algorithms differ in how an update weighs samples; that stands in their own files.

use burn::tensor::Tensor;
use rescore_critics::TwinQ;
use rescore_diffusion::{Denoiser, DenoiserShape, NoiseSchedule, Sampler};
use rescore_kernels::{
    Activation, ChainNoise, Noise, NoiseKey, RescoreBackend, adam::Adam, best_of, polyak,
    value_and_grad,
};
use rescore_objectives::{entropy, td};

use crate::{
    agent::Batch,
    config::{ActorCriticConfig, BehaviourPolicy, DiffusionConfig},
    guard::parameter_sum,
    state::{
        Array, StateDict, StateError, load_network, load_optimizer, save_network, save_optimizer,
    },
    temperature::Temperature,
};

/// Networks, optimisers and temperature of an actor-critic with a diffusion policy.
#[derive(Debug, Clone)]
pub struct DiffusionCore<B: RescoreBackend> {
    /// Policy that is trained; its samples enter the TD target.
    pub policy: Denoiser<B>,
    /// Moving average of the policy; it acts and is evaluated by default.
    pub target_policy: Denoiser<B>,
    /// Critics that are trained; they also choose among particles.
    pub critics: TwinQ<B>,
    /// Moving average of the critics, for TD targets.
    pub target_critics: TwinQ<B>,
    /// Optimiser of the policy.
    pub policy_optimizer: Adam<Denoiser<B>>,
    /// Optimiser of both critics.
    pub critic_optimizer: Adam<TwinQ<B>>,
    /// Temperature (lambda): scale of the exploration noise and of the weights.
    pub temperature: Temperature<B>,
    /// Updates done.
    pub updates: u64,
    /// Noise schedule of the diffusion.
    pub schedule: NoiseSchedule,
    /// How updates sample the policy.
    pub sampler: Sampler,
    /// How the policy is sampled to act and to be evaluated.
    pub act_sampler: Sampler,
    base: ActorCriticConfig,
    diffusion: DiffusionConfig,
    streams: Streams,
    device: B::Device,
}

/// The named random streams of a run.
#[derive(Debug, Clone, Copy)]
struct Streams {
    seed: u64,
    act_chain: NoiseKey,
    act_exploration: NoiseKey,
    deterministic: NoiseKey,
}

/// Random numbers of one call of the sampler: those of the chain and of the exploration.
#[derive(Debug, Clone)]
pub struct SampleNoise<B: RescoreBackend> {
    /// Noise of the denoising chain.
    pub chain: ChainNoise<B>,
    /// Unit normals of the exploration: `[states, action_dim]`, or with `noise_before_choice`
    /// `[states * particles, action_dim]`.
    pub exploration: Tensor<B, 2>,
}

impl<B: RescoreBackend> DiffusionCore<B> {
    /// Freshly initialised; target copies equal the trained networks.
    pub fn new(
        base: &ActorCriticConfig,
        diffusion: &DiffusionConfig,
        [observation_dim, action_dim]: [usize; 2],
        seed: u64,
        device: &B::Device,
    ) -> Self {
        let policy = Denoiser::init(
            &DenoiserShape {
                observation_dim,
                action_dim,
                hidden_dims: base.hidden_dims.clone(),
            },
            base.initializer.into(),
            NoiseKey::new(seed, "init/policy"),
            device,
        );
        let critics = TwinQ::init(
            [observation_dim, action_dim],
            &base.hidden_dims,
            Activation::Mish,
            base.initializer.into(),
            NoiseKey::new(seed, "init/critics"),
            device,
        );
        let schedule = NoiseSchedule::new(
            diffusion.schedule,
            diffusion.denoising_steps,
            diffusion.schedule_scale,
        );
        let sampler = |particles| {
            let (start_scale, precision) = (diffusion.start_scale as f32, diffusion.precision);
            Sampler::new(&schedule, particles, start_scale, precision.into())
        };
        Self {
            target_policy: policy.clone(),
            target_critics: critics.clone(),
            policy_optimizer: Adam::new(&policy),
            critic_optimizer: Adam::new(&critics),
            temperature: Temperature::new(base.initial_temperature, device),
            updates: 0,
            policy,
            critics,
            sampler: sampler(diffusion.particles),
            act_sampler: sampler(diffusion.particles_to_act()),
            schedule,
            base: base.clone(),
            diffusion: diffusion.clone(),
            streams: Streams {
                seed,
                act_chain: NoiseKey::new(seed, "act/chain"),
                act_exploration: NoiseKey::new(seed, "act/exploration"),
                deterministic: NoiseKey::new(seed, "act/deterministic"),
            },
            device: device.clone(),
        }
    }

    /// Where the tensors live.
    pub fn device(&self) -> &B::Device {
        &self.device
    }

    /// The stream called `name` at the present update.
    pub fn noise(&self, name: &str) -> Noise {
        Noise {
            key: NoiseKey::new(self.streams.seed, name),
            counter: self.updates as u32,
        }
    }

    /// Random numbers for sampling an action for each of `states` observations in an update, from
    /// the streams `name/chain` and `name/exploration`.
    pub fn sample_noise(&self, name: &str, states: usize) -> SampleNoise<B> {
        let chain = self.noise(&format!("{name}/chain"));
        let exploration = self.noise(&format!("{name}/exploration"));
        self.draw(&self.sampler, chain, exploration, states)
    }

    /// Random numbers for one call of `sampler`.
    fn draw(
        &self,
        sampler: &Sampler,
        chain: Noise,
        exploration: Noise,
        states: usize,
    ) -> SampleNoise<B> {
        let noisy = if self.diffusion.noise_before_choice {
            sampler.particles()
        } else {
            1
        };
        SampleNoise {
            chain: sampler.noise(chain.key, chain.counter),
            exploration: exploration
                .normal([states * noisy, self.policy.action_dim()], &self.device),
        }
    }

    /// The actions that an update samples from the policy it trains: with exploration noise or
    /// without, as `target_exploration` says.
    pub fn sample_for_update(
        &self,
        observations: Tensor<B, 2>,
        noise: &SampleNoise<B>,
    ) -> Tensor<B, 2> {
        if self.diffusion.target_exploration {
            return self.explore(&self.sampler, &self.policy, observations, noise);
        }
        let critics = self.critics.networks();
        self.sampler
            .best(&self.policy, critics, observations, &noise.chain)
    }

    /// Actions of `policy` with exploration noise of standard deviation `noise_scale *
    /// temperature`: the best of K particles by the critics that are trained, with the noise added
    /// after the choice or, with `noise_before_choice`, before it.
    fn explore(
        &self,
        sampler: &Sampler,
        policy: &Denoiser<B>,
        observations: Tensor<B, 2>,
        noise: &SampleNoise<B>,
    ) -> Tensor<B, 2> {
        let scale = self
            .temperature
            .value()
            .mul_scalar(self.diffusion.noise_scale);
        let exploration = noise.exploration.clone() * scale.unsqueeze();
        let critics = self.critics.networks();
        if self.diffusion.noise_before_choice {
            let particles = sampler.all(policy, observations.clone(), &noise.chain);
            let exploration = exploration.reshape(particles.dims());
            let noisy = (particles + exploration).clamp(-1.0, 1.0);
            return best_of(critics, observations, noisy);
        }
        let best = sampler.best(policy, critics, observations, &noise.chain);
        let actions = best + exploration;
        if self.diffusion.clip_exploration {
            actions.clamp(-1.0, 1.0)
        } else {
            actions
        }
    }

    /// The policy that acts.
    fn behaviour(&self) -> &Denoiser<B> {
        match self.diffusion.behaviour_policy {
            BehaviourPolicy::Target => &self.target_policy,
            BehaviourPolicy::Online => &self.policy,
        }
    }

    /// See [`crate::Agent::act`].
    pub fn act(&self, observations: Tensor<B, 2>, counter: u32) -> Tensor<B, 2> {
        let [states, _] = observations.dims();
        let stream = |key| Noise { key, counter };
        let noise = self.draw(
            &self.act_sampler,
            stream(self.streams.act_chain),
            stream(self.streams.act_exploration),
            states,
        );
        self.explore(&self.act_sampler, self.behaviour(), observations, &noise)
    }

    /// See [`crate::Agent::act_deterministic`]: the noise of the chain is a function of the
    /// observation.
    pub fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        let noise = self
            .act_sampler
            .noise_of_observations(self.streams.deterministic, &observations);
        self.act_sampler.best(
            self.behaviour(),
            self.critics.networks(),
            observations,
            &noise,
        )
    }

    /// TD targets `[batch]` with the target critics at `next_actions`.
    pub fn td_target(&self, batch: &Batch<B>, next_actions: Tensor<B, 2>) -> Tensor<B, 1> {
        let next_values = self
            .target_critics
            .min_of_actions(batch.next_observations.clone(), next_actions);
        td::td_target(
            batch.rewards.clone().mul_scalar(self.base.reward_scale),
            batch.terminated.clone(),
            next_values,
            self.base.gamma,
        )
    }

    /// Losses of both critics and the gradient of their sum.
    pub fn critic_gradient(
        &self,
        batch: &Batch<B>,
        targets: Tensor<B, 1>,
    ) -> ([Tensor<B, 1>; 2], TwinQ<B>) {
        let (_, gradient, losses) = value_and_grad(&self.critics, |critics| {
            let [loss1, loss2] = td::critic_losses(
                critics,
                Tensor::from_inner(batch.observations.clone()),
                Tensor::from_inner(batch.actions.clone()),
                &Tensor::from_inner(targets),
            );
            let losses = [loss1.clone().inner(), loss2.clone().inner()];
            (loss1 + loss2, losses)
        });
        (losses, gradient)
    }

    /// Moves the critics.
    pub fn step_critics(&mut self, gradient: &TwinQ<B>) {
        self.critic_optimizer
            .step(&mut self.critics, gradient, self.base.critic_lr);
    }

    /// Whether the policy steps on this update.
    pub fn policy_is_due(&self) -> bool {
        self.updates.is_multiple_of(self.diffusion.policy_delay)
    }

    /// Whether the target critics and the moving average of the policy step on this update.
    pub fn targets_are_due(&self) -> bool {
        self.updates.is_multiple_of(self.diffusion.target_delay)
    }

    /// Whether this update computes the policy loss at all.
    pub fn policy_loss_is_due(&self) -> bool {
        self.policy_is_due() || !self.diffusion.skip_unused
    }

    /// Moves the policy, with the learning rate of its schedule.
    pub fn step_policy(&mut self, gradient: &Denoiser<B>) {
        let rate = self.policy_learning_rate();
        self.policy_optimizer.step(&mut self.policy, gradient, rate);
    }

    /// Constant, then linear, then constant again, as a function of policy steps taken.
    pub fn policy_learning_rate(&self) -> f64 {
        let (start, end) = (self.base.policy_lr, self.diffusion.policy_lr_end);
        let since = self
            .policy_optimizer
            .count
            .saturating_sub(self.diffusion.policy_lr_begin);
        let progress = (since as f64 / self.diffusion.policy_lr_length as f64).min(1.0);
        start + (end - start) * progress
    }

    /// Moves the temperature where it is due. It regulates the entropy of the exploration noise,
    /// so it depends on no data.
    pub fn step_temperature(&mut self) {
        if !self
            .updates
            .is_multiple_of(self.diffusion.temperature_every)
        {
            return;
        }
        let action_dim = self.policy.action_dim();
        let entropy = entropy::exploration_entropy(
            self.temperature.log_value.clone(),
            self.diffusion.entropy_noise_scale,
            action_dim,
        );
        let target = -self.base.target_entropy_scale * action_dim as f64;
        let gradient = entropy::temperature_gradient(entropy, target);
        self.temperature.step(&gradient, self.base.temperature_lr);
    }

    /// Moves the target critics and the target policy.
    pub fn step_targets(&mut self) {
        let tau = self.base.tau;
        polyak(&mut self.target_critics, &self.critics, tau);
        polyak(&mut self.target_policy, &self.policy, tau);
    }

    /// See [`crate::Agent::parameter_sum`].
    pub fn parameter_sum(&self) -> Tensor<B, 1> {
        let policies = parameter_sum(&self.policy) + parameter_sum(&self.target_policy);
        let critics = parameter_sum(&self.critics) + parameter_sum(&self.target_critics);
        policies + critics
    }

    /// Adds everything to `state`.
    pub fn save(&self, state: &mut StateDict) {
        save_network(state, "policy", &self.policy);
        save_network(state, "target_policy", &self.target_policy);
        save_network(state, "critics", &self.critics);
        save_network(state, "target_critics", &self.target_critics);
        save_optimizer(state, "policy_optimizer", &self.policy_optimizer);
        save_optimizer(state, "critic_optimizer", &self.critic_optimizer);
        state.insert("updates", Array::U64(self.updates));
        self.temperature.save(state);
    }

    /// Takes everything from `state`.
    ///
    /// # Errors
    /// When an array is missing or has another shape.
    pub fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        // Everything is read before anything is replaced: a failed load changes nothing.
        let device = self.device.clone();
        let policy = |name: &str| load_network(state, name, &self.policy, &device);
        let critics = |name: &str| load_network(state, name, &self.critics, &device);
        let loaded = (
            policy("policy")?,
            policy("target_policy")?,
            critics("critics")?,
            critics("target_critics")?,
            load_optimizer(state, "policy_optimizer", &self.policy, &device)?,
            load_optimizer(state, "critic_optimizer", &self.critics, &device)?,
            Temperature::load(state, &device)?,
            state.counter("updates")?,
        );
        (
            self.policy,
            self.target_policy,
            self.critics,
            self.target_critics,
            self.policy_optimizer,
            self.critic_optimizer,
            self.temperature,
            self.updates,
        ) = loaded;
        Ok(())
    }
}
