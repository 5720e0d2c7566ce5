//! Temporal-difference targets and critic losses.

use burn::{
    backend::Autodiff,
    tensor::{Tensor, backend::Backend},
};
use rescore_critics::{Critics, Head};
use rescore_kernels::categorical::{
    Returns, cross_entropy, cross_entropy_slope, target_distribution,
};
use rescore_kernels::{Combine, RescoreBackend, formula::Formula, supplied, total};

/// `r + gamma (1 - terminated) V(s')`, all `[batch]`. Truncated episodes bootstrap, so
/// `terminated` must not contain them.
pub fn td_target<B: RescoreBackend>(
    rewards: Tensor<B, 1>,
    terminated: Tensor<B, 1>,
    next_values: Tensor<B, 1>,
    gamma: f64,
) -> Tensor<B, 1> {
    let continues = -Formula::column(terminated) + 1.0;
    let future = Formula::column(next_values) * gamma;
    (Formula::column(rewards) + continues * future).compute_column()
}

/// The step that a target is made of, and how the future counts.
#[derive(Debug, Clone)]
pub struct Step<B: Backend> {
    /// Rewards, `[batch]`.
    pub rewards: Tensor<B, 1>,
    /// 1 where the episode terminated, not where it was truncated, `[batch]`.
    pub terminated: Tensor<B, 1>,
    /// Discount.
    pub gamma: f64,
    /// What is subtracted from the next values, such as temperature times log-probability, `[batch]`.
    pub penalty: Option<Tensor<B, 1>>,
}

/// The target that all critics of an ensemble learn; it is constant.
#[derive(Debug, Clone)]
pub enum Target<B: Backend> {
    /// Returns, `[batch]`.
    Values(Tensor<B, 1>),
    /// Distributions over the atoms, `[batch, atoms]`.
    Distributions(Tensor<B, 2>),
}

/// One target from the outputs `[members, batch, outputs]` of all target critics at the next pairs:
/// `r + gamma (1 - terminated) (next - penalty)`, where `next` is the combined value, or the
/// distribution that is moved so and projected onto the atoms (see
/// [`rescore_kernels::categorical::target_distribution`]).
pub fn target<B: RescoreBackend>(
    head: Head,
    combine: Combine,
    outputs: Tensor<B, 3>,
    step: Step<B>,
) -> Target<B> {
    match head {
        Head::Scalar => {
            let values = combine.values(head.values(outputs));
            let values = match step.penalty {
                Some(penalty) => values - penalty,
                None => values,
            };
            let values = td_target(step.rewards, step.terminated, values, step.gamma);
            Target::Values(values)
        }
        Head::Categorical(support) => {
            let returns = Returns {
                rewards: step.rewards,
                discounts: ((-Formula::column(step.terminated) + 1.0) * step.gamma)
                    .compute_column(),
                penalty: step.penalty,
            };
            let places = support.places();
            Target::Distributions(target_distribution(outputs, places, combine, returns))
        }
    }
}

/// The loss of all members together, `[1]`, and of each, `[members]`, for outputs `[members, batch,
/// outputs]`: mean squared errors (no factor 1/2), or cross entropies.
///
/// # Panics
/// When the target is of values and the outputs are not.
pub fn loss<B: RescoreBackend>(
    outputs: Tensor<Autodiff<B>, 3>,
    target: Target<B>,
) -> (Tensor<Autodiff<B>, 1>, Tensor<B, 1>) {
    match target {
        Target::Values(values) => {
            let outputs = outputs.squeeze_dim::<2>(2);
            let [_, batch] = outputs.dims();
            let errors = Formula::from(outputs.clone().inner()) - Formula::row(values);
            let losses = errors.clone().square().mean_of_rows();
            let gradient = errors * f64::from(1.0 / batch as f32) * 2.0;
            let loss = supplied(outputs, total(losses.clone()), gradient);
            (loss, losses)
        }
        Target::Distributions(probabilities) => {
            let logits = outputs.clone().inner();
            let [members, batch, atoms] = logits.dims();
            let losses = cross_entropies(logits.clone(), probabilities.clone());
            let slope = cross_entropy_slope(logits, probabilities, 1.0 / batch as f64);
            let gradient = Formula::from(slope.reshape([members * batch, atoms]));
            let loss = supplied(outputs, total(losses.clone()), gradient);
            (loss, losses)
        }
    }
}

/// `mean over the batch of - sum_k target_k log softmax(logits)_k` of every member, `[members]`
/// (Bellemare, Dabney and Munos 2017): logits `[members, batch, atoms]`, targets `[batch, atoms]`.
fn cross_entropies<B: RescoreBackend>(logits: Tensor<B, 3>, targets: Tensor<B, 2>) -> Tensor<B, 1> {
    let rows = cross_entropy(logits, targets);
    rows.mean_dim(1).squeeze_dim::<1>(1)
}

/// Mean over the batch of every member, `[members]`: values `[members, batch]`, targets `[batch]`.
fn squared_errors<B: Backend>(values: Tensor<B, 2>, targets: Tensor<B, 1>) -> Tensor<B, 1> {
    let error = values - targets.unsqueeze_dim(0);
    (error.clone() * error).mean_dim(1).squeeze_dim(1)
}

/// Mean squared errors (no factor 1/2) of all critics against `targets` `[batch]`, `[members]`.
pub fn critic_losses<B: RescoreBackend>(
    critics: &Critics<B>,
    observations: Tensor<B, 2>,
    actions: Tensor<B, 2>,
    targets: Tensor<B, 1>,
) -> Tensor<B, 1> {
    squared_errors(critics.values(observations, actions), targets)
}
