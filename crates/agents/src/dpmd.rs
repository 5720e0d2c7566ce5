//! DPMD: diffusion policy mirror descent (Ma et al., ICML 2025).
//!
//! Every update draws next actions from the current policy, moves the critics towards the TD
//! target, and regresses the policy on those same actions, each weighted by `exp(Q / lambda)`:
//! the result of policy mirror descent, reached by a reweighted denoising loss. The options that
//! the preset sets are places where the reference implementation departs from the paper or from
//! common practice.

use burn::tensor::{Int, Tensor};
use rescore_kernels::{RescoreBackend, value_and_grad};
use rescore_objectives::rsm::{self, QNormalization, QStatistics};
use serde::{Deserialize, Serialize};

use crate::{
    agent::{Agent, Batch, Metrics},
    config::{ActorCriticConfig, DiffusionConfig, InitializerKind, RangeCheck, RangeError},
    diffusion_core::{DiffusionCore, SampleNoise},
    state::{StateDict, StateError, load_statistics, save_statistics},
};

/// Hyper-parameters of DPMD. [`DpmdConfig::fast`] gives the defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DpmdConfig {
    /// Name of the preset that the other keys started from.
    pub preset: String,
    /// Discount, networks, learning rates.
    #[serde(flatten)]
    pub base: ActorCriticConfig,
    /// Diffusion policy, exploration, temperature.
    #[serde(flatten)]
    pub diffusion: DiffusionConfig,
    /// How Q is normalised before the exponential. Set by the preset.
    pub q_normalization: QNormalization,
    /// Normalised Q is clipped to plus or minus this.
    pub q_clip: f64,
    /// Rate of the moving statistics of Q.
    pub q_statistics_rate: f64,
    /// Adam steps that the critics take with one gradient. The reference implementation takes two:
    /// one before and one after the policy loss is computed. Set by the preset.
    pub critic_steps: u64,
}

impl DpmdConfig {
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
            q_normalization: QNormalization::Reference,
            q_clip: 3.0,
            q_statistics_rate: 1e-3,
            critic_steps: 2,
        }
    }

    /// The algorithm as the paper reads: standardised Q, one critic step an update, actions in
    /// bounds, no exploration noise in targets, a chain that starts where the forward process ends.
    pub fn corrected() -> Self {
        Self {
            preset: "corrected".into(),
            base: ActorCriticConfig {
                initializer: InitializerKind::LecunNormal,
                ..ActorCriticConfig::reference_diffusion()
            },
            diffusion: DiffusionConfig::corrected(),
            q_normalization: QNormalization::Standardize,
            critic_steps: 1,
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
            .positive("q_clip", self.q_clip)
            .require(
                "q_statistics_rate",
                self.q_statistics_rate,
                self.q_statistics_rate > 0.0 && self.q_statistics_rate <= 1.0,
                "in (0, 1]",
            )
            .require(
                "critic_steps",
                self.critic_steps,
                matches!(self.critic_steps, 1 | 2),
                "1 or 2",
            )
            .finish()
    }
}

/// A DPMD agent.
#[derive(Debug, Clone)]
pub struct Dpmd<B: RescoreBackend> {
    /// Networks, optimisers, temperature.
    pub core: DiffusionCore<B>,
    /// Moving statistics of Q.
    pub q_statistics: QStatistics<B>,
    config: DpmdConfig,
}

/// Random numbers of one update.
#[derive(Debug, Clone)]
pub struct DpmdNoise<B: RescoreBackend> {
    /// For the next actions.
    pub next: SampleNoise<B>,
    /// Denoising steps of the policy loss, `[batch]`.
    pub times: Tensor<B, 1, Int>,
    /// Unit normals of the policy loss, `[batch, action_dim]`.
    pub noise: Tensor<B, 2>,
}

