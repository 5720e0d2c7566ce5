//! SDAC: soft diffusion actor-critic (Ma et al., ICML 2025).
//!
//! The maximum-entropy counterpart of DPMD. A noisy action `x_t` is made from an action of the
//! current policy; clean actions are drawn from the reverse kernel around it and weighted by the
//! softmax of `Q / lambda`; the policy learns to predict the noise that leads to them. Samples of
//! the optimal policy are never needed.

use burn::tensor::{Int, Tensor};
use rescore_kernels::{Noise, RescoreBackend, unflatten_particles, value_and_grad};
use rescore_objectives::rsm::{self, QStatistics};
use serde::{Deserialize, Serialize};

use crate::{
    agent::{Agent, Batch, Metrics},
    config::{ActorCriticConfig, DiffusionConfig, InitializerKind, RangeCheck, RangeError},
    diffusion_core::{DiffusionCore, SampleNoise},
    state::{StateDict, StateError, load_statistics, save_statistics},
};

/// Hyper-parameters of SDAC. [`SdacConfig::fast`] gives the defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SdacConfig {
    /// Name of the preset that the other keys started from.
    pub preset: String,
    /// Discount, networks, learning rates.
    #[serde(flatten)]
    pub base: ActorCriticConfig,
    /// Diffusion policy, exploration, temperature.
    #[serde(flatten)]
    pub diffusion: DiffusionConfig,
    /// Samples of the reverse kernel for each noisy action.
    pub reverse_samples: usize,
    /// Q is multiplied by this before it is divided by the temperature. The reference
    /// implementation has its initial temperature here, 5. Set by the preset.
    pub q_scale: f64,
    /// Rate of the moving statistics of the scaled Q; they are logged and used for nothing else.
    pub q_statistics_rate: f64,
}

impl SdacConfig {
    /// Names of the presets, the default first.
    pub const PRESETS: &[&str] = &["fast", "reference", "corrected"];

    /// The defaults: the reference with few particles in updates and many for acting, exploration
    /// noise before the choice, and targets that move in every update and ten times as far.
    pub fn fast() -> Self {
        Self {
            preset: "fast".into(),
            base: ActorCriticConfig::fast_diffusion(),
            diffusion: DiffusionConfig::fast(),
            ..Self::reference()
        }
    }

    /// The published settings, with every quirk of the reference implementation.
    pub fn reference() -> Self {
        Self {
            preset: "reference".into(),
            base: ActorCriticConfig::reference_diffusion(),
            diffusion: DiffusionConfig::reference(),
            reverse_samples: 64,
            q_scale: 5.0,
            q_statistics_rate: 1e-3,
        }
    }

    /// The algorithm as the paper reads: Q over the temperature itself, actions in bounds, no
    /// exploration noise in targets, a chain that starts where the forward process ends.
    pub fn corrected() -> Self {
        Self {
            preset: "corrected".into(),
            base: ActorCriticConfig {
                initializer: InitializerKind::LecunNormal,
                ..ActorCriticConfig::reference_diffusion()
            },
            diffusion: DiffusionConfig::corrected(),
            q_scale: 1.0,
            ..Self::reference()
        }
    }

    /// The preset called `name`.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "fast" => Some(Self::fast()),
            "reference" => Some(Self::reference()),
            "corrected" => Some(Self::corrected()),
            _ => None,
        }
    }

    /// Checks that every value is in its range.
    ///
    /// # Errors
    /// The first key that is not.
    pub fn validate(&self) -> Result<(), RangeError> {
        let check = self.base.check(RangeCheck::default());
        self.diffusion
            .check(check)
            .require(
                "reverse_samples",
                self.reverse_samples,
                (1..=65_536).contains(&self.reverse_samples),
                "in 1..=65536",
            )
            .positive("q_scale", self.q_scale)
            .require(
                "q_statistics_rate",
                self.q_statistics_rate,
                self.q_statistics_rate > 0.0 && self.q_statistics_rate <= 1.0,
                "in (0, 1]",
            )
            .finish()
    }
}

/// An SDAC agent.
#[derive(Debug, Clone)]
pub struct Sdac<B: RescoreBackend> {
    /// Networks, optimisers, temperature.
    pub core: DiffusionCore<B>,
    /// Moving statistics of the scaled Q.
    pub q_statistics: QStatistics<B>,
    config: SdacConfig,
}

