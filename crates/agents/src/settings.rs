//! Tables of settings that algorithms are composed of. Each stands for one learner.

use rescore_critics::{Head, Support};
use rescore_diffusion::{NoiseSchedule, ScheduleKind};
use rescore_kernels::{Activation, Combine};
use rescore_nn::{AdamSettings, Initializer, Shape};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Outline, PolicyKind, RangeCheck, Sizes};

/// An activation between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivationKind {
    /// `x tanh(softplus(x))` (Misra 2019).
    Mish,
    /// `x Phi(x)` (Hendrycks and Gimpel 2016).
    Gelu,
    /// `max(x, 0)`
    Relu,
    /// `tanh(x)`
    Tanh,
}

impl From<ActivationKind> for Activation {
    fn from(kind: ActivationKind) -> Self {
        match kind {
            ActivationKind::Mish => Self::Mish,
            ActivationKind::Gelu => Self::Gelu,
            ActivationKind::Relu => Self::Relu,
            ActivationKind::Tanh => Self::Tanh,
        }
    }
}

/// Distribution of initial weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InitializerKind {
    /// Normal with scale `1/sqrt(fan_in)`, then truncated at two of it.
    TruncatedNormal,
    /// Truncated normal whose standard deviation is `1/sqrt(fan_in)` after truncation.
    LecunNormal,
}

impl From<InitializerKind> for Initializer {
    fn from(kind: InitializerKind) -> Self {
        match kind {
            InitializerKind::TruncatedNormal => Self::TruncatedNormal,
            InitializerKind::LecunNormal => Self::LecunNormal,
        }
    }
}

/// A network; `kind` decides which other keys there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkSettings {
    /// Linear layers with an activation between them.
    Mlp {
        /// Widths of the hidden layers, 1 to 64 of them, each 1 to 65,536.
        #[serde(default = "default_hidden_dims")]
        hidden_dims: Vec<usize>,
        /// Activation between the layers: "mish", "gelu", "relu" or "tanh". The fused kernels of
        /// the denoising chain and of scoring know "mish".
        #[serde(default = "default_activation")]
        activation: ActivationKind,
        /// Distribution of the initial weights: "`truncated_normal`" (scale
        /// `1/sqrt(fan_in)` before truncation at two of it) or "`lecun_normal`" (after truncation).
        #[serde(default = "default_initializer")]
        initializer: InitializerKind,
    },
    /// Residual blocks with a layer norm before each (`SimBa`). The fused chain cannot sample it.
    Residual {
        /// Width of the residual stream, 1 to 65,536.
        #[serde(default = "default_width")]
        width: usize,
        /// How many blocks there are, 1 to 64; each is four times as wide inside.
        #[serde(default = "default_blocks")]
        blocks: usize,
    },
    /// Linear layers with a norm over the batch before each activation (XQC); for critics only,
    /// because a policy's rows are of different denoising steps.
    BatchNorm {
        /// Widths of the hidden layers, 1 to 64 of them, each 1 to 65,536.
        #[serde(default = "default_hidden_dims")]
        hidden_dims: Vec<usize>,
    },
}

fn default_hidden_dims() -> Vec<usize> {
    vec![256; 3]
}

const fn default_activation() -> ActivationKind {
    ActivationKind::Mish
}

const fn default_initializer() -> InitializerKind {
    InitializerKind::TruncatedNormal
}

const fn default_width() -> usize {
    128
}

const fn default_blocks() -> usize {
    1
}

impl NetworkSettings {
    /// Three hidden layers of 256.
    pub fn mlp(activation: ActivationKind, initializer: InitializerKind) -> Self {
        Self::Mlp {
            hidden_dims: default_hidden_dims(),
            activation,
            initializer,
        }
    }

    /// What the settings ask for. `head_gain` is the gain of the last layer's initial weights where
    /// the kind has one: 1 for critics, less for policies.
    pub fn shape(&self, head_gain: f64) -> Shape {
        match self {
            Self::Mlp {
                hidden_dims,
                activation,
                initializer,
            } => Shape::Mlp {
                hidden_dims: hidden_dims.clone(),
                activation: (*activation).into(),
                initializer: (*initializer).into(),
            },
            Self::Residual { width, blocks } => Shape::Residual {
                width: *width,
                blocks: *blocks,
                head_gain,
            },
            Self::BatchNorm { hidden_dims } => Shape::BatchNormMlp {
                hidden_dims: hidden_dims.clone(),
            },
        }
    }

