//! Samplers in continuous time that the fused chain cannot express.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{ChainNoise, unflatten_particles};

use crate::VariancePreserving;

/// How the reverse equation is solved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Integrator {
    /// The reverse SDE by steps of Euler and Maruyama.
    EulerMaruyama,
    /// Each of these steps after a step of Langevin dynamics at its level, whose size is
    /// `2 (snr sigma)^2`: the same for all rows, so that a row does not depend on the others.
    PredictorCorrector {
        /// Ratio of the step's drift to its noise.
        snr: f64,
    },
    /// The same with the step size of Song et al. 2021 (algorithm 4), `2 (snr |noise| / |score|)^2`
    /// of mean norms over the batch.
    PredictorCorrectorBatch {
        /// Ratio of the step's drift to its noise.
        snr: f64,
    },
    /// The ordinary differential equation of the same marginals by Heun's method, without noise.
    ProbabilityFlow,
}

impl Integrator {
    /// Unit normals an action and step.
    pub(crate) fn draws(self) -> usize {
        match self {
            Self::PredictorCorrector { .. } | Self::PredictorCorrectorBatch { .. } => 2,
            Self::EulerMaruyama | Self::ProbabilityFlow => 1,
        }
    }
}

/// The equation that is solved, on a grid of times.
pub(crate) struct Problem<'a> {
    pub schedule: VariancePreserving,
    pub grid: &'a [f64],
    pub integrator: Integrator,
    /// Whether the clean action that a score implies is clipped to [-1, 1].
    pub clipped: bool,
}

impl Problem<'_> {
    /// Actions `[states, particles, action_dim]` for `shape` of these sizes; `predict(time, x)` is the
    /// predicted noise at the time as the network is told it, `observe(x)` sees every step.
    pub fn solve<B: Backend>(
        &self,
        shape: [usize; 3],
        device: &B::Device,
        mut predict: impl FnMut(f64, Tensor<B, 2>) -> Tensor<B, 2>,
        noise: &ChainNoise<B>,
        mut observe: impl FnMut(&Tensor<B, 2>),
    ) -> Tensor<B, 3> {
        let steps = self.grid.len() - 1;
        let draws = steps * self.integrator.draws();
        let draw = |number: usize| noise.step(shape, draws - 1 - number, draws, device);
        let mut score = |t: f64, x: &Tensor<B, 2>| {
            let noise_pred = predict(self.schedule.time_scale * t, x.clone());
            self.score(t, x, noise_pred)
        };
        let mut x = noise.start(shape, draws, device);
        for i in 0..steps {
            let (t, v) = (self.grid[i], self.grid[i + 1]);
            let beta = self.schedule.beta(t);
            let rate = (t - v) * beta;
            match self.integrator {
                Integrator::ProbabilityFlow => {
                    let first = (x.clone() + score(t, &x)).mul_scalar(-0.5 * beta);
                    let there = x.clone() - first.clone().mul_scalar(t - v);
                    let second = there.clone() + score(v, &there);
                    let second = second.mul_scalar(-0.5 * self.schedule.beta(v));
                    x = x - (first + second).mul_scalar(0.5 * (t - v));
                }
                Integrator::EulerMaruyama => {}
                Integrator::PredictorCorrector { snr } => {
                    let size = 2.0 * (snr * self.schedule.sigma(t)).powi(2);
                    let normals = draw(steps + i).mul_scalar((2.0 * size).sqrt());
                    x = x.clone() + score(t, &x).mul_scalar(size) + normals;
                }
                Integrator::PredictorCorrectorBatch { snr } => {
                    let (score, normals) = (score(t, &x), draw(steps + i));
                    let ratio = mean_norm(normals.clone()) / mean_norm(score.clone());
                    let size = (ratio.clone() * ratio).mul_scalar(2.0 * snr * snr);
                    x = x + score * size.clone() + normals * size.mul_scalar(2.0).sqrt();
                }
            }
            if self.integrator != Integrator::ProbabilityFlow {
                let drift = x.clone().mul_scalar(0.5) + score(t, &x);
                x = x + drift.mul_scalar(rate);
                // The last step adds no noise, as that of the discrete chain.
                if i + 1 < steps {
                    x = x + draw(i).mul_scalar(rate.sqrt());
                }
            }
            observe(&x);
        }
        unflatten_particles(x, shape[0])
    }

    /// The score of `x` at `t` for the noise that the network predicts.
    fn score<B: Backend>(
        &self,
        t: f64,
        x: &Tensor<B, 2>,
        noise_pred: Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        let (alpha, sigma) = (self.schedule.alpha(t), self.schedule.sigma(t));
        if !self.clipped {
            return noise_pred.mul_scalar(-1.0 / sigma);
        }
        let clean = (x.clone() - noise_pred.mul_scalar(sigma)).mul_scalar(1.0 / alpha);
        let clean = clean.clamp(-1.0, 1.0);
        (clean.mul_scalar(alpha) - x.clone()).mul_scalar(1.0 / (sigma * sigma))
    }
}

/// Mean over rows of their Euclidean norm, `[1, 1]`.
fn mean_norm<B: Backend>(rows: Tensor<B, 2>) -> Tensor<B, 2> {
    let norms = (rows.clone() * rows).sum_dim(1).sqrt();
    norms.mean_dim(0)
}
