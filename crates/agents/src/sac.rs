//! SAC: soft actor-critic (Haarnoja et al. 2018), the Gaussian baseline.
//!
//! Two presets: `textbook`, with the log-probability of the squashed action, and `reference`, the
//! variant that the reference implementation of DPMD compares itself to (no tanh Jacobian, initial
//! temperature e, scaled rewards).

use burn::tensor::Tensor;
use rescore_critics::TwinQ;
use rescore_kernels::{
    Activation, Mlp, Noise, NoiseKey, RescoreBackend, adam::Adam, freeze, polyak, value_and_grad,
};
use rescore_objectives::{entropy, gaussian, td};
use serde::{Deserialize, Serialize};

use crate::{
    agent::{Agent, Batch, Metrics},
    config::{ActorCriticConfig, InitializerKind, RangeCheck, RangeError},
    guard::parameter_sum,
    state::{
        Array, StateDict, StateError, load_network, load_optimizer, save_network, save_optimizer,
    },
    temperature::Temperature,
};

/// Hyper-parameters of SAC. [`SacConfig::textbook`] documents the defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SacConfig {
    /// Name of the preset that the other keys started from.
    pub preset: String,
    /// Discount, networks, learning rates. `initial_temperature` and `reward_scale` are set by the
    /// preset.
    #[serde(flatten)]
    pub base: ActorCriticConfig,
    /// Whether log-probabilities contain the Jacobian of tanh. Set by the preset.
    pub tanh_correction: bool,
    /// Upper bound of the log standard deviation. Set by the preset.
    pub log_std_max: f64,
}

impl SacConfig {
    /// Names of the presets, the default first.
    pub const PRESETS: &[&str] = &["textbook", "reference"];

    /// SAC as published.
    pub fn textbook() -> Self {
        Self {
            preset: "textbook".into(),
            base: ActorCriticConfig {
                gamma: 0.99,
                tau: 0.005,
                reward_scale: 1.0,
                hidden_dims: vec![256; 3],
                critic_lr: 3e-4,
                policy_lr: 3e-4,
                temperature_lr: 3e-4,
                initial_temperature: 1.0,
                target_entropy_scale: 1.0,
                initializer: InitializerKind::LecunNormal,
            },
            tanh_correction: true,
            log_std_max: 2.0,
        }
    }

    /// SAC as the reference implementation of DPMD has it.
    pub fn reference() -> Self {
        Self {
            preset: "reference".into(),
            base: ActorCriticConfig {
                reward_scale: 0.2,
                initial_temperature: std::f64::consts::E,
                initializer: InitializerKind::TruncatedNormal,
                ..Self::textbook().base
            },
            tanh_correction: false,
            log_std_max: 0.5,
        }
    }

    /// The preset called `name`.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "textbook" => Some(Self::textbook()),
            "reference" => Some(Self::reference()),
            _ => None,
        }
    }

    /// Checks that every value is in its range.
    ///
    /// # Errors
    /// The first key that is not.
    pub fn validate(&self) -> Result<(), RangeError> {
        self.base
            .check(RangeCheck::default())
            .require(
                "log_std_max",
                self.log_std_max,
                (-20.0..=20.0).contains(&self.log_std_max),
                "in [-20, 20]",
            )
            .finish()
    }
}

/// A SAC agent.
#[derive(Debug, Clone)]
pub struct Sac<B: RescoreBackend> {
    /// Gaussian policy, `observation_dim -> hidden ... -> 2 action_dim`: mean, log std.
    pub policy: Mlp<B>,
    /// Critics that are trained.
    pub critics: TwinQ<B>,
    /// Moving average of the critics.
    pub target_critics: TwinQ<B>,
    /// Optimiser of the policy.
    pub policy_optimizer: Adam<Mlp<B>>,
    /// Optimiser of both critics.
    pub critic_optimizer: Adam<TwinQ<B>>,
    /// Temperature (alpha).
    pub temperature: Temperature<B>,
    /// Updates done.
    pub updates: u64,
    config: SacConfig,
    seed: u64,
    device: B::Device,
}

/// Random numbers of one update: unit normals `[batch, action_dim]`.
#[derive(Debug, Clone)]
pub struct SacNoise<B: RescoreBackend> {
    /// For the next actions.
    pub next: Tensor<B, 2>,
    /// For the actions at the present observations.
    pub present: Tensor<B, 2>,
}

