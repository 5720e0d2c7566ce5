//! Sampling actions from a diffusion policy.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{
    ChainNoise, NoiseKey, Precision, RescoreBackend, StepCoefficients, chain, noise::hash,
};

use crate::{Denoiser, NoiseSchedule};

/// How a policy is sampled: schedule, start of the chain, precision.
#[derive(Debug, Clone)]
pub struct Sampler {
    steps: Vec<StepCoefficients>,
    start_scale: f32,
    precision: Precision,
}

impl Sampler {
    /// The chain starts from normals with standard deviation `start_scale` and is computed in
    /// `precision`.
    pub fn new(schedule: &NoiseSchedule, start_scale: f32, precision: Precision) -> Self {
        Self {
            steps: schedule.chain_coefficients(),
            start_scale,
            precision,
        }
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
        let [_, dim] = observations.dims();
        let values: Vec<f32> = observations.to_data().iter::<f32>().collect();
        ChainNoise::CounterPerState {
            key,
            counters: values.chunks(dim.max(1)).map(hash).collect(),
            start_scale: self.start_scale,
        }
    }

    /// `particles` candidate actions an observation, `[states, particles, action_dim]`.
    pub fn sample<B: RescoreBackend>(
        &self,
        policy: &Denoiser<B>,
        observations: Tensor<B, 2>,
        particles: usize,
        noise: &ChainNoise<B>,
    ) -> Tensor<B, 3> {
        match policy.chain_network(self.steps.len(), self.precision) {
            Some(network) => {
                B::denoise_chain(&network, observations, particles, &self.steps, noise)
            }
            None => self.plain(policy, observations, particles, noise),
        }
    }

    /// [`Sampler::sample`] by the forward pass of a network that the fused chain cannot run.
    fn plain<B: RescoreBackend>(
        &self,
        policy: &Denoiser<B>,
        observations: Tensor<B, 2>,
        particles: usize,
        noise: &ChainNoise<B>,
    ) -> Tensor<B, 3> {
        let device = observations.device();
        let [states, dim] = observations.dims();
        let num_steps = self.steps.len();
        let rows = states * particles;
        let observations = observations
            .unsqueeze_dim::<3>(1)
            .expand([states, particles, dim])
            .reshape([rows, dim]);
        let features = policy.time_features(num_steps, &device);
        let predict = |t: usize, x: Tensor<B, 2>| {
            let [_, width] = features.dims();
            let time = features.clone().slice([t..t + 1]).expand([rows, width]);
            policy.predict(observations.clone(), x, time)
        };
        let shape = [states, particles, policy.action_dim()];
        chain::ancestral(shape, &device, predict, &self.steps, noise, |_, _, _| {})
    }

    /// The coefficients of the denoising steps.
    pub fn steps(&self) -> &[StepCoefficients] {
        &self.steps
    }
}
