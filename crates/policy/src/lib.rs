#![doc = include_str!("../README.md")]

mod activation;
mod check;
pub mod description;
mod diffusion;
mod error;
mod file;
mod network;

use std::fs;
use std::path::Path;

pub use description::Description;
pub use error::PolicyError;
pub use file::{Tensor, write};

use description::{Activation, PolicyKind};
use diffusion::Diffusion;
use network::{Buffers, Builder, Network};

/// A trained policy that acts deterministically: the same observation gives the same action.
#[derive(Debug, Clone)]
pub struct Policy {
    description: Description,
    actor: Actor,
}

#[derive(Debug, Clone)]
enum Actor {
    Diffusion(Box<Diffusion>),
    /// The action is `tanh` of the network's first outputs.
    Squashed(Network),
}

impl Policy {
    /// Reads the policy in the file `path`.
    ///
    /// # Errors
    /// When the file cannot be read or is not an exported policy.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PolicyError> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|source| PolicyError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::from_bytes(&bytes)
    }

    /// The policy whose file holds `bytes`.
    ///
    /// # Errors
    /// When they are not an exported policy; the error names the key or the tensor.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PolicyError> {
        let (description, mut tensors) = file::read(bytes)?;
        let mut squashed = |network, outputs: usize| {
            let inputs = Some(description.observation_dim);
            let policy = Builder::new(&mut tensors, "policy", 1, inputs);
            policy.network(network, Some(outputs)).map(Actor::Squashed)
        };
        let actor = match &description.policy {
            PolicyKind::Gaussian { network } => {
                squashed(*network, description.action_dim.saturating_mul(2))?
            }
            PolicyKind::Deterministic { network } => squashed(*network, description.action_dim)?,
            PolicyKind::Diffusion {
                network,
                particles,
                start_scale,
                critics,
            } => {
                let sampling = (*particles, *start_scale);
                let critics = critics.as_ref();
                let policy =
                    Diffusion::take(&mut tensors, &description, *network, sampling, critics)?;
                Actor::Diffusion(Box::new(policy))
            }
        };
        tensors.finish()?;
        Ok(Self { description, actor })
    }

    /// Length of an observation.
    pub fn observation_dim(&self) -> usize {
        self.description.observation_dim
    }

    /// Length of an action.
    pub fn action_dim(&self) -> usize {
        self.description.action_dim
    }

    /// Everything that the file says about the policy.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The action for an observation, both in the task's own units.
    ///
    /// # Errors
    /// When the observation has another length than [`Policy::observation_dim`] or is not finite, or
    /// is so far from those of training that the networks' output is not finite.
    pub fn act(&self, observation: &[f32]) -> Result<Vec<f32>, PolicyError> {
        let mut action = self.act_in_units(observation)?;
        for (a, (centre, half_range)) in action.iter_mut().zip(self.description.affine()) {
            *a = centre + half_range * *a;
        }
        Ok(action)
    }

    /// As [`Policy::act`], with the action in units of its bounds: each component in [-1, 1].
    ///
    /// # Errors
    /// As [`Policy::act`].
    pub fn act_in_units(&self, observation: &[f32]) -> Result<Vec<f32>, PolicyError> {
        let observation = self.normalized(observation)?;
        let mut action = match &self.actor {
            Actor::Diffusion(policy) => policy.act(&observation)?,
            Actor::Squashed(network) => {
                let mut buffers = Buffers::default();
                buffers.input([&observation]);
                network.apply(0, &mut buffers);
                buffers.x.truncate(self.action_dim());
                Activation::Tanh.apply(&mut buffers.x);
                buffers.x
            }
        };
        for a in &mut action {
            *a = a.clamp(-1.0, 1.0);
        }
        if action.iter().all(|a| a.is_finite()) {
            Ok(action)
        } else {
            Err(PolicyError::Diverged)
        }
    }

    /// The observation as the networks take it.
    fn normalized(&self, observation: &[f32]) -> Result<Vec<f32>, PolicyError> {
        let expected = self.observation_dim();
        if observation.len() != expected {
            let found = observation.len();
            return Err(PolicyError::ObservationLength { found, expected });
        }
        if let Some(index) = observation.iter().position(|x| !x.is_finite()) {
            let value = observation[index];
            return Err(PolicyError::ObservationValue { index, value });
        }
        let mut observation = observation.to_vec();
        if let Some(normalizer) = &self.description.observation_normalizer {
            let clip = normalizer.clip.unwrap_or(f64::INFINITY);
            let statistics = normalizer.mean.iter().zip(&normalizer.var);
            for (x, (mean, var)) in observation.iter_mut().zip(statistics) {
                let deviation = (var + normalizer.epsilon).sqrt();
                *x = ((f64::from(*x) - mean) / deviation).clamp(-clip, clip) as f32;
            }
        }
        Ok(observation)
    }
}