    /// Distribution of the initial weights of parts that are plain layers, such as the time network.
    pub fn initializer(&self) -> Initializer {
        match self {
            Self::Mlp { initializer, .. } => (*initializer).into(),
            Self::Residual { .. } | Self::BatchNorm { .. } => Initializer::LecunNormal,
        }
    }

    /// Widths of the layers between input and output, for estimates.
    pub fn widths(&self) -> Vec<usize> {
        match self {
            Self::Mlp { hidden_dims, .. } | Self::BatchNorm { hidden_dims } => hidden_dims.clone(),
            Self::Residual { width, blocks } => {
                [vec![*width], [4 * width, *width].repeat(*blocks)].concat()
            }
        }
    }

    /// Whether the fused kernels run it.
    pub const fn is_fused(&self) -> bool {
        matches!(
            self,
            Self::Mlp {
                activation: ActivationKind::Mish,
                ..
            }
        )
    }

    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        let width = |check: RangeCheck, key, width: usize| {
            let valid = (1..=65_536).contains(&width);
            check.require(key, width, valid, "1 to 65536 wide")
        };
        match self {
            Self::Mlp { hidden_dims, .. } | Self::BatchNorm { hidden_dims } => {
                let count = hidden_dims.len();
                let found = format!("a list of {count}");
                let valid = (1..=64).contains(&count);
                let check = check.require("hidden_dims", found, valid, "a list of 1 to 64 widths");
                let widths = hidden_dims.iter();
                widths.fold(check, |check, of| width(check, "hidden_dims", *of))
            }
            Self::Residual { width: of, blocks } => {
                let valid = (1..=64).contains(blocks);
                width(check, "width", *of).require("blocks", blocks, valid, "in 1..=64")
            }
        }
    }

    /// [`NetworkSettings::check`] of a policy's network.
    #[must_use]
    pub fn check_policy(&self, check: RangeCheck) -> RangeCheck {
        let rows_alone = !matches!(self, Self::BatchNorm { .. });
        let expected = "\"mlp\" or \"residual\": a policy's action must not depend on other rows";
        self.check(check)
            .require("kind", "\"batch_norm\"", rows_alone, expected)
    }
}

/// What a critic's outputs say; `kind` decides which other keys there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ValueSettings {
    /// The expected return.
    Scalar,
    /// A distribution over returns (Bellemare et al. 2017, C51).
    Categorical {
        /// Returns that have a probability, 2 to 4096, at equal distances.
        #[serde(default = "default_atoms")]
        atoms: usize,
        /// The smallest of them, in units of scaled rewards.
        #[serde(default = "default_low")]
        low: f64,
        /// The largest.
        #[serde(default = "default_high")]
        high: f64,
    },
}

const fn default_atoms() -> usize {
    101
}

const fn default_low() -> f64 {
    -5.0
}

const fn default_high() -> f64 {
    5.0
}

impl ValueSettings {
    /// What the settings, which must be valid, ask for.
    ///
    /// # Panics
    /// When they are not valid.
    pub fn head(&self) -> Head {
        match self {
            Self::Scalar => Head::Scalar,
            Self::Categorical { atoms, low, high } => Head::Categorical(
                Support::new([*low, *high], *atoms).expect("settings that were checked"),
            ),
        }
    }

    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        let Self::Categorical { atoms, low, high } = self else {
            return check;
        };
        let ordered = Support::new([*low, *high], 2).is_ok();
        check
            .require("atoms", atoms, (2..=4096).contains(atoms), "in 2..=4096")
            .require(
                "low",
                low,
                ordered,
                &format!("a number below high, which is {high}"),
            )
    }
}

/// How the values of several critics become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CombineKind {
    /// The smallest.
    Min,
    /// The mean.
    Mean,
}

