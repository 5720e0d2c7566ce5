//! How much memory an agent needs, before it is built.

use crate::{AgentConfig, config::ActorCriticConfig};

/// Width of the time features of a denoiser.
const TIME_DIM: usize = 16;

/// Arrays of a network's size that are alive in an update: network, target, gradient, two moments
/// of Adam, and the new values while the old ones are still there.
const COPIES: f64 = 6.0;

/// Numbers of the weights and biases of layers `input -> hidden ... -> output`.
fn parameters(input: usize, hidden: &[usize], output: usize) -> f64 {
    let inputs = std::iter::once(&input).chain(hidden);
    let outputs = hidden.iter().chain(std::iter::once(&output));
    inputs
        .zip(outputs)
        .map(|(from, to)| (*from as f64 + 1.0) * *to as f64)
        .sum()
}

impl AgentConfig {
    /// Bytes that the networks and one update on `batch` transitions, or acting in `num_envs`
    /// environments, take at least. Meant to refuse what cannot fit, so it counts only what every
    /// backend holds at once.
    pub fn least_memory(
        &self,
        [observation_dim, action_dim]: [usize; 2],
        batch: usize,
        num_envs: usize,
    ) -> f64 {
        let base = self.base();
        let hidden = &base.hidden_dims;
        let critics = 2.0 * parameters(observation_dim + action_dim, hidden, 1);
        let (policy, samples) = match self {
            Self::Dpmd(config) => (None, config.diffusion.particles),
            Self::Sdac(config) => (None, config.diffusion.particles.max(config.reverse_samples)),
            Self::Sac(_) => (Some(parameters(observation_dim, hidden, 2 * action_dim)), 1),
        };
        let denoiser = || parameters(observation_dim + action_dim + TIME_DIM, hidden, action_dim);
        let policy = policy.unwrap_or_else(denoiser);
        let widths: f64 = hidden.iter().map(|width| *width as f64).sum();
        // The activations of one network stay until its gradient is known.
        let training = batch as f64 * (2.0 * observation_dim as f64 + widths);
        let sampling = (batch * samples) as f64 * action_dim as f64;
        let acting = (num_envs * self.act_particles()) as f64 * action_dim as f64;
        4.0 * (COPIES * (policy + critics) + training + sampling.max(acting))
    }

    /// What all algorithms have.
    pub const fn base(&self) -> &ActorCriticConfig {
        match self {
            Self::Dpmd(config) => &config.base,
            Self::Sdac(config) => &config.base,
            Self::Sac(config) => &config.base,
        }
    }

    /// Candidate actions an observation when the agent acts.
    const fn act_particles(&self) -> usize {
        match self {
            Self::Dpmd(config) => config.diffusion.particles_to_act(),
            Self::Sdac(config) => config.diffusion.particles_to_act(),
            Self::Sac(_) => 1,
        }
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
        for algorithm in crate::Algorithm::ALL {
            let preset = AgentConfig::presets(algorithm)[0];
            let mut config = AgentConfig::preset(algorithm, preset).expect("a listed preset");
            let bytes = config.least_memory([17, 6], 256, 5);
            assert!((5e6..1e8).contains(&bytes), "{algorithm:?}: {bytes}");
            let base = match &mut config {
                AgentConfig::Dpmd(config) => &mut config.base,
                AgentConfig::Sdac(config) => &mut config.base,
                AgentConfig::Sac(config) => &mut config.base,
            };
            base.hidden_dims = vec![65_536, 65_536];
            let bytes = config.least_memory([17, 6], 256, 5);
            assert!(bytes > 1e11, "{algorithm:?}: {bytes}");
        }
    }
}
