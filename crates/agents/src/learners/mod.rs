//! What algorithms are composed of: concrete structs that hold networks, targets and optimisers, and
//! nothing that decides what is learned.

mod best_of;
mod critic;
mod deterministic;
mod diffusion;
mod exploration;
mod gaussian;
mod learning_rate;
mod old_policy;
mod temperature;
mod value;
mod weight_temperature;

use burn::tensor::{Tensor, backend::Backend};
use rescore_nn::{Tree, norm};

pub use best_of::BestOf;
pub use critic::{CriticGradient, CriticLearner, Judges};
pub use deterministic::DeterministicActor;
pub use diffusion::DiffusionActor;
pub use exploration::Exploration;
pub use gaussian::GaussianActor;
pub use learning_rate::LearningRate;
pub use old_policy::OldPolicy;
pub use temperature::Temperature;
pub use value::ValueLearner;
pub use weight_temperature::WeightTemperature;

/// Norms of a policy and of the gradient of its last step, by the names they are logged under.
fn policy_norms<B: Backend, N: Tree<B>>(
    policy: &N,
    gradient: Option<&N>,
) -> Vec<(&'static str, Tensor<B, 1>)> {
    let gradient = gradient.map(|gradient| ("policy_gradient_norm", norm(gradient)));
    let weights = ("policy_weight_norm", norm(policy));
    gradient.into_iter().chain([weights]).collect()
}
