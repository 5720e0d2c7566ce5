//! Sampling actions from a diffusion policy.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{ChainNoise, NoiseKey, Precision, RescoreBackend, StepCoefficients, chain};

use crate::integrator::Problem;
use crate::{Denoiser, Integrator, NoiseSchedule, VariancePreserving};

/// How a denoiser is sampled: a value that any denoiser can be sampled with.
///
/// | sampler | process | network evaluations a step | one kernel |
/// | --- | --- | --- | --- |
/// | [`Sampler::ddpm`] | discrete | 1 | yes |
/// | [`Sampler::ddpm_large`] | discrete, ancestral, larger variance | 1 | yes |
/// | [`Sampler::ddim`] | discrete, deterministic | 1 | yes |
/// | [`Sampler::euler_maruyama`] | reverse SDE | 1 | yes |
/// | [`Sampler::of_sde`] with a corrector | reverse SDE and Langevin dynamics | 2 | no |
/// | [`Sampler::of_sde`] with the probability flow | ODE, deterministic | 2 | no |
#[derive(Debug, Clone)]
pub struct Sampler {
    method: Method,
    /// The time that the network is told in each step of the chain.
    times: Vec<f64>,
    start_scale: f32,
    precision: Precision,
}

#[derive(Debug, Clone)]
enum Method {
    /// Steps that are linear in the clipped clean action, `x` and the noise.
    Chain(Vec<StepCoefficients>),
    /// Anything else in continuous time.
    Sde {
        schedule: VariancePreserving,
        grid: Vec<f64>,
        integrator: Integrator,
        clipped: bool,
    },
}

impl Sampler {
    /// DDPM: every step samples the posterior at the predicted clean action, which is clipped to
    /// [-1, 1]. The chain starts from normals with standard deviation `start_scale` and is computed
    /// in `precision`.
    pub fn ddpm(schedule: &NoiseSchedule, start_scale: f32, precision: Precision) -> Self {
        let steps = schedule.chain_coefficients();
        Self {
            times: (0..steps.len()).map(|t| t as f64).collect(),
            method: Method::Chain(steps),
            start_scale,
            precision,
        }
    }

    /// As [`Sampler::ddpm`] with the larger variance, which keeps the spread of a narrow policy.
    #[must_use]
    pub fn ddpm_large(schedule: &NoiseSchedule, start_scale: f32, precision: Precision) -> Self {
        Self {
            method: Method::Chain(schedule.large_variance_coefficients()),
            ..Self::ddpm(schedule, start_scale, precision)
        }
    }

    /// DDIM: as [`Sampler::ddpm`] with deterministic steps; all randomness is that of the start.
    #[must_use]
    pub fn ddim(schedule: &NoiseSchedule, start_scale: f32, precision: Precision) -> Self {
        Self {
            method: Method::Chain(schedule.ddim_coefficients()),
            ..Self::ddpm(schedule, start_scale, precision)
        }
    }

    /// The reverse SDE in `steps` steps of Euler and Maruyama with the score of the clipped clean
    /// action, as one kernel. Results may leave [-1, 1].
    pub fn euler_maruyama(
        schedule: &VariancePreserving,
        steps: usize,
        precision: Precision,
    ) -> Self {
        let grid = schedule.grid(steps);
        // Step 0 is the last one, as in the discrete chain.
        let pairs = grid.windows(2).rev();
        Self {
            method: Method::Chain(pairs.map(|v| schedule.euler_maruyama(v[0], v[1])).collect()),
            times: (grid[..steps].iter().rev())
                .map(|t| schedule.time_scale * t)
                .collect(),
            start_scale: 1.0,
            precision,
        }
    }

