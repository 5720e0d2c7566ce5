//! Hyper-parameters that several algorithms share, and how they are checked.

use rescore_diffusion::{NoiseSchedule, ScheduleKind};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A hyper-parameter out of its range.
#[derive(Debug, Error, Clone, PartialEq)]
#[error("`{key}` is {value}, but must be {expected}")]
pub struct RangeError {
    /// Name of the key, as in the configuration file.
    pub key: &'static str,
    /// The value found.
    pub value: String,
    /// What would be right, for example "in (0, 1]".
    pub expected: &'static str,
}

/// Checks ranges one after the other; the first violation is kept.
#[derive(Debug, Default)]
pub struct RangeCheck {
    error: Option<RangeError>,
}

impl RangeCheck {
    /// Requires `valid` of `value`. NaN must not satisfy `valid`, which comparisons guarantee.
    #[must_use]
    pub fn require(
        mut self,
        key: &'static str,
        value: impl std::fmt::Display,
        valid: bool,
        expected: &'static str,
    ) -> Self {
        if !valid && self.error.is_none() {
            self.error = Some(RangeError {
                key,
                value: value.to_string(),
                expected,
            });
        }
        self
    }

    /// Requires a finite value > 0.
    #[must_use]
    pub fn positive(self, key: &'static str, value: f64) -> Self {
        self.require(
            key,
            value,
            value > 0.0 && value.is_finite(),
            "a finite number greater than 0",
        )
    }

    /// Requires a finite value >= 0.
    #[must_use]
    pub fn non_negative(self, key: &'static str, value: f64) -> Self {
        self.require(
            key,
            value,
            value >= 0.0 && value.is_finite(),
            "a finite number of at least 0",
        )
    }

    /// Requires a count >= 1.
    #[must_use]
    pub fn at_least_one(self, key: &'static str, value: u64) -> Self {
        self.require(key, value, value >= 1, "a whole number of at least 1")
    }

    /// The first violation, if any.
    ///
    /// # Errors
    /// When a requirement was not met.
    pub fn finish(self) -> Result<(), RangeError> {
        self.error.map_or(Ok(()), Err)
    }
}

/// What every actor-critic here has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActorCriticConfig {
    /// Discount.
    pub gamma: f64,
    /// Rate of the target networks' moving average.
    pub tau: f64,
    /// Rewards are multiplied by this before they are learned from.
    pub reward_scale: f64,
    /// Widths of the hidden layers of policy and critics.
    pub hidden_dims: Vec<usize>,
    /// Learning rate of the critics.
    pub critic_lr: f64,
    /// Learning rate of the policy (its start, where there is a schedule).
    pub policy_lr: f64,
    /// Learning rate of the log temperature.
    pub temperature_lr: f64,
    /// Temperature at the start.
    pub initial_temperature: f64,
    /// The target entropy is this times `-action_dim`.
    pub target_entropy_scale: f64,
    /// Distribution of the initial weights.
    pub initializer: InitializerKind,
}

/// Distribution of initial weights; see [`rescore_kernels::Initializer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitializerKind {
    /// Normal with scale `1/sqrt(fan_in)`, then truncated at two of it.
    TruncatedNormal,
    /// Truncated normal whose standard deviation is `1/sqrt(fan_in)` after truncation.
    LecunNormal,
}

impl From<InitializerKind> for rescore_kernels::Initializer {
    fn from(kind: InitializerKind) -> Self {
        match kind {
            InitializerKind::TruncatedNormal => Self::TruncatedNormal,
            InitializerKind::LecunNormal => Self::LecunNormal,
        }
    }
}

impl ActorCriticConfig {
    /// Checks ranges.
    pub(crate) fn check(&self, check: RangeCheck) -> RangeCheck {
        let check = check
            .require(
                "gamma",
                self.gamma,
                (0.0..=1.0).contains(&self.gamma),
                "in [0, 1]",
            )
            .require(
                "tau",
                self.tau,
                self.tau > 0.0 && self.tau <= 1.0,
                "in (0, 1]",
            )
            .positive("reward_scale", self.reward_scale)
            .positive("critic_lr", self.critic_lr)
            .positive("policy_lr", self.policy_lr)
            .non_negative("temperature_lr", self.temperature_lr)
            .positive("initial_temperature", self.initial_temperature)
            .require(
                "target_entropy_scale",
                self.target_entropy_scale,
                self.target_entropy_scale.is_finite(),
                "a finite number",
            )
            .require(
                "hidden_dims",
                "[]",
                !self.hidden_dims.is_empty(),
                "a list of at least one width",
            );
        let check = check.require(
            "hidden_dims",
            format!("{} layers", self.hidden_dims.len()),
            self.hidden_dims.len() <= 64,
            "a list of at most 64 widths",
        );
        self.hidden_dims.iter().fold(check, |check, width| {
            check.require(
                "hidden_dims",
                width,
                (1..=65_536).contains(width),
                "widths in 1..=65536",
            )
        })
    }
}

