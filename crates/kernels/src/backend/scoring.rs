//! Choosing among particles by the values of an ensemble of critics.

use burn::tensor::{Int, Tensor, backend::Backend};

use crate::{Layer, RescoreBackend, Stack, dense::dense};

/// One value from those of several critics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Combine {
    /// The smallest (Fujimoto et al. 2018, clipped double Q-learning).
    Min,
    /// The mean.
    Mean,
}

impl Combine {
    /// `[rows]` from the values of all members, `[members, rows]`.
    pub fn values<B: Backend>(self, values: Tensor<B, 2>) -> Tensor<B, 1> {
        let combined = match self {
            Self::Min => values.min_dim(0),
            Self::Mean => values.mean_dim(0),
        };
        combined.squeeze_dim(0)
    }
}

/// Actions that were chosen among particles.
#[derive(Debug, Clone)]
pub struct Sampled<B: Backend> {
    /// The best particle of every state, clipped to [-1, 1], `[states, action_dim]`.
    pub actions: Tensor<B, 2>,
    /// Its index, `[states]`.
    pub indices: Tensor<B, 1, Int>,
    /// The scores of all particles, `[states, particles]`.
    pub scores: Tensor<B, 2>,
}

/// `[states, particles, dim]` as rows `[states * particles, dim]`.
pub fn flatten_particles<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 2> {
    let [states, particles, dim] = x.dims();
    x.reshape([states * particles, dim])
}

/// Rows `[states * particles, dim]` as `[states, particles, dim]`.
pub fn unflatten_particles<B: Backend>(x: Tensor<B, 2>, states: usize) -> Tensor<B, 3> {
    let [rows, dim] = x.dims();
    x.reshape([states, rows / states, dim])
}

/// All members on all particles, `[members, states * particles]`: the observation's part of layer 1
/// is computed once a state.
fn values_of_particles<B: RescoreBackend>(
    critics: &Stack<B>,
    observations: Tensor<B, 2>,
    actions: Tensor<B, 3>,
) -> Tensor<B, 2> {
    let [states, observation_dim] = observations.dims();
    let [_, particles, action_dim] = actions.dims();
    let first = &critics.layers[0];
    let [members, _, hidden] = first.weight.dims();
    let rows = |from: usize, to: usize| first.weight.clone().slice([0..members, from..to]);
    let of_observation = Layer {
        weight: rows(0, observation_dim),
        bias: first.bias.clone(),
    };
    let of_action = Layer {
        weight: rows(observation_dim, observation_dim + action_dim),
        bias: first.bias.zeros_like(),
    };
    let per_state = dense(observations.unsqueeze_dim(0), &of_observation, None);
    let actions = flatten_particles(actions).unsqueeze_dim(0);
    let per_particle = dense(actions, &of_action, None);
    let first = per_particle.reshape([members, states, particles, hidden])
        + per_state.reshape([members, states, 1, hidden]);
    critics
        .forward_after_first(first.reshape([members, states * particles, hidden]))
        .reshape([members, states * particles])
}

/// The default body of [`RescoreBackend::score`].
pub(crate) fn score<B: RescoreBackend>(
    critics: &Stack<B>,
    combine: Combine,
    observations: Tensor<B, 2>,
    actions: Tensor<B, 3>,
) -> Tensor<B, 2> {
    let [states, particles, _] = actions.dims();
    let values = values_of_particles(critics, observations, actions);
    combine.values(values).reshape([states, particles])
}

/// The default body of [`RescoreBackend::best`].
pub(crate) fn best<B: Backend>(actions: Tensor<B, 3>, scores: Tensor<B, 2>) -> Sampled<B> {
    let [states, particles, dim] = actions.dims();
    let indices = argmax_lowest(scores.clone());
    let gather = indices
        .clone()
        .reshape([states, 1, 1])
        .expand([states, 1, dim]);
    debug_assert!(particles > 0);
    let best = actions.gather(1, gather).reshape([states, dim]);
    Sampled {
        actions: best.clamp(-1.0, 1.0),
        indices,
        scores,
    }
}

/// Index of each row's largest value; of equal values the lowest. `[rows, columns]` to `[rows]`.
///
/// Backends differ in which of several maxima their `argmax` returns, so the position is spelled
/// out: the lowest index among the entries that equal the maximum. A row with NaN, which equals
/// nothing, gives its last index.
pub fn argmax_lowest<B: Backend>(scores: Tensor<B, 2>) -> Tensor<B, 1, Int> {
    let [rows, columns] = scores.dims();
    let device = scores.device();
    // Particles are counted in thousands at most.
    let count = i64::try_from(columns).unwrap_or(i64::MAX);
    let positions = Tensor::<B, 1, Int>::arange(0..count, &device)
        .reshape([1, columns])
        .expand([rows, columns]);
    let is_max = scores
        .clone()
        .equal(scores.max_dim(1).expand([rows, columns]));
    positions
        .mask_fill(is_max.bool_not(), count - 1)
        .min_dim(1)
        .reshape([rows])
}

#[cfg(test)]
mod tests {
    use burn::backend::{Flex, NdArray};

    use super::*;

    fn ties<B: Backend>() {
        let scores = Tensor::<B, 2>::from_floats(
            [
                [1.0, 3.0, 3.0, 2.0],
                [5.0, 5.0, 5.0, 5.0],
                [0.0, -1.0, -2.0, 7.0],
                [f32::NEG_INFINITY, 0.0, f32::INFINITY, f32::INFINITY],
            ],
            &B::Device::default(),
        );
        let indices: Vec<i64> = argmax_lowest(scores).into_data().iter::<i64>().collect();
        assert_eq!(indices, [1, 0, 3, 2]);
    }

    #[test]
    fn of_equal_scores_the_lowest_index_wins() {
        ties::<Flex>();
        ties::<NdArray>();
    }
}