/// What one update computed.
#[derive(Debug, Clone)]
pub struct DpmdUpdate<B: RescoreBackend> {
    /// Sampled next actions, `[batch, action_dim]`.
    pub next_actions: Tensor<B, 2>,
    /// TD targets, `[batch]`.
    pub targets: Tensor<B, 1>,
    /// Losses of both critics, `[1]` each.
    pub critic_losses: [Tensor<B, 1>; 2],
    /// Smaller critic at the next actions after the first critic step, `[batch]`.
    pub q_min: Tensor<B, 1>,
    /// Policy loss, `[1]`, and weights, `[batch]`; none where the update left them out.
    pub policy: Option<(Tensor<B, 1>, Tensor<B, 1>)>,
}

impl<B: RescoreBackend> Dpmd<B> {
    /// A fresh agent for observations and actions of the widths `dims`.
    pub fn new(config: &DpmdConfig, dims: [usize; 2], seed: u64, device: &B::Device) -> Self {
        Self {
            core: DiffusionCore::new(&config.base, &config.diffusion, dims, seed, device),
            q_statistics: QStatistics::new(device),
            config: config.clone(),
        }
    }

    /// The random numbers of the present update for a batch of `batch` transitions.
    pub fn draw(&self, batch: usize) -> DpmdNoise<B> {
        let core = &self.core;
        let shape = [batch, core.policy.action_dim()];
        DpmdNoise {
            next: core.sample_noise("update/next", batch),
            times: core.noise("update/times").integers(
                batch,
                core.schedule.num_steps(),
                core.device(),
            ),
            noise: core.noise("update/noise").normal(shape, core.device()),
        }
    }

    /// One update with explicit random numbers.
    pub fn update_with(&mut self, batch: &Batch<B>, noise: &DpmdNoise<B>) -> DpmdUpdate<B> {
        let next_observations = batch.next_observations.clone();

        // Next actions of the current policy; they serve the TD target and the policy loss.
        let core = &mut self.core;
        let next_actions = core.sample_for_update(next_observations.clone(), &noise.next);

        // Critics: mean squared TD error.
        let targets = core.td_target(batch, next_actions.clone());
        let (critic_losses, critic_gradient) = core.critic_gradient(batch, targets.clone());
        core.step_critics(&critic_gradient);

        // Policy: denoising loss on those actions, weighted by exp(Q / lambda).
        let q_min = core
            .critics
            .min_of_actions(next_observations.clone(), next_actions.clone());
        let policy = core.policy_loss_is_due().then(|| {
            let weights = rsm::mirror_descent_weights(
                q_min.clone(),
                self.config.q_normalization,
                &self.q_statistics,
                self.config.q_clip,
                core.temperature.value(),
            );
            let (loss, gradient, ()) = value_and_grad(&core.policy, |policy| {
                let loss = rsm::weighted_denoising_loss(
                    policy,
                    &core.schedule,
                    Tensor::from_inner(next_observations),
                    Tensor::from_inner(next_actions.clone()),
                    Tensor::from_inner(noise.times.clone()),
                    Tensor::from_inner(noise.noise.clone()),
                    Tensor::from_inner(weights.clone()),
                );
                (loss, ())
            });
            (loss, gradient, weights)
        });

        for _ in 1..self.config.critic_steps {
            core.step_critics(&critic_gradient);
        }
        if core.policy_is_due()
            && let Some((_, gradient, _)) = &policy
        {
            core.step_policy(gradient);
        }
        core.step_temperature();
        if core.targets_are_due() {
            core.step_targets();
        }
        self.q_statistics = self
            .q_statistics
            .updated(q_min.clone(), self.config.q_statistics_rate);
        core.updates += 1;

        DpmdUpdate {
            next_actions,
            targets,
            critic_losses,
            q_min,
            policy: policy.map(|(loss, _, weights)| (loss, weights)),
        }
    }
}

impl<B: RescoreBackend> Agent<B> for Dpmd<B> {
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
        metrics.push_mean("q_min_mean", update.q_min);
        if let Some((loss, weights)) = update.policy {
            metrics.push("policy_loss", loss);
            metrics.push_distribution(
                ["weight_mean", "weight_std", "weight_min", "weight_max"],
                weights,
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