impl From<CombineKind> for Combine {
    fn from(kind: CombineKind) -> Self {
        match kind {
            CombineKind::Min => Self::Min,
            CombineKind::Mean => Self::Mean,
        }
    }
}

/// Critics and how they learn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CriticSettings {
    /// Networks side by side, 1 to 64.
    pub members: usize,
    /// How their values become one where a value is asked for: "min" or "mean".
    pub combine: CombineKind,
    /// Learning rate, greater than 0.
    pub learning_rate: f64,
    /// The network of each critic.
    pub network: NetworkSettings,
    /// What its outputs say.
    pub value: ValueSettings,
    /// Everything else about Adam.
    pub optimizer: AdamSettings,
}

impl Default for CriticSettings {
    fn default() -> Self {
        Self {
            members: 2,
            combine: CombineKind::Min,
            learning_rate: 3e-4,
            network: NetworkSettings::mlp(ActivationKind::Mish, InitializerKind::TruncatedNormal),
            value: ValueSettings::Scalar,
            optimizer: AdamSettings::default(),
        }
    }
}

impl CriticSettings {
    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        let members = (1..=64).contains(&self.members);
        check
            .require("members", self.members, members, "in 1..=64")
            .positive("learning_rate", self.learning_rate)
            .table("network", |check| self.network.check(check))
            .table("value", |check| self.value.check(check))
            .table("optimizer", |check| check_adam(&self.optimizer, check))
    }
}

/// Checks the ranges of an optimiser's settings.
pub fn check_adam(settings: &AdamSettings, check: RangeCheck) -> RangeCheck {
    let decay = |check: RangeCheck, key, beta: f64| {
        check.require(key, beta, (0.0..1.0).contains(&beta), "in [0, 1)")
    };
    let check = decay(check, "beta_1", settings.beta_1);
    decay(check, "beta_2", settings.beta_2)
        .positive("epsilon", settings.epsilon)
        .non_negative("weight_decay", settings.weight_decay)
        .non_negative("clip_norm", settings.clip_norm)
}

/// How target networks follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TargetSettings {
    /// Rate of the moving average, in (0, 1].
    pub tau: f64,
    /// Updates from one step of the moving average to the next.
    pub every: u64,
}

impl Default for TargetSettings {
    fn default() -> Self {
        Self {
            tau: 0.005,
            every: 1,
        }
    }
}

impl TargetSettings {
    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        check
            .rate("tau", self.tau)
            .at_least_one("every", self.every)
    }
}

/// A policy that is no diffusion policy, and how it learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ActorSettings {
    /// Learning rate, greater than 0.
    pub learning_rate: f64,
    /// The network.
    pub network: NetworkSettings,
    /// Everything else about Adam.
    pub optimizer: AdamSettings,
}

impl Default for ActorSettings {
    fn default() -> Self {
        Self {
            learning_rate: 3e-4,
            network: NetworkSettings::mlp(ActivationKind::Gelu, InitializerKind::LecunNormal),
            optimizer: AdamSettings::default(),
        }
    }
}

impl ActorSettings {
    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        check
            .positive("learning_rate", self.learning_rate)
            .table("network", |check| self.network.check_policy(check))
            .table("optimizer", |check| check_adam(&self.optimizer, check))
    }
}

/// Precision of sampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SamplingPrecision {
    /// 32 bits.
    F32,
    /// bf16 weights and activations, sums in 32 bits.
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

/// A diffusion policy, how it is sampled and how it learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionActorSettings {
    /// Candidate actions an observation in updates.
    pub particles: usize,
    /// Candidate actions an observation for acting and evaluating, which cost little beside an
    /// update's; 0 for as many as `particles`.
    pub act_particles: usize,
    /// Denoising steps T, 1 to 1000.
    pub denoising_steps: usize,
    /// Noise schedule of the betas: "linear" or "cosine".
    #[schemars(with = "String")]
    pub schedule: ScheduleKind,
    /// All betas are multiplied by this, in (0, 1].
    pub schedule_scale: f64,
    /// Standard deviation of the start `x_T` of the chain. The forward process ends near 1.
    pub start_scale: f64,
    /// Precision of the chain's network: "f32", or "bf16" (weights and activations in 16 bits, sums
    /// in 32), which is faster where the processor multiplies bf16; training is f32 always.
    pub precision: SamplingPrecision,
    /// Updates from one step of the policy to the next.
    pub policy_delay: u64,
    /// Learning rate until `decay_begin`.
    pub learning_rate: f64,
    /// Learning rate from `decay_end` on; linear between.
    pub learning_rate_end: f64,
    /// Where the learning rate begins to fall, as a fraction of the run.
    pub decay_begin: f64,
    /// Where it has fallen, as a fraction of the run.
    pub decay_end: f64,
    /// The network behind the time embedding.
    pub network: NetworkSettings,
    /// Everything else about Adam.
    pub optimizer: AdamSettings,
}