/// Random numbers of one update.
#[derive(Debug, Clone)]
pub struct SdacNoise<B: RescoreBackend> {
    /// For the next actions.
    pub next: SampleNoise<B>,
    /// For the policy loss; not drawn where the update leaves it out.
    pub policy: Option<SdacPolicyNoise<B>>,
}

/// Random numbers of the policy loss.
#[derive(Debug, Clone)]
pub struct SdacPolicyNoise<B: RescoreBackend> {
    /// For the actions at the present observations.
    pub present: SampleNoise<B>,
    /// Denoising steps, `[batch]`.
    pub times: Tensor<B, 1, Int>,
    /// Unit normals that make the noisy actions, `[batch, action_dim]`.
    pub forward: Tensor<B, 2>,
    /// Unit normals of the reverse kernel, `[batch, reverse_samples, action_dim]`.
    pub reverse: Tensor<B, 3>,
}

/// What one update computed.
#[derive(Debug, Clone)]
pub struct SdacUpdate<B: RescoreBackend> {
    /// Sampled next actions, `[batch, action_dim]`.
    pub next_actions: Tensor<B, 2>,
    /// TD targets, `[batch]`.
    pub targets: Tensor<B, 1>,
    /// Losses of both critics, `[1]` each.
    pub critic_losses: [Tensor<B, 1>; 2],
    /// The policy's part; none where the update left it out.
    pub policy: Option<SdacPolicyUpdate<B>>,
}

/// The policy's part of an update.
#[derive(Debug, Clone)]
pub struct SdacPolicyUpdate<B: RescoreBackend> {
    /// Sampled actions at the present observations, `[batch, action_dim]`.
    pub actions: Tensor<B, 2>,
    /// Q of the reverse samples times `q_scale / lambda`, `[batch, reverse_samples]`.
    pub scaled_q: Tensor<B, 2>,
    /// Softmax weights, `[batch, reverse_samples]`.
    pub weights: Tensor<B, 2>,
    /// Policy loss, `[1]`.
    pub loss: Tensor<B, 1>,
}

impl<B: RescoreBackend> Sdac<B> {
    /// A fresh agent for observations and actions of the widths `dims`.
    pub fn new(config: &SdacConfig, dims: [usize; 2], seed: u64, device: &B::Device) -> Self {
        Self {
            core: DiffusionCore::new(&config.base, &config.diffusion, dims, seed, device),
            q_statistics: QStatistics::new(device),
            config: config.clone(),
        }
    }

    /// The random numbers of the present update for a batch of `batch` transitions.
    pub fn draw(&self, batch: usize) -> SdacNoise<B> {
        let core = &self.core;
        let action_dim = core.policy.action_dim();
        let normal =
            |noise: Noise, rows: usize| noise.normal::<B>([rows, action_dim], core.device());
        let policy = core.policy_loss_is_due().then(|| SdacPolicyNoise {
            present: core.sample_noise("update/present", batch),
            times: core.noise("update/times").integers(
                batch,
                core.schedule.num_steps(),
                core.device(),
            ),
            forward: normal(core.noise("update/forward"), batch),
            reverse: unflatten_particles(
                normal(
                    core.noise("update/reverse"),
                    batch * self.config.reverse_samples,
                ),
                batch,
            ),
        });
        SdacNoise {
            next: core.sample_noise("update/next", batch),
            policy,
        }
    }

