//! Sampling actions from a diffusion policy.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{
    ChainNoise, Mlp, NoiseKey, Precision, RescoreBackend, Sampled, StepCoefficients, best_of,
    noise::hash,
};

use crate::{Denoiser, NoiseSchedule};

/// How a policy is sampled: schedule, number of particles, start of the chain.
#[derive(Debug, Clone)]
pub struct Sampler {
    steps: Vec<StepCoefficients>,
    particles: usize,
    start_scale: f32,
    precision: Precision,
}

impl Sampler {
    /// `particles` candidate actions an observation; the chain starts from normals with standard
    /// deviation `start_scale` and is computed in `precision`.
    pub fn new(
        schedule: &NoiseSchedule,
        particles: usize,
        start_scale: f32,
        precision: Precision,
    ) -> Self {
        Self {
            steps: schedule.chain_coefficients(),
            particles,
            start_scale,
            precision,
        }
    }

    /// Candidate actions an observation.
    pub fn particles(&self) -> usize {
        self.particles
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

    /// Actions for `observations` `[states, observation_dim]`: of the policy's particles the one
    /// with the largest minimum of the two `critics`, clipped to [-1, 1]. With one particle the
    /// critics are not asked.
    pub fn best<B: RescoreBackend>(
        &self,
        policy: &Denoiser<B>,
        critics: [&Mlp<B>; 2],
        observations: Tensor<B, 2>,
        noise: &ChainNoise<B>,
    ) -> Tensor<B, 2> {
        if self.particles == 1 {
            let actions = self.all(policy, observations.clone(), noise);
            return best_of(critics, observations, actions);
        }
        self.scored(policy, critics, observations, noise).actions
    }

    /// As [`Sampler::best`], with the scores of all particles and the index of the best.
    pub fn scored<B: RescoreBackend>(
        &self,
        policy: &Denoiser<B>,
        critics: [&Mlp<B>; 2],
        observations: Tensor<B, 2>,
        noise: &ChainNoise<B>,
    ) -> Sampled<B> {
        let network = policy.chain_network(self.steps.len(), self.precision);
        B::denoise_best(
            &network,
            critics,
            observations,
            self.particles,
            &self.steps,
            noise,
        )
    }

    /// All particles, `[states, particles, action_dim]`, not scored.
    pub fn all<B: RescoreBackend>(
        &self,
        policy: &Denoiser<B>,
        observations: Tensor<B, 2>,
        noise: &ChainNoise<B>,
    ) -> Tensor<B, 3> {
        let network = policy.chain_network(self.steps.len(), self.precision);
        B::denoise_chain(&network, observations, self.particles, &self.steps, noise)
    }

    /// The coefficients of the denoising steps.
    pub fn steps(&self) -> &[StepCoefficients] {
        &self.steps
    }
}
