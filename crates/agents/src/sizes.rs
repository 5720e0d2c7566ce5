//! How much memory an agent needs, before it is built.

use rescore_kernels::{Precision, RescoreBackend};

/// Width of the time features of a denoiser.
const TIME_DIM: usize = 16;

/// Arrays of a network's size that are alive in an update: network, target, gradient, two moments
/// of Adam, and the new values while the old ones are still there.
const COPIES: f64 = 6.0;

/// What a policy's network sees and gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    /// Observation, noisy action and time features to noise.
    Denoiser,
    /// Observation to mean and log standard deviation.
    Gaussian,
    /// Observation to action.
    Deterministic,
}

/// What the training loop asks of an algorithm's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// The discount, by which the run's reward normaliser sums rewards.
    pub gamma: f64,
    /// Sizes from which memory and time are estimated; none for no estimate.
    pub sizes: Option<Sizes>,
}

impl Outline {
    /// Without sizes.
    pub const fn of(gamma: f64) -> Self {
        Self { gamma, sizes: None }
    }

    /// With sizes.
    pub const fn new(gamma: f64, sizes: Sizes) -> Self {
        Self {
            gamma,
            sizes: Some(sizes),
        }
    }
}

/// Sizes of an agent's networks and samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizes {
    /// How many critics there are.
    pub critics: usize,
    /// Widths of a critic's hidden layers.
    pub critic_widths: Vec<usize>,
    /// What the policy is.
    pub policy: PolicyKind,
    /// Widths of the policy's hidden layers.
    pub policy_widths: Vec<usize>,
    /// Sampled actions a row of a batch.
    pub samples: usize,
    /// Candidate actions an observation when the agent acts.
    pub act_samples: usize,
    /// Precision of the denoising chain.
    pub precision: Precision,
}

/// Numbers of the weights and biases of layers `input -> hidden ... -> output`.
fn parameters(input: usize, hidden: &[usize], output: usize) -> f64 {
    let inputs = std::iter::once(&input).chain(hidden);
    let outputs = hidden.iter().chain(std::iter::once(&output));
    inputs
        .zip(outputs)
        .map(|(from, to)| (*from as f64 + 1.0) * *to as f64)
        .sum()
}

impl Sizes {
    /// Bytes that the networks and one update on `batch` transitions, or acting in `num_envs`
    /// environments, take at least. Meant to refuse what cannot fit, so it counts only what every
    /// backend holds at once.
    pub fn least_memory(
        &self,
        [observation, action]: [usize; 2],
        batch: usize,
        num_envs: usize,
    ) -> f64 {
        let critic = parameters(observation + action, &self.critic_widths, 1);
        let (input, output) = match self.policy {
            PolicyKind::Denoiser => (observation + action + TIME_DIM, action),
            PolicyKind::Gaussian => (observation, 2 * action),
            PolicyKind::Deterministic => (observation, action),
        };
        let policy = parameters(input, &self.policy_widths, output);
        let of_critics: usize = self.critic_widths.iter().sum();
        let of_policy: usize = self.policy_widths.iter().sum();
        let widths = of_critics.max(of_policy);
        // The activations of one network stay until its gradient is known.
        let training = batch as f64 * (2 * observation + widths) as f64;
        let sampling = (batch * self.samples) as f64 * action as f64;
        let acting = (num_envs * self.act_samples) as f64 * action as f64;
        let networks = policy + self.critics as f64 * critic;
        4.0 * (COPIES * networks + training + sampling.max(acting))
    }

    /// Whether `device` samples the policy in the precision that is asked for.
    pub fn is_supported<B: RescoreBackend>(&self, action_dim: usize, device: &B::Device) -> bool {
        B::supports(self.precision, &self.policy_widths, action_dim, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_weights_and_biases() {
        // 3 * 5 + 5, 5 * 7 + 7, 7 * 2 + 2
        assert!((parameters(3, &[5, 7], 2) - 78.0).abs() < 1e-9);
    }

    /// The widest networks that the ranges admit need terabytes, the default ones megabytes.
    #[test]
    fn what_fits_nowhere_is_told_from_what_fits() {
        for algorithm in crate::Algorithm::all() {
            let mut sizes = algorithm
                .defaults()
                .outline()
                .sizes
                .expect("sizes are given");
            let bytes = sizes.least_memory([17, 6], 256, 5);
            assert!((5e6..1e8).contains(&bytes), "{algorithm:?}: {bytes}");
            sizes.critic_widths = vec![65_536, 65_536];
            let bytes = sizes.least_memory([17, 6], 256, 5);
            assert!(bytes > 1e11, "{algorithm:?}: {bytes}");
        }
    }
}