/// What one update computed.
#[derive(Debug, Clone)]
pub struct SacUpdate<B: RescoreBackend> {
    /// Sampled next actions, `[batch, action_dim]`.
    pub next_actions: Tensor<B, 2>,
    /// Their log-probabilities, `[batch]`.
    pub next_log_probabilities: Tensor<B, 1>,
    /// TD targets, `[batch]`.
    pub targets: Tensor<B, 1>,
    /// Losses of both critics, `[1]` each.
    pub critic_losses: [Tensor<B, 1>; 2],
    /// Gradient of the sum of the critic losses.
    pub critic_gradient: TwinQ<B>,
    /// Policy loss, `[1]`.
    pub policy_loss: Tensor<B, 1>,
    /// Its gradient.
    pub policy_gradient: Mlp<B>,
    /// Log-probabilities of the sampled actions at the present observations, `[batch]`.
    pub log_probabilities: Tensor<B, 1>,
    /// Gradient of the log temperature, `[1]`.
    pub temperature_gradient: Tensor<B, 1>,
}

impl<B: RescoreBackend> Sac<B> {
    /// A fresh agent for observations and actions of the widths given.
    pub fn new(
        config: &SacConfig,
        [observation_dim, action_dim]: [usize; 2],
        seed: u64,
        device: &B::Device,
    ) -> Self {
        let base = &config.base;
        let mut dims = vec![observation_dim];
        dims.extend_from_slice(&base.hidden_dims);
        dims.push(2 * action_dim);
        let policy = Mlp::init(
            &dims,
            Activation::Gelu,
            base.initializer.into(),
            NoiseKey::new(seed, "init/policy"),
            device,
        );
        let critics = TwinQ::init(
            [observation_dim, action_dim],
            &base.hidden_dims,
            Activation::Gelu,
            base.initializer.into(),
            NoiseKey::new(seed, "init/critics"),
            device,
        );
        Self {
            target_critics: critics.clone(),
            policy_optimizer: Adam::new(&policy),
            critic_optimizer: Adam::new(&critics),
            temperature: Temperature::new(base.initial_temperature, device),
            updates: 0,
            policy,
            critics,
            config: config.clone(),
            seed,
            device: device.clone(),
        }
    }

    /// Width of an action.
    fn action_dim(&self) -> usize {
        self.policy.output_dim() / 2
    }

    fn normal(&self, stream: &str, counter: u32, rows: usize) -> Tensor<B, 2> {
        let key = NoiseKey::new(self.seed, stream);
        Noise { key, counter }.normal([rows, self.action_dim()], &self.device)
    }

    /// The random numbers of the present update for a batch of `batch` transitions.
    pub fn draw(&self, batch: usize) -> SacNoise<B> {
        let counter = self.updates as u32;
        SacNoise {
            next: self.normal("update/next", counter, batch),
            present: self.normal("update/present", counter, batch),
        }
    }

    /// An action sampled from a policy network's output.
    fn sample<C: RescoreBackend>(
        &self,
        policy: &Mlp<C>,
        observations: Tensor<C, 2>,
        noise: Tensor<C, 2>,
    ) -> gaussian::SquashedSample<C> {
        let output = policy.forward(observations);
        let parameters = gaussian::split_mean_log_std(output, self.config.log_std_max);
        gaussian::squashed_sample(parameters, noise, self.config.tanh_correction)
    }