/// Precision of sampling; see [`rescore_kernels::Precision`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplingPrecision {
    /// 32 bits.
    F32,
    /// bf16 weights and activations, sums in 32 bits. Twice as fast where the processor multiplies
    /// bf16, rounded alike but not faster where it does not.
    Bf16,
}

impl From<SamplingPrecision> for rescore_kernels::Precision {
    fn from(precision: SamplingPrecision) -> Self {
        match precision {
            SamplingPrecision::F32 => Self::F32,
            SamplingPrecision::Bf16 => Self::Bf16,
        }
    }
}

/// Which copy of the policy plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BehaviourPolicy {
    /// The moving average, as in the reference implementation.
    Target,
    /// The policy that is trained.
    Online,
}

/// What the agents with a diffusion policy share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of the configuration that can be switched alone"
)]
pub struct DiffusionConfig {
    /// Candidate actions an observation in updates, of which the one with the largest minimum Q is
    /// taken. Set by the preset.
    pub particles: usize,
    /// Candidate actions an observation for acting and evaluating, which cost little beside an
    /// update's; 0 for as many as `particles`. Set by the preset.
    pub act_particles: usize,
    /// Whether exploration noise is added to every particle before the choice: the critics then
    /// score the noisy action, clipped to [-1, 1], and the choice undoes noise that does harm. The
    /// reference implementation adds it to the particle that was chosen. Set by the preset.
    pub noise_before_choice: bool,
    /// Denoising steps T.
    pub denoising_steps: usize,
    /// Noise schedule.
    pub schedule: ScheduleKind,
    /// All betas are multiplied by this.
    pub schedule_scale: f64,
    /// Standard deviation of the additive exploration noise over the temperature.
    pub noise_scale: f64,
    /// The policy and its learning rate schedule step on every update whose number is a multiple of
    /// this.
    pub policy_delay: u64,
    /// The target critics and the moving average of the policy step on every update whose number is
    /// a multiple of this. Set by the preset.
    pub target_delay: u64,
    /// Learning rate of the policy at the end of its linear decay.
    pub policy_lr_end: f64,
    /// Policy steps before the decay begins.
    pub policy_lr_begin: u64,
    /// Policy steps that the decay takes.
    pub policy_lr_length: u64,
    /// The temperature steps on every update whose number is a multiple of this.
    pub temperature_every: u64,
    /// Standard deviation of the chain's start `x_T`. The forward process ends near 1; the
    /// reference implementation starts from 0.5. Set by the preset.
    pub start_scale: f64,
    /// Clip actions to [-1, 1] after exploration noise was added. The reference implementation
    /// does not, neither when it acts nor in targets. With `noise_before_choice` they always are.
    /// Set by the preset.
    pub clip_exploration: bool,
    /// Whether the actions that an update samples, for its TD targets and as what the policy
    /// regresses on, carry exploration noise as well. In the reference implementation they do. Set
    /// by the preset.
    pub target_exploration: bool,
    /// Noise scale in the entropy that regulates the temperature. The reference implementation
    /// has 0.1 written into it, whatever `noise_scale` is.
    pub entropy_noise_scale: f64,
    /// Which policy acts and is evaluated.
    pub behaviour_policy: BehaviourPolicy,
    /// Leave out what an update computes and then throws away: the policy loss on updates where
    /// the policy does not step. Changes no parameter.
    pub skip_unused: bool,
    /// Precision of the denoising chain's network; everything that is trained is `f32` always.
    pub precision: SamplingPrecision,
}

impl DiffusionConfig {
    /// Candidate actions an observation for acting and evaluating.
    pub const fn particles_to_act(&self) -> usize {
        match self.act_particles {
            0 => self.particles,
            particles => particles,
        }
    }

