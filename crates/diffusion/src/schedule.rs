//! Noise schedules of the forward process and the coefficients that follow from them.

use burn::tensor::{Int, Tensor, backend::Backend};
use rescore_kernels::{RescoreBackend, StepCoefficients, constant, formula::Formula};
use serde::{Deserialize, Serialize};

/// Shape of `beta[t]` over the denoising steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// `beta` from 1e-4 to 0.999 in equal steps, times the scale.
    Linear,
    /// Nichol and Dhariwal (2021), equation 17, with offset 0.008, times the scale.
    Cosine,
}

/// All coefficients of a schedule, indexed by the denoising step `t` in `0..num_steps`.
///
/// Computed in `f64`; the tensors derived from it are `f32`.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    /// `beta[t]`, variance of the noise that step `t` adds.
    pub betas: Vec<f64>,
    /// `alpha[t] = 1 - beta[t]`.
    pub alphas: Vec<f64>,
    /// `alpha_bar[t]`, product of `alpha[0..=t]`.
    pub alpha_bars: Vec<f64>,
    /// `alpha_bar[t - 1]`, with 1 before the first step.
    pub alpha_bars_prev: Vec<f64>,
}

impl NoiseSchedule {
    /// A schedule of `num_steps` steps; all `beta` are multiplied by `scale`.
    ///
    /// # Panics
    /// When `num_steps` is 0.
    pub fn new(kind: ScheduleKind, num_steps: usize, scale: f64) -> Self {
        assert!(num_steps > 0, "a schedule needs at least one step");
        let betas: Vec<f64> = (0..num_steps)
            .map(|t| match kind {
                ScheduleKind::Linear => linear_beta(t, num_steps),
                ScheduleKind::Cosine => cosine_beta(t, num_steps),
            })
            .map(|beta| scale * beta)
            .collect();
        let alphas: Vec<f64> = betas.iter().map(|beta| 1.0 - beta).collect();
        let alpha_bars: Vec<f64> = alphas
            .iter()
            .scan(1.0, |product, alpha| {
                *product *= alpha;
                Some(*product)
            })
            .collect();
        let mut alpha_bars_prev = vec![1.0];
        alpha_bars_prev.extend_from_slice(&alpha_bars[..num_steps - 1]);
        Self {
            betas,
            alphas,
            alpha_bars,
            alpha_bars_prev,
        }
    }

    /// Number of denoising steps `T`.
    pub fn num_steps(&self) -> usize {
        self.betas.len()
    }

    /// `sqrt(alpha_bar[t])`: how much of the clean action is left.
    pub fn sqrt_alpha_bar(&self, t: usize) -> f64 {
        self.alpha_bars[t].sqrt()
    }

    /// `sqrt(1 - alpha_bar[t])`: standard deviation of the noise in `x_t`.
    pub fn sqrt_one_minus_alpha_bar(&self, t: usize) -> f64 {
        (1.0 - self.alpha_bars[t]).sqrt()
    }

    /// `sqrt(1 / alpha_bar[t])`.
    pub fn sqrt_recip_alpha_bar(&self, t: usize) -> f64 {
        (1.0 / self.alpha_bars[t]).sqrt()
    }

    /// `sqrt(1 / alpha_bar[t] - 1)`.
    pub fn sqrt_recip_alpha_bar_minus_one(&self, t: usize) -> f64 {
        (1.0 / self.alpha_bars[t] - 1.0).sqrt()
    }

    /// Variance of `x_{t-1}` given `x_t` and `x_0`; 0 at `t = 0`.
    pub fn posterior_variance(&self, t: usize) -> f64 {
        self.betas[t] * (1.0 - self.alpha_bars_prev[t]) / (1.0 - self.alpha_bars[t])
    }

    /// Logarithm of the posterior variance, which is clipped at 1e-20 before.
    pub fn posterior_log_variance(&self, t: usize) -> f64 {
        self.posterior_variance(t).max(1e-20).ln()
    }

    /// Weight of `x_0` in the posterior mean.
    pub fn posterior_x0(&self, t: usize) -> f64 {
        self.betas[t] * self.alpha_bars_prev[t].sqrt() / (1.0 - self.alpha_bars[t])
    }

    /// Weight of `x_t` in the posterior mean.
    pub fn posterior_xt(&self, t: usize) -> f64 {
        (1.0 - self.alpha_bars_prev[t]) * self.alphas[t].sqrt() / (1.0 - self.alpha_bars[t])
    }

