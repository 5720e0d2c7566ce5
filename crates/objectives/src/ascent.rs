//! Particles that climb the critics.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use rescore_critics::Critics;
use rescore_kernels::{Combine, RescoreBackend, flatten_particles, unflatten_particles};
use rescore_nn::{freeze, input_gradient};

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
