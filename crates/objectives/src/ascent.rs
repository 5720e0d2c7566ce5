//! Actions that climb the critics.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use rescore_critics::Critics;
use rescore_kernels::{Combine, RescoreBackend, flatten_particles, unflatten_particles};
use rescore_nn::{AdamSettings, TensorAdam, clip_by_norm, freeze, input_gradient};

/// Added to the length of a gradient, so that a flat critic moves nothing.
const EPSILON: f64 = 1e-8;

/// `particles` `[states, count, action_dim]` of which every second one, from the first on, has moved
/// by `size sqrt(action_dim)` in the direction of the gradient of the combined value by the action,
/// clipped to [-1, 1]. The others stay, so that weights by score decide whether the move helped.
/// Critics are constant; no derivative passes through the particles.
pub fn climb<B: RescoreBackend>(
    critics: &Critics<B>,
    observations: Tensor<B, 2>,
    particles: Tensor<B, 3>,
    (combine, size): (Combine, f64),
) -> Tensor<B, 3> {
    let [states, count, action_dim] = particles.dims();
    let [_, observation_dim] = observations.dims();
    let device = particles.device();
    let climbing = count.div_ceil(2);
    let even = indices(&device, (0..count).step_by(2));
    let odd = indices(&device, (1..count).step_by(2));

    let observations = observations.unsqueeze_dim::<3>(1);
    let observations = observations.expand([states, climbing, observation_dim]);
    let observations = Tensor::from_inner(flatten_particles(observations));
    let actions = flatten_particles(particles.clone().select(1, even));
    let frozen = freeze(critics);
    let (_, gradient) = input_gradient(actions.clone(), |actions| {
        frozen.combined(combine, observations, actions)
    });
    let length = (gradient.clone() * gradient.clone()).sum_dim(1).sqrt();
    let direction = gradient / length.add_scalar(EPSILON);
    let step = size * (action_dim as f64).sqrt();
    let moved = (actions + direction.mul_scalar(step)).clamp(-1.0, 1.0);
    let moved = unflatten_particles(moved, states);
    if count == 1 {
        return moved;
    }
    let all = Tensor::cat(vec![moved, particles.select(1, odd)], 1);
    // Back to where they were: even places hold those that moved.
    let place = |i: usize| {
        if i.is_multiple_of(2) {
            i / 2
        } else {
            climbing + i / 2
        }
    };
    all.select(1, indices(&device, (0..count).map(place)))
}

fn indices<B: Backend>(device: &B::Device, of: impl Iterator<Item = usize>) -> Tensor<B, 1, Int> {
    let values: Vec<i32> = of.map(|i| i as i32).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// How [`improve`] moves actions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Improvement {
    /// Steps.
    pub steps: usize,
    /// Learning rate of Adam.
    pub learning_rate: f64,
    /// Added to the root of Adam's second moment.
    pub epsilon: f64,
    /// The gradient of the whole batch is scaled down to a norm of this times the number of action
    /// dimensions.
    pub clip_ratio: f64,
}

/// `actions` `[batch, action_dim]` after steps of a fresh Adam up the gradient of their combined value,
/// clipped to [-1, 1] after each, and the norms of the gradients before clipping, `[steps]` (Yang et
/// al. 2023, DIPO). Critics are constant.
///
/// # Panics
/// Without a step.
pub fn improve<B: RescoreBackend>(
    (critics, combine): (&Critics<B>, Combine),
    observations: Tensor<B, 2>,
    mut actions: Tensor<B, 2>,
    how: Improvement,
) -> (Tensor<B, 2>, Tensor<B, 1>) {
    let [_, action_dim] = actions.dims();
    let settings = AdamSettings {
        epsilon: how.epsilon,
        ..AdamSettings::default()
    };
    let mut adam = TensorAdam::new(&actions, settings);
    let observations = Tensor::from_inner(observations);
    let frozen = freeze(critics);
    let limit = how.clip_ratio * action_dim as f64;
    let norms = (0..how.steps)
        .map(|_| {
            let (_, gradient) = input_gradient(actions.clone(), |actions| {
                let values = frozen.combined(combine, observations.clone(), actions);
                values.neg()
            });
            let mut gradient = [gradient];
            let norm = clip_by_norm(&mut gradient, limit);
            adam.step(&mut actions, &gradient[0], how.learning_rate);
            actions = actions.clone().clamp(-1.0, 1.0);
            norm
        })
        .collect();
    (actions, Tensor::cat(norms, 0))
}
