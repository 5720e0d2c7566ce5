//! A diffusion in continuous time and how it is sampled.

use rescore_diffusion::{Integrator, Sampler, VariancePreserving};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SamplingPrecision;
use crate::RangeCheck;

/// How the reverse equation is solved when the policy acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SdeSampler {
    /// Euler and Maruyama, one evaluation of the network a step.
    EulerMaruyama,
    /// The same with a step of Langevin dynamics before, two evaluations.
    PredictorCorrector,
    /// Heun's method on the probability flow, two evaluations and no noise but that of the start.
    ProbabilityFlow,
}

/// The variance-preserving SDE of a policy (Song et al. 2021).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SdeSettings {
    /// Steps of every sampler, 1 to 1000.
    pub steps: usize,
    /// Rate of the noise at time 0, greater than 0.
    pub beta_0: f64,
    /// Rate of the noise at time 1, at least that at time 0 and at most 100.
    pub beta_1: f64,
    /// Where sampling ends and training begins, in (0, 1).
    pub time_end: f64,
    /// How much finer the grid of a sampler becomes towards the data, 1 (equal steps) to 10. The grid
    /// matters more than the sampler.
    pub grid_power: f64,
    /// The network is told the time multiplied by this.
    pub time_scale: f64,
    /// How the policy is sampled when it acts: `"euler_maruyama"`, `"predictor_corrector"` or
    /// `"probability_flow"`. Updates sample it by Euler and Maruyama.
    pub sampler: SdeSampler,
    /// Ratio of drift to noise of a corrector step, greater than 0.
    pub snr: f64,
    /// Precision of the network in steps of Euler and Maruyama: "f32" or "bf16".
    pub precision: SamplingPrecision,
}

impl Default for SdeSettings {
    fn default() -> Self {
        Self {
            steps: 20,
            beta_0: 0.1,
            beta_1: 20.0,
            time_end: 1e-3,
            grid_power: 2.0,
            time_scale: 100.0,
            sampler: SdeSampler::EulerMaruyama,
            snr: 0.16,
            precision: SamplingPrecision::F32,
        }
    }
}

impl SdeSettings {
    /// The diffusion.
    pub const fn schedule(&self) -> VariancePreserving {
        VariancePreserving {
            beta_0: self.beta_0,
            beta_1: self.beta_1,
            end: self.time_end,
            grid_power: self.grid_power,
            time_scale: self.time_scale,
        }
    }

    /// How updates sample the policy.
    pub fn update_sampler(&self) -> Sampler {
        Sampler::euler_maruyama(&self.schedule(), self.steps, self.precision.into())
    }

    /// How the policy is sampled when it acts.
    pub fn acting_sampler(&self) -> Sampler {
        let integrator = match self.sampler {
            SdeSampler::EulerMaruyama => return self.update_sampler(),
            SdeSampler::PredictorCorrector => Integrator::PredictorCorrector { snr: self.snr },
            SdeSampler::ProbabilityFlow => Integrator::ProbabilityFlow,
        };
        Sampler::of_sde(&self.schedule(), self.steps, integrator, true)
    }

    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        let (low, high) = (self.beta_0, self.beta_1);
        let steps = (1..=1000).contains(&self.steps);
        let inside = self.time_end > 0.0 && self.time_end < 1.0;
        let power = (1.0..=10.0).contains(&self.grid_power);
        check
            .require("steps", self.steps, steps, "in 1..=1000")
            .positive("beta_0", low)
            .require(
                "beta_1",
                high,
                high >= low && high <= 100.0,
                "at least beta_0 and at most 100",
            )
            .require("time_end", self.time_end, inside, "in (0, 1)")
            .require("grid_power", self.grid_power, power, "in [1, 10]")
            .positive("time_scale", self.time_scale)
            .positive("snr", self.snr)
    }
}
