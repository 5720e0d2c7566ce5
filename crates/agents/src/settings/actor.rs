//! Policies.

use rescore_diffusion::{NoiseSchedule, Sampler, ScheduleKind};
use rescore_nn::AdamSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ActivationKind, InitializerKind, NetworkSettings, check_adam};
use crate::RangeCheck;

/// A policy that is no diffusion policy, and how it learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ActorSettings {
    /// Learning rate at the start, greater than 0.
    pub learning_rate: f64,
    /// Learning rate at the end of the run over that at its start, in (0, 1]; linear between.
    pub final_fraction: f64,
    /// The network.
    pub network: NetworkSettings,
    /// Everything else about Adam.
    pub optimizer: AdamSettings,
}

impl Default for ActorSettings {
    fn default() -> Self {
        Self {
            learning_rate: 3e-4,
            final_fraction: 1.0,
            network: NetworkSettings::mlp(ActivationKind::Gelu, InitializerKind::LecunNormal),
            optimizer: AdamSettings::default(),
        }
    }
}

impl ActorSettings {
    /// Three layers of 128, small enough for a processor.
    pub fn small() -> Self {
        Self {
            learning_rate: 1e-3,
            final_fraction: 0.5,
            network: NetworkSettings::Mlp {
                hidden_dims: vec![128; 3],
                activation: ActivationKind::Relu,
                initializer: InitializerKind::TruncatedNormal,
            },
            ..Self::default()
        }
    }

    /// As [`ActorSettings::small`] in the size of published results.
    pub fn full() -> Self {
        Self {
            learning_rate: 3e-4,
            network: NetworkSettings::mlp(ActivationKind::Relu, InitializerKind::TruncatedNormal),
            ..Self::small()
        }
    }

    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        check
            .positive("learning_rate", self.learning_rate)
            .rate("final_fraction", self.final_fraction)
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

/// How the denoising chain steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SamplerKind {
    /// Every step samples the posterior (Ho, Jain and Abbeel 2020).
    Ddpm,
    /// The same with the larger variance, `beta[t]`.
    DdpmLarge,
    /// Deterministic steps from a random start (Song, Meng and Ermon 2021).
    Ddim,
}

/// A diffusion policy, how it is sampled and how it learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionActorSettings {
    /// Denoising steps T, 1 to 1000.
    pub denoising_steps: usize,
    /// Noise schedule of the betas: "linear" or "cosine".
    #[schemars(with = "String")]
    pub schedule: ScheduleKind,
    /// All betas are multiplied by this, in (0, 1].
    pub schedule_scale: f64,
    /// Standard deviation of the start `x_T` of the chain. The forward process ends near 1.
    pub start_scale: f64,
    /// How the chain steps: "ddpm", with the noise of the posterior in every step; `"ddpm_large"`, with
    /// that of the forward process, which keeps the spread of a narrow policy in few steps; or "ddim",
    /// deterministic from its random start on.
    pub sampler: SamplerKind,
    /// Precision of the chain's network: "f32", or "bf16" (weights and activations in 16 bits, sums
    /// in 32), which is faster where the processor multiplies bf16; training is f32 always.
    pub precision: SamplingPrecision,
    /// Learning rate until `decay_begin`.
    pub learning_rate: f64,
    /// Learning rate from `decay_end` on over that until `decay_begin`, in (0, 1]; linear between.
    pub final_fraction: f64,
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
    /// Those of the reference implementation.
    fn default() -> Self {
        Self {
            denoising_steps: 20,
            schedule: ScheduleKind::Linear,
            schedule_scale: 0.8,
            start_scale: 0.5,
            sampler: SamplerKind::Ddpm,
            precision: SamplingPrecision::F32,
            learning_rate: 3e-4,
            final_fraction: 0.1,
            decay_begin: 0.25,
            decay_end: 0.75,
            network: NetworkSettings::mlp(ActivationKind::Mish, InitializerKind::TruncatedNormal),
            optimizer: AdamSettings::default(),
        }
    }
}

impl DiffusionActorSettings {
    /// A short chain of the cosine schedule whose start is the end of the forward process, and a
    /// network small enough for a processor.
    pub fn small() -> Self {
        Self {
            denoising_steps: 10,
            schedule: ScheduleKind::Cosine,
            schedule_scale: 1.0,
            start_scale: 1.0,
            learning_rate: 1e-3,
            final_fraction: 0.5,
            decay_begin: 0.0,
            decay_end: 1.0,
            network: NetworkSettings::Mlp {
                hidden_dims: vec![128; 3],
                activation: ActivationKind::Mish,
                initializer: InitializerKind::TruncatedNormal,
            },
            ..Self::default()
        }
    }

    /// Three layers of 256, a chain of `denoising_steps` of the cosine schedule whose start is the end
    /// of the forward process, and a constant learning rate.
    pub fn plain(denoising_steps: usize) -> Self {
        Self {
            denoising_steps,
            schedule: ScheduleKind::Cosine,
            schedule_scale: 1.0,
            start_scale: 1.0,
            final_fraction: 1.0,
            decay_begin: 0.0,
            decay_end: 1.0,
            ..Self::default()
        }
    }

    /// As [`DiffusionActorSettings::small`] in the size of published results.
    pub fn full() -> Self {
        Self {
            learning_rate: 3e-4,
            network: NetworkSettings::mlp(ActivationKind::Mish, InitializerKind::TruncatedNormal),
            ..Self::small()
        }
    }

    /// The noise schedule.
    pub fn noise_schedule(&self) -> NoiseSchedule {
        NoiseSchedule::new(self.schedule, self.denoising_steps, self.schedule_scale)
    }

    /// How the policy is sampled.
    pub fn chain_sampler(&self) -> Sampler {
        let make = match self.sampler {
            SamplerKind::Ddpm => Sampler::ddpm,
            SamplerKind::DdpmLarge => Sampler::ddpm_large,
            SamplerKind::Ddim => Sampler::ddim,
        };
        let start_scale = self.start_scale as f32;
        make(&self.noise_schedule(), start_scale, self.precision.into())
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
            .positive("learning_rate", self.learning_rate)
            .rate("final_fraction", self.final_fraction)
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
