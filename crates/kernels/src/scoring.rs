//! Choosing among particles by the smaller of two critics.

use burn::tensor::{Int, Tensor, backend::Backend};

use crate::{Mlp, RescoreBackend, dense::matmul};

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

/// One critic on all particles, `[states * particles]`: the observation's part of layer 1 is
/// computed once a state.
fn q_of_particles<B: RescoreBackend>(
    critic: &Mlp<B>,
    observations: Tensor<B, 2>,
    actions: Tensor<B, 3>,
) -> Tensor<B, 1> {
    let [states, observation_dim] = observations.dims();
    let [_, particles, action_dim] = actions.dims();
    let first = &critic.layers[0];
    let [_, hidden] = first.weight.dims();
    let observation_weight = first.weight.clone().slice([0..observation_dim]);
    let action_weight = first
        .weight
        .clone()
        .slice([observation_dim..observation_dim + action_dim]);
    let per_state = matmul(observations, observation_weight) + first.bias.clone().unsqueeze::<2>();
    let per_particle = matmul(flatten_particles(actions), action_weight);
    let first =
        per_particle.reshape([states, particles, hidden]) + per_state.reshape([states, 1, hidden]);
    critic
        .forward_after_first(first.reshape([states * particles, hidden]))
        .reshape([states * particles])
}

/// The default body of [`RescoreBackend::min_q`].
pub(crate) fn min_q<B: RescoreBackend>(
    [q1, q2]: [&Mlp<B>; 2],
    observations: Tensor<B, 2>,
    actions: Tensor<B, 3>,
) -> Tensor<B, 2> {
    let [states, particles, _] = actions.dims();
    let first = q_of_particles(q1, observations.clone(), actions.clone());
    let second = q_of_particles(q2, observations, actions);
    first.min_pair(second).reshape([states, particles])
}

/// Scores particles on their raw values and takes the best of every state.
pub(crate) fn select_best<B: RescoreBackend>(
    critics: [&Mlp<B>; 2],
    observations: Tensor<B, 2>,
    actions: Tensor<B, 3>,
) -> Sampled<B> {
    let [states, particles, dim] = actions.dims();
    let scores = B::min_q(critics, observations, actions.clone());
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

/// The action `[states, action_dim]` with the largest [`RescoreBackend::min_q`] among `actions`
/// `[states, particles, action_dim]` of every state, clipped to [-1, 1]; ties go to the lowest
/// index. With one particle the critics are not asked.
pub fn best_of<B: RescoreBackend>(
    critics: [&Mlp<B>; 2],
    observations: Tensor<B, 2>,
    actions: Tensor<B, 3>,
) -> Tensor<B, 2> {
    let [states, particles, dim] = actions.dims();
    if particles == 1 {
        return actions.reshape([states, dim]).clamp(-1.0, 1.0);
    }
    select_best(critics, observations, actions).actions
}

/// Index of each row's largest value; of equal values the lowest. `[rows, columns]` to `[rows]`.
///
/// Backends differ in which of several maxima their `argmax` returns, so the position is spelled
/// out: the lowest index among the entries that equal the maximum. A row with NaN, which equals
/// nothing, gives its last index.
fn argmax_lowest<B: Backend>(scores: Tensor<B, 2>) -> Tensor<B, 1, Int> {
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
