//! The variance-preserving diffusion in continuous time.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::StepCoefficients;

/// The variance-preserving SDE (Song et al. 2021, appendix C), from time 1, which is noise, to `end`,
/// which is data: `x_t = alpha(t) x_0 + sigma(t) noise` with `alpha^2 + sigma^2 = 1` and the rate
/// `beta(t)` between `beta_0` and `beta_1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VariancePreserving {
    /// Rate of the noise at time 0.
    pub beta_0: f64,
    /// Rate of the noise at time 1.
    pub beta_1: f64,
    /// Where sampling ends and training begins, in (0, 1).
    pub end: f64,
    /// How much finer the grid of a sampler becomes towards `end`; 1 for equal steps.
    pub grid_power: f64,
    /// The network is told the time multiplied by this.
    pub time_scale: f64,
}

impl VariancePreserving {
    /// Rate of the noise, `beta(t)`.
    pub fn beta(&self, t: f64) -> f64 {
        self.beta_0 + t * (self.beta_1 - self.beta_0)
    }

    /// Logarithm of `alpha(t)`.
    fn log_alpha(&self, t: f64) -> f64 {
        -0.25 * (self.beta_1 - self.beta_0) * t * t - 0.5 * self.beta_0 * t
    }

    /// How much of the clean action is left at `t`.
    pub fn alpha(&self, t: f64) -> f64 {
        self.log_alpha(t).exp()
    }

    /// Standard deviation of the noise in `x_t`.
    pub fn sigma(&self, t: f64) -> f64 {
        // `1 - alpha^2` would cancel near the data.
        (-(2.0 * self.log_alpha(t)).exp_m1()).sqrt()
    }

    /// The times of a sampler with `steps` steps, from 1 to `end`, `steps + 1` of them: equal steps
    /// of `t^(1 / grid_power)`.
    pub fn grid(&self, steps: usize) -> Vec<f64> {
        let last = self.end.powf(1.0 / self.grid_power);
        let at = |i: usize| (1.0 + i as f64 / steps as f64 * (last - 1.0)).powf(self.grid_power);
        (0..=steps).map(at).collect()
    }

    /// The step of Euler and Maruyama from `t` to the smaller time `v` with the score of the clipped
    /// clean action, `x + h beta (x / 2 + score) + sqrt(beta h) noise`, as a step of the denoising
    /// chain: the score is linear in the clean action and in `x`.
    pub(crate) fn euler_maruyama(&self, t: f64, v: f64) -> StepCoefficients {
        let (alpha, variance) = (self.alpha(t), self.sigma(t).powi(2));
        let rate = (t - v) * self.beta(t);
        StepCoefficients {
            sqrt_recip_alpha_bar: (1.0 / alpha) as f32,
            sqrt_recip_alpha_bar_minus_one: (self.sigma(t) / alpha) as f32,
            posterior_x0: (rate * alpha / variance) as f32,
            posterior_xt: (1.0 + rate * (0.5 - 1.0 / variance)) as f32,
            sigma: rate.sqrt() as f32,
        }
    }

    /// `alpha` and `sigma` of every row, `[batch, 1]` each, for `times` `[batch]`.
    pub fn levels<B: Backend>(&self, times: &Tensor<B, 1>) -> [Tensor<B, 2>; 2] {
        let quadratic = times
            .clone()
            .mul_scalar(-0.25 * (self.beta_1 - self.beta_0));
        let log_alpha = times.clone() * quadratic.sub_scalar(0.5 * self.beta_0);
        let alpha = log_alpha.clone().exp();
        // sigma^2 = 1 - exp(2 log alpha), whose difference cancels near the data, is
        // -(exp(2 log alpha) + 1) tanh(log alpha), whose terms do not.
        let sum = alpha.clone() * alpha.clone() + 1.0;
        let sigma = (sum * log_alpha.tanh().neg()).sqrt();
        [alpha, sigma].map(|level| level.unsqueeze_dim(1))
    }

    /// `alpha(t) x_0 + sigma(t) noise` with a time of its own for every row: actions and noise
    /// `[batch, action_dim]`, `times` `[batch]`.
    pub fn add_noise<B: Backend>(
        &self,
        actions: Tensor<B, 2>,
        times: &Tensor<B, 1>,
        noise: Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        let [alpha, sigma] = self.levels(times);
        actions * alpha + noise * sigma
    }
}
