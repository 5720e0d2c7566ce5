//! A trained policy, as a checkpoint holds it.

use std::path::Path;

use rescore_agents::Agent;
use rescore_envs::{EnvError, EnvState};
use rescore_kernels::RescoreBackend;

use crate::RunError;
use crate::checkpoint::{self, Description, Limits};
use crate::config::Config;
use crate::normalize::ObservationNormalizer;
use crate::train::Environments;

/// An agent with what it needs to act.
pub struct Policy<B: RescoreBackend> {
    /// The agent.
    pub agent: Box<dyn Agent<B>>,
    /// How observations are normalised, if they are.
    pub normalizer: Option<ObservationNormalizer>,
    /// Of the checkpoint.
    pub description: Description,
}

/// Reads the policy of the checkpoint in the folder `path`; `dims` are the lengths of an
/// observation and of an action.
///
/// # Errors
/// When a file is missing, damaged, or does not fit `config`.
pub fn load<B: RescoreBackend>(
    config: &Config,
    path: &Path,
    dims: (usize, usize),
    device: &B::Device,
) -> Result<Policy<B>, RunError> {
    let mut agent = config.agent.build::<B>(dims.0, dims.1, config.seed, device);
    let expected = Description::new(config, dims, 0, 0);
    if !config.training.normalize_observation {
        let limits = Limits::new(&agent.state(), &EnvState::new());
        let description =
            checkpoint::load_agent(path, &expected, limits, |state| agent.load_state(state))?;
        return Ok(Policy {
            agent,
            normalizer: None,
            description,
        });
    }
    let limits = Limits::new(&agent.state(), &Environments::new(config)?.largest_state()?);
    let loaded = checkpoint::load(path, &expected, limits, |state| agent.load_state(state))?;
    let saved = loaded.environments.state("normalizers.observation");
    let clip = config.training.observation_clip;
    let normalizer = ObservationNormalizer::restored(&saved, dims.0, clip);
    Ok(Policy {
        agent,
        normalizer: Some(normalizer.map_err(EnvError::from)?),
        description: loaded.file.checkpoint,
    })
}
