//! A trained policy, as a checkpoint holds it.

use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use rescore_agents::Agent;
use rescore_envs::EnvError;
use rescore_kernels::RescoreBackend;
use rescore_store::StoreError;
use rescore_store::arrays::Arrays;
use rescore_store::checkpoint::{self, Description, Limits};

use crate::RunError;
use crate::checkpoint::{describe, from_agent, from_environments, load_agent, to_environments};
use crate::config::Config;
use crate::environments::Environments;
use crate::normalize::ObservationNormalizer;

/// An agent with what it needs to act.
pub struct Policy<B: RescoreBackend> {
    /// The agent.
    pub agent: Box<dyn Agent<B>>,
    /// How observations are normalised, if they are.
    pub normalizer: Option<ObservationNormalizer>,
    /// Of the checkpoint.
    pub description: Description,
}

/// One observation as a batch, `[1, observation_dim]`.
pub fn row<B: RescoreBackend>(observation: Vec<f32>, device: &B::Device) -> Tensor<B, 2> {
    let shape = [1, observation.len()];
    Tensor::from_data(TensorData::new(observation, shape), device)
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
    let mut agent = config.new_agent::<B>(dims, device)?;
    let expected = describe(config, dims, 0, 0);
    let arrays = from_agent(agent.state());
    if !config.training.normalize_observation {
        let limits = Limits::new(&arrays, &Arrays::new());
        let description = checkpoint::load_agent(path, &expected, limits, |arrays| {
            load_agent(agent.as_mut(), arrays)
        })?;
        return Ok(Policy {
            agent,
            normalizer: None,
            description,
        });
    }
    let environments = Environments::new(config)?.state()?;
    let limits = Limits::new(&arrays, &from_environments(environments));
    let loaded = checkpoint::load(path, &expected, limits, |arrays| {
        load_agent(agent.as_mut(), arrays)
    })?;
    let state = to_environments(loaded.environments)
        .map_err(|message| StoreError::mismatch(path, message))?;
    let saved = state.state("normalizers.observation");
    let clip = config.training.observation_clip;
    let normalizer = ObservationNormalizer::restored(&saved, dims.0, clip);
    Ok(Policy {
        agent,
        normalizer: Some(normalizer.map_err(EnvError::from)?),
        description: loaded.file.checkpoint,
    })
}
