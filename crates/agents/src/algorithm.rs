//! The list of algorithms, and their configurations as one type.

use rescore_kernels::{Precision, RescoreBackend};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    Agent, RangeError,
    dpmd::{Dpmd, DpmdConfig},
    sac::{Sac, SacConfig},
    sdac::{Sdac, SdacConfig},
};

/// An algorithm by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Diffusion policy mirror descent.
    Dpmd,
    /// Soft diffusion actor-critic.
    Sdac,
    /// Soft actor-critic.
    Sac,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 3] = [Self::Dpmd, Self::Sdac, Self::Sac];

    /// The name on command lines and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dpmd => "dpmd",
            Self::Sdac => "sdac",
            Self::Sac => "sac",
        }
    }

    /// The algorithm called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// The hyper-parameters of one algorithm. Serialises as the plain table of its keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AgentConfig {
    /// Of DPMD.
    Dpmd(DpmdConfig),
    /// Of SDAC.
    Sdac(SdacConfig),
    /// Of SAC.
    Sac(SacConfig),
}

impl AgentConfig {
    /// Names of the presets of `algorithm`, the default first.
    pub const fn presets(algorithm: Algorithm) -> &'static [&'static str] {
        match algorithm {
            Algorithm::Dpmd => DpmdConfig::PRESETS,
            Algorithm::Sdac => SdacConfig::PRESETS,
            Algorithm::Sac => SacConfig::PRESETS,
        }
    }

    /// The complete defaults of `algorithm` under the preset `name`.
    pub fn preset(algorithm: Algorithm, name: &str) -> Option<Self> {
        match algorithm {
            Algorithm::Dpmd => DpmdConfig::preset(name).map(Self::Dpmd),
            Algorithm::Sdac => SdacConfig::preset(name).map(Self::Sdac),
            Algorithm::Sac => SacConfig::preset(name).map(Self::Sac),
        }
    }

    /// The configuration of `algorithm` from a complete table of its keys.
    ///
    /// # Errors
    /// When a key is missing or of a wrong type. Unknown keys are not noticed here.
    pub fn from_table<'de, D: Deserializer<'de>>(
        algorithm: Algorithm,
        table: D,
    ) -> Result<Self, D::Error> {
        match algorithm {
            Algorithm::Dpmd => DpmdConfig::deserialize(table).map(Self::Dpmd),
            Algorithm::Sdac => SdacConfig::deserialize(table).map(Self::Sdac),
            Algorithm::Sac => SacConfig::deserialize(table).map(Self::Sac),
        }
    }

    /// Which algorithm this is.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Dpmd(_) => Algorithm::Dpmd,
            Self::Sdac(_) => Algorithm::Sdac,
            Self::Sac(_) => Algorithm::Sac,
        }
    }

    /// The precision in which the policy is sampled.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Dpmd(config) => config.diffusion.precision.into(),
            Self::Sdac(config) => config.diffusion.precision.into(),
            Self::Sac(_) => Precision::F32,
        }
    }

    /// Whether `device` samples this policy in the precision that is asked for.
    pub fn is_supported<B: RescoreBackend>(&self, action_dim: usize, device: &B::Device) -> bool {
        let hidden_dims = &self.base().hidden_dims;
        B::supports(self.precision(), hidden_dims, action_dim, device)
    }

    /// The discount.
    pub const fn gamma(&self) -> f64 {
        self.base().gamma
    }

    /// Checks that every value is in its range.
    ///
    /// # Errors
    /// The first key that is not.
    pub fn validate(&self) -> Result<(), RangeError> {
        match self {
            Self::Dpmd(config) => config.validate(),
            Self::Sdac(config) => config.validate(),
            Self::Sac(config) => config.validate(),
        }
    }

    /// A fresh agent. The configuration must be valid.
    pub fn build<B: RescoreBackend>(
        &self,
        observation_dim: usize,
        action_dim: usize,
        seed: u64,
        device: &B::Device,
    ) -> Box<dyn Agent<B>> {
        let dims = [observation_dim, action_dim];
        match self {
            Self::Dpmd(config) => Box::new(Dpmd::<B>::new(config, dims, seed, device)),
            Self::Sdac(config) => Box::new(Sdac::<B>::new(config, dims, seed, device)),
            Self::Sac(config) => Box::new(Sac::<B>::new(config, dims, seed, device)),
        }
    }
}
