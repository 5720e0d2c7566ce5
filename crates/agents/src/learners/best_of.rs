//! The action that evaluation plays: the best of several samples of a policy.

use burn::tensor::Tensor;
use rescore_diffusion::{Denoiser, Sampler};
use rescore_kernels::{ChainNoise, NoiseKey, RescoreBackend, Sampled};

use super::Judges;

/// A diffusion policy of whose samples critics choose one.
#[derive(Debug, Clone)]
pub struct BestOf<'a, B: RescoreBackend> {
    /// The policy.
    pub policy: &'a Denoiser<B>,
    /// How it is sampled.
    pub sampler: &'a Sampler,
    /// Candidate actions an observation.
    pub particles: usize,
    /// Who chooses; not asked about one candidate.
    pub judges: Judges<'a, B>,
    /// The stream of the noise, which is a function of each observation alone.
    pub key: NoiseKey,
}

impl<B: RescoreBackend> BestOf<'_, B> {
    /// The action at each of `observations`, `[batch, action_dim]`, in [-1, 1].
    pub fn act(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        let noise = (self.sampler).noise_of_observations(self.key, &observations);
        let candidates = self.candidates(observations.clone(), &noise);
        self.judges.best(observations, candidates)
    }

    /// The candidates that `noise` gives, in [-1, 1], `[batch, particles, action_dim]`.
    pub fn candidates(&self, observations: Tensor<B, 2>, noise: &ChainNoise<B>) -> Tensor<B, 3> {
        let candidates = (self.sampler).sample(self.policy, observations, self.particles, noise);
        candidates.clamp(-1.0, 1.0)
    }

    /// The choice among [`BestOf::candidates`].
    pub fn choose(&self, observations: Tensor<B, 2>, noise: &ChainNoise<B>) -> Sampled<B> {
        let candidates = self.candidates(observations.clone(), noise);
        let scores = self.judges.score(observations, candidates.clone());
        B::best(candidates, scores)
    }
}
