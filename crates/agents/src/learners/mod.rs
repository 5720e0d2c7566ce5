//! What algorithms are composed of: concrete structs that hold networks, targets and optimisers, and
//! nothing that decides what is learned.

mod critic;
mod deterministic;
mod diffusion;
mod exploration;
mod gaussian;
mod temperature;

pub use critic::{CriticGradient, CriticLearner};
pub use deterministic::DeterministicActor;
pub use diffusion::DiffusionActor;
pub use exploration::Exploration;
pub use gaussian::GaussianActor;
pub use temperature::Temperature;