impl Default for DiffusionActorSettings {
    fn default() -> Self {
        Self {
            particles: 32,
            act_particles: 0,
            denoising_steps: 20,
            schedule: ScheduleKind::Linear,
            schedule_scale: 0.8,
            start_scale: 0.5,
            precision: SamplingPrecision::F32,
            policy_delay: 2,
            learning_rate: 3e-4,
            learning_rate_end: 3e-5,
            decay_begin: 0.25,
            decay_end: 0.75,
            network: NetworkSettings::mlp(ActivationKind::Mish, InitializerKind::TruncatedNormal),
            optimizer: AdamSettings::default(),
        }
    }
}

impl DiffusionActorSettings {
    /// Candidate actions an observation for acting and evaluating.
    pub const fn particles_to_act(&self) -> usize {
        match self.act_particles {
            0 => self.particles,
            particles => particles,
        }
    }

    /// The noise schedule.
    pub fn noise_schedule(&self) -> NoiseSchedule {
        NoiseSchedule::new(self.schedule, self.denoising_steps, self.schedule_scale)
    }

    /// Whether all coefficients of the chain are finite in `f32`: a long schedule with large betas
    /// overflows.
    fn schedule_is_finite(&self) -> bool {
        // Out of range otherwise; that has been reported already.
        if !(1..=1000).contains(&self.denoising_steps) || !self.schedule_scale.is_finite() {
            return true;
        }
        self.noise_schedule()
            .chain_coefficients()
            .iter()
            .all(|c| c.sqrt_recip_alpha_bar.is_finite() && c.posterior_xt.is_finite())
    }

    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        let steps = self.denoising_steps;
        let ordered = self.decay_begin < self.decay_end;
        check
            .samples("particles", self.particles)
            .require(
                "act_particles",
                self.act_particles,
                self.act_particles <= 65_536,
                "in 0..=65536",
            )
            .require(
                "denoising_steps",
                steps,
                (1..=1000).contains(&steps),
                "in 1..=1000",
            )
            .rate("schedule_scale", self.schedule_scale)
            .require(
                "denoising_steps",
                steps,
                self.schedule_is_finite(),
                "fewer, or schedule_scale smaller: with these, nothing of the action is left at \
                 the end and the chain's coefficients are not finite",
            )
            .positive("start_scale", self.start_scale)
            .at_least_one("policy_delay", self.policy_delay)
            .positive("learning_rate", self.learning_rate)
            .positive("learning_rate_end", self.learning_rate_end)
            .fraction("decay_begin", self.decay_begin)
            .fraction("decay_end", self.decay_end)
            .require(
                "decay_end",
                self.decay_end,
                ordered,
                "greater than decay_begin",
            )
            .table("network", |check| self.network.check_policy(check))
            .table("optimizer", |check| check_adam(&self.optimizer, check))
    }
}

/// The temperature and what moves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TemperatureSettings {
    /// Value at the start, greater than 0.
    pub initial: f64,
    /// Learning rate of its logarithm; 0 keeps it as it is.
    pub learning_rate: f64,
    /// The target entropy is this times `-action_dim`.
    pub target_entropy_scale: f64,
}

impl Default for TemperatureSettings {
    fn default() -> Self {
        Self {
            initial: 1.0,
            learning_rate: 3e-4,
            target_entropy_scale: 1.0,
        }
    }
}