    /// The steps of DDPM (Ho, Jain and Abbeel 2020, algorithm 2), each a sample of the posterior of
    /// `x_{t-1}` at the predicted clean action.
    pub fn chain_coefficients(&self) -> Vec<StepCoefficients> {
        (0..self.num_steps())
            .map(|t| StepCoefficients {
                sqrt_recip_alpha_bar: self.sqrt_recip_alpha_bar(t) as f32,
                sqrt_recip_alpha_bar_minus_one: self.sqrt_recip_alpha_bar_minus_one(t) as f32,
                posterior_x0: self.posterior_x0(t) as f32,
                posterior_xt: self.posterior_xt(t) as f32,
                sigma: (0.5 * self.posterior_log_variance(t)).exp() as f32,
            })
            .collect()
    }

    /// The steps of DDPM with the larger of its two variances, `beta[t]` (Ho, Jain and Abbeel 2020,
    /// section 3.2), and no noise in the last one.
    ///
    /// The smaller one, of [`NoiseSchedule::chain_coefficients`], is exact where the clean action is
    /// known and loses spread where it is not: with ten cosine steps and an exact denoiser, samples of
    /// normals of standard deviation 0.2 have 0.13, and with the larger one 0.21.
    pub fn large_variance_coefficients(&self) -> Vec<StepCoefficients> {
        let mut steps = self.chain_coefficients();
        for (t, step) in steps.iter_mut().enumerate().skip(1) {
            step.sigma = self.betas[t].sqrt() as f32;
        }
        steps
    }

    /// The deterministic steps of DDIM (Song, Meng and Ermon 2021, equation 12 with eta 0): the
    /// predicted clean action with the noise that it implies, clipped or not, at the next level.
    pub fn ddim_coefficients(&self) -> Vec<StepCoefficients> {
        (0..self.num_steps())
            .map(|t| {
                let kept =
                    (1.0 - self.alpha_bars_prev[t]).sqrt() / self.sqrt_one_minus_alpha_bar(t);
                let signal = self.alpha_bars_prev[t].sqrt();
                StepCoefficients {
                    sqrt_recip_alpha_bar: self.sqrt_recip_alpha_bar(t) as f32,
                    sqrt_recip_alpha_bar_minus_one: self.sqrt_recip_alpha_bar_minus_one(t) as f32,
                    posterior_x0: (signal - kept * self.sqrt_alpha_bar(t)) as f32,
                    posterior_xt: kept as f32,
                    sigma: 0.0,
                }
            })
            .collect()
    }

    /// `x_t = sqrt(alpha_bar[t]) x_0 + sqrt(1 - alpha_bar[t]) noise` with a step of its own for
    /// every row: actions and noise `[batch, action_dim]`, `times` `[batch]`.
    pub fn add_noise<B: RescoreBackend>(
        &self,
        actions: Tensor<B, 2>,
        times: Tensor<B, 1, Int>,
        noise: Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        let signal = self.entries(times.clone(), Self::sqrt_alpha_bar);
        let spread = self.entries(times, Self::sqrt_one_minus_alpha_bar);
        (Formula::from(actions) * signal + Formula::from(noise) * spread).compute()
    }

    /// The clean action that `x_t` and `noise` imply, clipped to [-1, 1]: `x_t / sqrt(alpha_bar) -
    /// noise sqrt(1 / alpha_bar - 1)`. `noisy` and `noise` `[batch, action_dim]`, `times` `[batch]`.
    pub fn remove_noise<B: RescoreBackend>(
        &self,
        noisy: Tensor<B, 2>,
        times: Tensor<B, 1, Int>,
        noise: Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        let signal = self.entries(times.clone(), Self::sqrt_recip_alpha_bar);
        let spread = self.entries(times, Self::sqrt_recip_alpha_bar_minus_one);
        let clean = Formula::from(noisy) * signal - Formula::from(noise) * spread;
        clean.clamp(-1.0, 1.0).compute()
    }

    /// `sqrt(1 - alpha_bar)` of every row's step, `[batch, 1]` for `times` `[batch]`: the standard
    /// deviation of its noise.
    pub fn noise_scale<B: Backend>(&self, times: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        self.at(times, Self::sqrt_one_minus_alpha_bar)
    }

    /// `sqrt(alpha_bar / (1 - alpha_bar))` of every row's step, `[batch, 1]` for `times` `[batch]`:
    /// how much of a clean action there is for one unit of noise.
    pub fn signal_to_noise<B: Backend>(&self, times: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        let ratio = |this: &Self, t: usize| this.sqrt_recip_alpha_bar_minus_one(t).recip();
        self.at(times, ratio)
    }