    /// The reverse SDE, or its probability flow, in `steps` steps of `integrator`; `clipped` clips
    /// the clean action that a score implies to [-1, 1]. Results may leave [-1, 1].
    pub fn of_sde(
        schedule: &VariancePreserving,
        steps: usize,
        integrator: Integrator,
        clipped: bool,
    ) -> Self {
        Self {
            method: Method::Sde {
                schedule: *schedule,
                grid: schedule.grid(steps),
                integrator,
                clipped,
            },
            times: Vec::new(),
            start_scale: 1.0,
            precision: Precision::F32,
        }
    }

    /// The same without noise in its steps: all randomness is that of the start.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        if let Method::Chain(steps) = &mut self.method {
            for step in steps {
                step.sigma = 0.0;
            }
        }
        self
    }

    /// Standard deviation of the start of the chain.
    pub fn start_scale(&self) -> f32 {
        self.start_scale
    }

    /// The chain's noise at `counter` of the stream `key`.
    pub fn noise<B: Backend>(&self, key: NoiseKey, counter: u32) -> ChainNoise<B> {
        ChainNoise::Counter {
            key,
            counter,
            start_scale: self.start_scale,
        }
    }

    /// Noise that is a function of each observation alone (`[states, observation_dim]`): its bits
    /// select the random numbers. Reads the observations back from the device.
    pub fn noise_of_observations<B: Backend>(
        &self,
        key: NoiseKey,
        observations: &Tensor<B, 2>,
    ) -> ChainNoise<B> {
        ChainNoise::of_observations(key, observations, self.start_scale)
    }

    /// `particles` candidate actions an observation, `[states, particles, action_dim]`.
    pub fn sample<B: RescoreBackend>(
        &self,
        policy: &Denoiser<B>,
        observations: Tensor<B, 2>,
        particles: usize,
        noise: &ChainNoise<B>,
    ) -> Tensor<B, 3> {
        if let Method::Chain(steps) = &self.method
            && let Some(network) = policy.chain_network(&self.times, self.precision)
        {
            return B::denoise_chain(&network, observations, particles, steps, noise);
        }
        let device = observations.device();
        let [states, dim] = observations.dims();
        let rows = states * particles;
        let observations = observations
            .unsqueeze_dim::<3>(1)
            .expand([states, particles, dim])
            .reshape([rows, dim]);
        let predict = |time: f64, x: Tensor<B, 2>| {
            let features = policy.time_features(&[time], &device);
            let [_, width] = features.dims();
            policy.predict(observations.clone(), x, features.expand([rows, width]))
        };
        let shape = [states, particles, policy.action_dim()];
        self.sample_by(shape, &device, predict, noise, |_| {})
    }

    /// Samples `[states, particles, action_dim]`, for `shape` of these sizes, of any denoiser:
    /// `predict(time, x)` is the noise that it predicts in `x` `[states * particles, action_dim]` at
    /// the time as a network is told it. `observe(x)` sees every step.
    pub fn sample_by<B: Backend>(
        &self,
        shape: [usize; 3],
        device: &B::Device,
        mut predict: impl FnMut(f64, Tensor<B, 2>) -> Tensor<B, 2>,
        noise: &ChainNoise<B>,
        mut observe: impl FnMut(&Tensor<B, 2>),
    ) -> Tensor<B, 3> {
        match &self.method {
            Method::Chain(steps) => {
                let predict = |t: usize, x| predict(self.times[t], x);
                chain::ancestral(shape, device, predict, steps, noise, |_, x, _| observe(x))
            }
            Method::Sde {
                schedule,
                grid,
                integrator,
                clipped,
            } => {
                let problem = Problem {
                    schedule: *schedule,
                    grid,
                    integrator: *integrator,
                    clipped: *clipped,
                };
                problem.solve(shape, device, predict, noise, observe)
            }
        }
    }

    /// The steps and the times that the network is told in them, where the sampler is a chain.
    pub fn chain(&self) -> Option<(&[StepCoefficients], &[f64])> {
        match &self.method {
            Method::Chain(steps) => Some((steps, &self.times)),
            Method::Sde { .. } => None,
        }
    }
}
