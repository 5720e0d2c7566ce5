//! What tells a run that learns from one that does not, beside its returns.
//!
//! All of it is computed where the log is written, not in every update.

use burn::tensor::{Tensor, backend::Backend};
use rescore_objectives::{particles::ParticleWeights, td::Target};

use crate::Metrics;

/// Name of the share of target distributions at the ends of the support.
pub const SUPPORT_EDGE: &str = "support_edge";

/// Action components beyond this, in units of the action bounds, count as saturated.
const SATURATED: f64 = 0.99;

/// Values that are smaller in size are not divided by.
const SMALLEST: f64 = 1e-6;

/// Population standard deviation along `axis`, which stays with length 1.
fn std<B: Backend, const D: usize>(x: Tensor<B, D>, axis: usize) -> Tensor<B, D> {
    let deviation = x.clone() - x.mean_dim(axis);
    (deviation.clone() * deviation).mean_dim(axis).sqrt()
}

/// Adds what says how far the values have come, for a batch with scaled `rewards` `[batch]`, a target
/// with expectations `values` `[batch]` and the losses of the members:
///
/// * `value_age`: mean of `values` over mean reward / (1 - gamma), the value of a policy that earns
///   this reward forever. 0 at the start, 1 where values have arrived.
/// * `critic_excess`: mean over the critics of the cross entropy less the entropy of its target,
///   which no critic can go below.
/// * `support_edge`: mean share of a target distribution on the first and the last atom: what the
///   support cuts off of returns lands there.
/// * `action_saturation`: share of the components of `next_actions` `[batch, action_dim]` whose size
///   exceeds 0.99.
pub fn values<B: Backend>(
    metrics: &mut Metrics<B>,
    (rewards, gamma): (Tensor<B, 1>, f64),
    next_actions: Tensor<B, 2>,
    (target, values, losses): (&Target<B>, Tensor<B, 1>, Tensor<B, 1>),
) {
    let horizon = 1.0 / (1.0 - gamma).max(f64::MIN_POSITIVE);
    metrics.push_detail("value_age", move || {
        let forever = rewards.clone().mean().mul_scalar(horizon);
        // Rewards whose mean is 0 have no such value.
        let none = forever.clone().abs().lower_elem(SMALLEST);
        values.clone().mean() / forever.mask_fill(none, SMALLEST)
    });
    if let Target::Distributions(target) = target.clone() {
        let edges = target.clone();
        metrics.push_detail(SUPPORT_EDGE, move || {
            let last = edges.dims()[1] - 1;
            let [first, last] = [0, last].map(|atom| edges.clone().narrow(1, atom, 1).mean());
            first + last
        });
        metrics.push_detail("critic_excess", move || {
            let logarithms = target.clone().clamp_min(f32::MIN_POSITIVE).log();
            let entropy = (target.clone() * logarithms).sum_dim(1).mean().neg();
            losses.clone().mean() - entropy
        });
    }
    metrics.push_detail("action_saturation", move || {
        let saturated = next_actions.clone().abs().greater_elem(SATURATED);
        saturated.float().mean()
    });
}

/// Adds what says how the particles of a policy step differ, `particles` `[states, count,
/// action_dim]`, `scores` `[states, count]`:
///
/// * `q_std_within`: standard deviation of Q over the particles of a state, mean over states: what
///   the actor learns from.
/// * `q_std_between`: standard deviation between states of the particles' mean Q.
/// * `particle_spread`: standard deviation over the particles of a state, mean over states and
///   action dimensions.
/// * `weight_kl` and `weight_effective`: divergence of the weights from equal ones, and their
///   effective number.
///
/// Particles, scores and probabilities themselves are recorded under these names.
pub fn particles<B: Backend>(
    metrics: &mut Metrics<B>,
    particles: Tensor<B, 3>,
    scores: Tensor<B, 2>,
    weights: &ParticleWeights<B>,
) {
    metrics.record("particles", particles.clone());
    metrics.record("scores", scores.clone());
    metrics.record("probabilities", weights.probabilities.clone());
    let within = scores.clone();
    metrics.push_detail("q_std_within", move || std(within.clone(), 1).mean());
    metrics.push_detail("q_std_between", move || {
        std(scores.clone().mean_dim(1), 0).reshape([1])
    });
    metrics.push_detail("particle_spread", move || std(particles.clone(), 1).mean());
    metrics.push_mean("weight_kl", weights.kl.clone());
    metrics.push_mean("weight_effective", weights.effective.clone());
}

/// Adds the mean square of the `noise` `[batch, action_dim]` that a denoiser is to predict:
/// `target_noise_square`, about 1 where it is noise that was added.
pub fn target_noise<B: Backend>(metrics: &mut Metrics<B>, noise: Tensor<B, 2>) {
    metrics.record("target_noise", noise.clone());
    metrics.push_detail("target_noise_square", move || {
        (noise.clone() * noise.clone()).mean()
    });
}

#[cfg(test)]
mod tests {
    use burn::backend::{Flex, flex::FlexDevice};

    use super::*;

    #[test]
    fn spreads_are_those_of_the_definitions() {
        let scores = Tensor::<Flex, 2>::from_data([[0.0, 2.0], [4.0, 8.0]], &FlexDevice);
        let of = Tensor::from_data([[[0.0], [1.0]], [[0.0], [0.0]]], &FlexDevice);
        let temperature = Tensor::from_data([1.0], &FlexDevice);
        let weights = ParticleWeights::softmax(scores.clone(), temperature);
        let mut metrics = Metrics::default();
        particles(&mut metrics, of, scores, &weights);
        let found = metrics.read_details();
        // Within: 1 and 2; between: means 1 and 6; spreads 0.5 and 0.
        let expected = [
            ("q_std_within", 1.5),
            ("q_std_between", 2.5),
            ("particle_spread", 0.25),
        ];
        for ((name, value), (expected_name, expected)) in found.iter().zip(expected) {
            assert_eq!(name, expected_name);
            assert!((value - expected).abs() < 1e-6, "{name}: {value}");
        }
    }
}