    /// `coefficient(t)` for every row, `[batch, 1]`.
    fn at<B: Backend>(
        &self,
        times: Tensor<B, 1, Int>,
        coefficient: impl Fn(&Self, usize) -> f64,
    ) -> Tensor<B, 2> {
        let table = self.table(coefficient, &times.device());
        table.select(0, times).unsqueeze_dim(1)
    }

    /// The same in a formula.
    fn entries<B: Backend>(
        &self,
        times: Tensor<B, 1, Int>,
        coefficient: impl Fn(&Self, usize) -> f64,
    ) -> Formula<B> {
        Formula::entries(self.table(coefficient, &times.device()), times)
    }

    /// `coefficient(t)` of every step, `[num_steps]`.
    fn table<B: Backend>(
        &self,
        coefficient: impl Fn(&Self, usize) -> f64,
        device: &B::Device,
    ) -> Tensor<B, 1> {
        let table: Vec<f32> = (0..self.num_steps())
            .map(|t| coefficient(self, t) as f32)
            .collect();
        constant(table, [self.num_steps()], device)
    }
}

fn linear_beta(t: usize, num_steps: usize) -> f64 {
    let (first, last) = (1e-4, 0.999);
    if num_steps == 1 {
        return first;
    }
    first + (last - first) * t as f64 / (num_steps - 1) as f64
}

fn cosine_beta(t: usize, num_steps: usize) -> f64 {
    let alpha_bar = |s: f64| {
        (((s + 0.008) / 1.008) * std::f64::consts::FRAC_PI_2)
            .cos()
            .powi(2)
    };
    let at = |step: usize| alpha_bar(step as f64 / num_steps as f64);
    (1.0 - at(t + 1) / at(t)).clamp(0.0, 0.999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_returns_the_predicted_clean_action() {
        let schedule = NoiseSchedule::new(ScheduleKind::Linear, 20, 0.8);
        assert!((schedule.posterior_x0(0) - 1.0).abs() < 1e-9);
        assert!(schedule.posterior_xt(0).abs() < 1e-12);
        assert!(schedule.posterior_variance(0).abs() < 1e-12);
    }

    #[test]
    fn little_of_the_action_is_left_at_the_end() {
        for (kind, scale) in [(ScheduleKind::Linear, 0.8), (ScheduleKind::Cosine, 1.0)] {
            let schedule = NoiseSchedule::new(kind, 20, scale);
            assert!(schedule.sqrt_alpha_bar(19) < 0.05, "{kind:?}");
            assert!(schedule.alpha_bars.windows(2).all(|w| w[1] < w[0]));
        }
    }

    /// Standard deviation of what the exact denoiser of normals of standard deviation `spread` samples.
    fn sampled_spread(schedule: &NoiseSchedule, steps: &[StepCoefficients], spread: f64) -> f64 {
        let mut variance = 1.0;
        for (t, step) in steps.iter().enumerate().rev() {
            let (signal, noise) = (schedule.alpha_bars[t].sqrt(), 1.0 - schedule.alpha_bars[t]);
            let clean = signal * spread.powi(2) / ((signal * spread).powi(2) + noise);
            let kept = f64::from(step.posterior_x0) * clean + f64::from(step.posterior_xt);
            variance = kept.powi(2) * variance + f64::from(step.sigma).powi(2);
        }
        variance.sqrt()
    }

    #[test]
    fn the_larger_variance_keeps_the_spread_of_a_narrow_policy() {
        for (num_steps, small) in [(10, 0.129), (20, 0.153)] {
            let schedule = NoiseSchedule::new(ScheduleKind::Cosine, num_steps, 1.0);
            let spread = |steps: Vec<_>| sampled_spread(&schedule, &steps, 0.2);
            assert!((spread(schedule.chain_coefficients()) - small).abs() < 1e-3);
            assert!((spread(schedule.large_variance_coefficients()) - 0.21).abs() < 0.006);
        }
    }

    #[test]
    fn one_step_is_enough_for_a_schedule() {
        let schedule = NoiseSchedule::new(ScheduleKind::Linear, 1, 1.0);
        assert_eq!(schedule.num_steps(), 1);
        assert!(schedule.chain_coefficients()[0].sigma < 1e-9);
        assert!(schedule.large_variance_coefficients()[0].sigma < 1e-9);
    }
}