    /// One update with explicit random numbers.
    pub fn update_with(&mut self, batch: &Batch<B>, noise: &SdacNoise<B>) -> SdacUpdate<B> {
        // Critics: mean squared TD error at next actions of the current policy.
        let core = &self.core;
        let next_actions = core.sample_for_update(batch.next_observations.clone(), &noise.next);
        let targets = core.td_target(batch, next_actions.clone());
        let (critic_losses, critic_gradient) = core.critic_gradient(batch, targets.clone());

        // Policy: reweighted score matching, with the critics from before their step.
        let policy = noise
            .policy
            .as_ref()
            .map(|noise| self.policy_gradient(batch, noise));

        let core = &mut self.core;
        core.step_critics(&critic_gradient);
        if core.policy_is_due()
            && let Some((_, gradient)) = &policy
        {
            core.step_policy(gradient);
        }
        core.step_temperature();
        if core.targets_are_due() {
            core.step_targets();
        }
        if let Some((policy, _)) = &policy {
            let scaled_q = policy.scaled_q.clone().flatten(0, 1);
            self.q_statistics = self
                .q_statistics
                .updated(scaled_q, self.config.q_statistics_rate);
        }
        core.updates += 1;

        SdacUpdate {
            next_actions,
            targets,
            critic_losses,
            policy: policy.map(|(policy, _)| policy),
        }
    }

    /// The policy loss and its gradient.
    fn policy_gradient(
        &self,
        batch: &Batch<B>,
        noise: &SdacPolicyNoise<B>,
    ) -> (SdacPolicyUpdate<B>, rescore_diffusion::Denoiser<B>) {
        let core = &self.core;
        let observations = batch.observations.clone();

        // A noisy action x_t around an action of the current policy, ...
        let actions = core.sample_for_update(observations.clone(), &noise.present);
        let noisy =
            core.schedule
                .add_noise(actions.clone(), noise.times.clone(), noise.forward.clone());

        // ... clean actions that it may have come from, and how good they are.
        let clean = rsm::reverse_samples(
            &core.schedule,
            noisy.clone(),
            noise.times.clone(),
            noise.reverse.clone(),
        );
        let scaled_q = core
            .critics
            .min_of_particles(observations.clone(), clean)
            .mul_scalar(self.config.q_scale)
            / core.temperature.value().unsqueeze();
        let weights = rsm::max_entropy_weights(scaled_q.clone());

        let (loss, gradient, ()) = value_and_grad(&core.policy, |policy| {
            let noise_pred = policy.forward(
                Tensor::from_inner(observations),
                Tensor::from_inner(noisy),
                Tensor::from_inner(noise.times.clone()),
                core.schedule.num_steps(),
            );
            let loss = rsm::reverse_sampling_loss(
                noise_pred,
                Tensor::from_inner(noise.reverse.clone()),
                Tensor::from_inner(weights.clone()),
            );
            (loss, ())
        });
        let update = SdacPolicyUpdate {
            actions,
            scaled_q,
            weights,
            loss,
        };
        (update, gradient)
    }
}

impl<B: RescoreBackend> Agent<B> for Sdac<B> {
    fn act(&self, observations: Tensor<B, 2>, act_counter: u32) -> Tensor<B, 2> {
        self.core.act(observations, act_counter)
    }

    fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        self.core.act_deterministic(observations)
    }

    fn update(&mut self, batch: &Batch<B>) -> Metrics<B> {
        let [size, _] = batch.observations.dims();
        let noise = self.draw(size);
        let temperature = self.core.temperature.value();
        let update = self.update_with(batch, &noise);
        let mut metrics = Metrics::default();
        let [loss1, loss2] = update.critic_losses;
        metrics.push("q1_loss", loss1);
        metrics.push("q2_loss", loss2);
        metrics.push_mean("target_mean", update.targets);
        if let Some(policy) = update.policy {
            metrics.push("policy_loss", policy.loss);
            metrics.push_mean("scaled_q_mean", policy.scaled_q.flatten(0, 1));
            metrics.push_distribution(
                ["weight_mean", "weight_std", "weight_min", "weight_max"],
                policy.weights.flatten(0, 1),
            );
        }
        metrics.push("temperature", temperature);
        metrics
    }

    fn updates(&self) -> u64 {
        self.core.updates
    }

    fn parameter_sum(&self) -> Tensor<B, 1> {
        self.core.parameter_sum()
    }

    fn state(&self) -> StateDict {
        let mut state = StateDict::default();
        self.core.save(&mut state);
        save_statistics(&mut state, &self.q_statistics);
        state
    }

    fn load_state(&mut self, state: &StateDict) -> Result<(), StateError> {
        state.check_names(&self.state())?;
        let statistics = load_statistics(state, self.core.device())?;
        self.core.load(state)?;
        self.q_statistics = statistics;
        Ok(())
    }
}