impl TemperatureSettings {
    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        let scale = self.target_entropy_scale;
        check
            .positive("initial", self.initial)
            .non_negative("learning_rate", self.learning_rate)
            .require(
                "target_entropy_scale",
                scale,
                scale.is_finite(),
                "a finite number",
            )
    }
}

/// Noise that is added to the actions of a diffusion policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExplorationSettings {
    /// Standard deviation of the noise over the temperature.
    pub noise_scale: f64,
    /// Whether noise is added to every particle before the choice: the critics then score the noisy
    /// action, clipped to [-1, 1], and the choice undoes noise that does harm. The reference
    /// implementation adds it to the particle that was chosen and clips nothing.
    pub noise_before_choice: bool,
    /// Noise scale in the entropy that regulates the temperature. The reference implementation has
    /// 0.1 written into it, whatever `noise_scale` is.
    pub entropy_noise_scale: f64,
}

impl Default for ExplorationSettings {
    fn default() -> Self {
        Self {
            noise_scale: 0.1,
            noise_before_choice: false,
            entropy_noise_scale: 0.1,
        }
    }
}

impl ExplorationSettings {
    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        check
            .non_negative("noise_scale", self.noise_scale)
            .positive("entropy_noise_scale", self.entropy_noise_scale)
    }
}

/// Settings that DPMD and SDAC share, with the values of the reference implementation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DiffusionSettings {
    /// Discount, in [0, 1].
    pub gamma: f64,
    /// Rewards are multiplied by this before they are learned from.
    pub reward_scale: f64,
    /// The critics.
    pub critic: CriticSettings,
    /// The diffusion policy.
    pub actor: DiffusionActorSettings,
    /// How the target critics, and the moving average of the policy, which acts, follow.
    pub target: TargetSettings,
    /// The temperature (lambda): scale of the exploration noise and of the weights.
    pub temperature: TemperatureSettings,
    /// Updates from one step of the temperature to the next.
    pub temperature_every: u64,
    /// Exploration noise, which the actions that updates sample carry as well.
    pub exploration: ExplorationSettings,
}

impl Default for DiffusionSettings {
    fn default() -> Self {
        Self {
            gamma: 0.99,
            reward_scale: 0.2,
            critic: CriticSettings::default(),
            actor: DiffusionActorSettings::default(),
            target: TargetSettings {
                tau: 0.005,
                every: 2,
            },
            temperature: TemperatureSettings {
                initial: 5.0,
                learning_rate: 7e-3,
                target_entropy_scale: 0.9,
            },
            temperature_every: 250,
            exploration: ExplorationSettings::default(),
        }
    }
}

impl DiffusionSettings {
    /// Few particles in updates, where they are the cost, and many for acting; exploration noise
    /// before the choice; targets that move in every update, and as fast as 0.2 updates an
    /// environment step ask for: at that ratio a `tau` of 0.05 averages over 100 steps.
    pub fn fast() -> Self {
        let reference = Self::default();
        Self {
            actor: DiffusionActorSettings {
                particles: 4,
                act_particles: 32,
                ..reference.actor
            },
            target: TargetSettings {
                tau: 0.05,
                every: 1,
            },
            exploration: ExplorationSettings {
                noise_before_choice: true,
                ..reference.exploration
            },
            ..reference
        }
    }

    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        check
            .fraction("gamma", self.gamma)
            .positive("reward_scale", self.reward_scale)
            .table("critic", |check| self.critic.check(check))
            .table("actor", |check| self.actor.check(check))
            .table("target", |check| self.target.check(check))
            .table("temperature", |check| self.temperature.check(check))
            .at_least_one("temperature_every", self.temperature_every)
            .table("exploration", |check| self.exploration.check(check))
    }

    /// What the training loop asks, with `samples` sampled actions a row of a batch.
    pub fn outline(&self, samples: usize) -> Outline {
        let sizes = Sizes {
            critics: self.critic.members,
            critic_widths: self.critic.network.widths(),
            policy: PolicyKind::Denoiser,
            policy_widths: self.actor.network.widths(),
            samples,
            act_samples: self.actor.particles_to_act(),
            precision: self.actor.precision.into(),
            fused: self.actor.network.is_fused(),
        };
        Outline::new(self.gamma, sizes)
    }
}