    /// Whether all coefficients of the chain are finite in `f32`: a long schedule with large betas
    /// overflows.
    fn schedule_is_finite(&self) -> bool {
        // Out of range otherwise; that has been reported already.
        if !(1..=1000).contains(&self.denoising_steps) || !self.schedule_scale.is_finite() {
            return true;
        }
        NoiseSchedule::new(self.schedule, self.denoising_steps, self.schedule_scale)
            .chain_coefficients()
            .iter()
            .all(|c| c.sqrt_recip_alpha_bar.is_finite() && c.posterior_xt.is_finite())
    }

    /// Checks ranges.
    pub(crate) fn check(&self, check: RangeCheck) -> RangeCheck {
        check
            .require(
                "particles",
                self.particles,
                (1..=65_536).contains(&self.particles),
                "in 1..=65536",
            )
            .require(
                "act_particles",
                self.act_particles,
                self.act_particles <= 65_536,
                "in 0..=65536",
            )
            .require(
                "denoising_steps",
                self.denoising_steps,
                (1..=1000).contains(&self.denoising_steps),
                "in 1..=1000",
            )
            .require(
                "schedule_scale",
                self.schedule_scale,
                self.schedule_scale > 0.0 && self.schedule_scale <= 1.0,
                "in (0, 1]",
            )
            .require(
                "denoising_steps",
                self.denoising_steps,
                self.schedule_is_finite(),
                "fewer, or schedule_scale smaller: with these, nothing of the action is left at \
                 the end and the chain's coefficients are not finite",
            )
            .non_negative("noise_scale", self.noise_scale)
            .at_least_one("policy_delay", self.policy_delay)
            .at_least_one("target_delay", self.target_delay)
            .positive("policy_lr_end", self.policy_lr_end)
            .at_least_one("policy_lr_length", self.policy_lr_length)
            .at_least_one("temperature_every", self.temperature_every)
            .positive("start_scale", self.start_scale)
            .positive("entropy_noise_scale", self.entropy_noise_scale)
    }
}

impl ActorCriticConfig {
    /// The values that DPMD and SDAC have in the reference implementation.
    pub fn reference_diffusion() -> Self {
        Self {
            gamma: 0.99,
            tau: 0.005,
            reward_scale: 0.2,
            hidden_dims: vec![256; 3],
            critic_lr: 3e-4,
            policy_lr: 3e-4,
            temperature_lr: 7e-3,
            initial_temperature: 5.0,
            target_entropy_scale: 0.9,
            initializer: InitializerKind::TruncatedNormal,
        }
    }
}

impl ActorCriticConfig {
    /// As the reference, with targets that follow as fast as 0.2 updates an environment step ask
    /// for: at that ratio a `tau` of 0.05 averages over 100 steps, where 0.005 would over 1,000.
    pub fn fast_diffusion() -> Self {
        Self {
            tau: 0.05,
            ..Self::reference_diffusion()
        }
    }
}

impl DiffusionConfig {
    /// The values that DPMD and SDAC have in the reference implementation.
    pub fn reference() -> Self {
        Self {
            particles: 32,
            act_particles: 0,
            noise_before_choice: false,
            denoising_steps: 20,
            schedule: ScheduleKind::Linear,
            schedule_scale: 0.8,
            noise_scale: 0.1,
            policy_delay: 2,
            target_delay: 2,
            policy_lr_end: 3e-5,
            policy_lr_begin: 25_000,
            policy_lr_length: 50_000,
            temperature_every: 250,
            start_scale: 0.5,
            clip_exploration: false,
            target_exploration: true,
            entropy_noise_scale: 0.1,
            behaviour_policy: BehaviourPolicy::Target,
            skip_unused: true,
            precision: SamplingPrecision::F32,
        }
    }

    /// Few particles in updates, where they are the cost, and many for acting; exploration noise
    /// before the choice; targets that move in every update.
    pub fn fast() -> Self {
        Self {
            particles: 4,
            act_particles: 32,
            noise_before_choice: true,
            target_delay: 1,
            ..Self::reference()
        }
    }

    /// Actions stay in bounds, updates sample without exploration noise, and the chain starts where
    /// the forward process ends.
    pub fn corrected() -> Self {
        Self {
            start_scale: 1.0,
            clip_exploration: true,
            target_exploration: false,
            ..Self::reference()
        }
    }
}
