//! Tables of settings that algorithms are composed of. Each stands for one learner.

mod actor;
mod baseline;
mod critic;
mod network;
mod published;
mod recipe;
mod sampling;
mod score;
mod sde;
mod target;
mod temperature;

pub use actor::{ActorSettings, DiffusionActorSettings, SamplerKind, SamplingPrecision};
pub use baseline::BaselineSettings;
pub use critic::{CombineKind, CriticSettings, ValueSettings};
pub use network::{ActivationKind, InitializerKind, NetworkSettings, check_adam};
pub use published::{DiffusionSettings, ExplorationSettings};
pub use recipe::RecipeSettings;
pub use sampling::{ActingSettings, OldPolicySettings, RegressionSettings};
pub use score::{EnergySettings, ScoreSettings};
pub use sde::{SdeSampler, SdeSettings};
pub use target::{MovingAverage, TargetSettings};
pub use temperature::{TemperatureSettings, WeightTemperatureSettings};