    /// One update with explicit random numbers.
    pub fn update_with(&mut self, batch: &Batch<B>, noise: &SacNoise<B>) -> SacUpdate<B> {
        let base = &self.config.base;
        let temperature = self.temperature.value();

        // Critics: mean squared TD error of the soft value.
        let next = self.sample(
            &self.policy,
            batch.next_observations.clone(),
            noise.next.clone(),
        );
        let next_values = self
            .target_critics
            .min(batch.next_observations.clone(), next.actions.clone())
            - temperature.clone() * next.log_probabilities.clone();
        let targets = td::td_target(
            batch.rewards.clone().mul_scalar(base.reward_scale),
            batch.terminated.clone(),
            next_values,
            base.gamma,
        );
        let (_, critic_gradient, critic_losses) = value_and_grad(&self.critics, |critics| {
            let [loss1, loss2] = td::critic_losses(
                critics,
                Tensor::from_inner(batch.observations.clone()),
                Tensor::from_inner(batch.actions.clone()),
                &Tensor::from_inner(targets.clone()),
            );
            let losses = [loss1.clone().inner(), loss2.clone().inner()];
            (loss1 + loss2, losses)
        });
        self.critic_optimizer
            .step(&mut self.critics, &critic_gradient, base.critic_lr);

        // Policy: alpha log pi - min Q with the critics that have just stepped.
        let (policy_loss, policy_gradient, log_probabilities) =
            value_and_grad(&self.policy, |policy| {
                let observations = Tensor::from_inner(batch.observations.clone());
                let present = Tensor::from_inner(noise.present.clone());
                let sample = self.sample(policy, observations.clone(), present);
                let critics = freeze(&self.critics);
                let q = critics.min(observations, sample.actions);
                let entropy_term =
                    sample.log_probabilities.clone() * Tensor::from_inner(temperature);
                let loss = (entropy_term - q).mean();
                (loss, sample.log_probabilities.inner())
            });
        self.policy_optimizer
            .step(&mut self.policy, &policy_gradient, base.policy_lr);

        // Temperature: towards the target entropy.
        let target_entropy = -base.target_entropy_scale * self.action_dim() as f64;
        let policy_entropy = log_probabilities.clone().mean().neg();
        let temperature_gradient = entropy::temperature_gradient(policy_entropy, target_entropy);
        self.temperature
            .step(&temperature_gradient, base.temperature_lr);

        polyak(&mut self.target_critics, &self.critics, base.tau);
        self.updates += 1;

        SacUpdate {
            next_actions: next.actions,
            next_log_probabilities: next.log_probabilities,
            targets,
            critic_losses,
            critic_gradient,
            policy_loss,
            policy_gradient,
            log_probabilities,
            temperature_gradient,
        }
    }
}

impl<B: RescoreBackend> Agent<B> for Sac<B> {
    fn act(&self, observations: Tensor<B, 2>, act_counter: u32) -> Tensor<B, 2> {
        let [rows, _] = observations.dims();
        let noise = self.normal("act/exploration", act_counter, rows);
        self.sample(&self.policy, observations, noise).actions
    }

    fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        let output = self.policy.forward(observations);
        let [mean, _] = gaussian::split_mean_log_std(output, self.config.log_std_max);
        mean.tanh()
    }

    fn update(&mut self, batch: &Batch<B>) -> Metrics<B> {
        let [size, _] = batch.observations.dims();
        let noise = self.draw(size);
        let temperature = self.temperature.value();
        let update = self.update_with(batch, &noise);
        let mut metrics = Metrics::default();
        let [loss1, loss2] = update.critic_losses;
        metrics.push("q1_loss", loss1);
        metrics.push("q2_loss", loss2);
        metrics.push_mean("target_mean", update.targets);
        metrics.push("policy_loss", update.policy_loss);
        metrics.push_mean("entropy", update.log_probabilities.neg());
        metrics.push("temperature", temperature);
        metrics
    }

    fn updates(&self) -> u64 {
        self.updates
    }

    fn parameter_sum(&self) -> Tensor<B, 1> {
        let critics = parameter_sum(&self.critics) + parameter_sum(&self.target_critics);
        parameter_sum(&self.policy) + critics
    }

    fn state(&self) -> StateDict {
        let mut state = StateDict::default();
        save_network(&mut state, "policy", &self.policy);
        save_network(&mut state, "critics", &self.critics);
        save_network(&mut state, "target_critics", &self.target_critics);
        save_optimizer(&mut state, "policy_optimizer", &self.policy_optimizer);
        save_optimizer(&mut state, "critic_optimizer", &self.critic_optimizer);
        state.insert("updates", Array::U64(self.updates));
        self.temperature.save(&mut state);
        state
    }

    fn load_state(&mut self, state: &StateDict) -> Result<(), StateError> {
        state.check_names(&self.state())?;
        let device = self.device.clone();
        let policy = |name: &str| load_network(state, name, &self.policy, &device);
        let critics = |name: &str| load_network(state, name, &self.critics, &device);
        // Everything is read before anything is replaced: a failed load changes nothing.
        let loaded = Self {
            policy: policy("policy")?,
            critics: critics("critics")?,
            target_critics: critics("target_critics")?,
            policy_optimizer: load_optimizer(state, "policy_optimizer", &self.policy, &device)?,
            critic_optimizer: load_optimizer(state, "critic_optimizer", &self.critics, &device)?,
            temperature: Temperature::load(state, &device)?,
            updates: state.counter("updates")?,
            config: self.config.clone(),
            seed: self.seed,
            device: device.clone(),
        };
        *self = loaded;
        Ok(())
    }
}
