//! The smaller of two critics for every particle, and the best particle of every state.

use burn::{
    backend::{Flex, NdArray},
    tensor::{Int, Tensor, backend::Backend},
};
use proptest::prelude::*;
use rescore_kernels::{
    Activation, ChainNoise, Initializer, Mlp, NoiseKey, RescoreBackend, Sampled,
};

use crate::{
    assert_close,
    chain::{Sizes, coefficients},
    normals,
    reference::{Network, wide},
    tensor, to_vec,
};

const TOLERANCE: f64 = 1e-5;

fn critics<B: Backend>(sizes: &Sizes, activation: Activation) -> [Mlp<B>; 2] {
    let mut dims = vec![sizes.observation_dim + sizes.action_dim];
    dims.extend_from_slice(&sizes.hidden);
    dims.push(1);
    ["q1", "q2"].map(|name| {
        let key = NoiseKey::new(4, name);
        Mlp::init(
            &dims,
            activation,
            Initializer::LecunNormal,
            key,
            &B::Device::default(),
        )
    })
}

/// The smaller value of both critics, one particle after the other.
fn naive_min_q<B: Backend>(
    critics: &[Mlp<B>; 2],
    observations: &Tensor<B, 2>,
    actions: &Tensor<B, 3>,
) -> Vec<f64> {
    let [_, observation_dim] = observations.dims();
    let [_, particles, action_dim] = actions.dims();
    let critics = critics.each_ref().map(Network::of);
    let (observations, actions) = (wide(observations), wide(actions));
    actions
        .chunks(action_dim)
        .enumerate()
        .map(|(row, action)| {
            let observation = &observations[row / particles * observation_dim..][..observation_dim];
            let input = [observation, action].concat();
            let [q1, q2] = critics.each_ref().map(|critic| critic.forward(&input)[0]);
            q1.min(q2)
        })
        .collect()
}

fn check_min_q<B: RescoreBackend>(sizes: &Sizes) {
    for activation in [Activation::Mish, Activation::Gelu] {
        let critics = critics::<B>(sizes, activation);
        let observations = sizes.observations::<B>();
        let shape = [sizes.states, sizes.particles, sizes.action_dim];
        let actions = tensor::<B, 3>(normals("actions", shape.iter().product(), 1.0), shape);
        let expected = naive_min_q(&critics, &observations, &actions);
        let scores = B::min_q(critics.each_ref(), observations, actions);
        assert_eq!(scores.dims(), [sizes.states, sizes.particles]);
        assert_close(&to_vec(scores), &expected, TOLERANCE, "score");
    }
}

fn check_denoise_best<B: RescoreBackend>(sizes: &Sizes) {
    let network = sizes.network::<B>(Activation::Mish);
    let critics = critics::<B>(sizes, Activation::Mish);
    let observations = sizes.observations::<B>();
    let steps = coefficients(sizes.steps);
    let noise = ChainNoise::Counter {
        key: NoiseKey::new(5, "best"),
        counter: 1,
        start_scale: 1.0,
    };
    let (obs, particles) = (observations.clone(), sizes.particles);
    let candidates = B::denoise_chain(&network, obs.clone(), particles, &steps, &noise);
    let Sampled {
        actions,
        indices,
        scores,
    } = B::denoise_best(&network, critics.each_ref(), obs, particles, &steps, &noise);

    let expected = naive_min_q(&critics, &observations, &candidates);
    assert_close(&to_vec(scores.clone()), &expected, TOLERANCE, "score");
    let (scores, candidates) = (to_vec(scores), to_vec(candidates));
    let (actions, dim) = (to_vec(actions), sizes.action_dim);
    assert_eq!(actions.len(), sizes.states * dim);
    for (state, index) in positions(indices).into_iter().enumerate() {
        // The first of the largest among the scores that are given out.
        let own = &scores[state * particles..][..particles];
        let first = (0..particles).fold(0, |best, i| if own[i] > own[best] { i } else { best });
        assert_eq!(index, first);
        // ... and the action is that particle, clipped.
        let particle = &candidates[(state * particles + index) * dim..][..dim];
        let clipped: Vec<f64> = particle
            .iter()
            .map(|x| f64::from(x.clamp(-1.0, 1.0)))
            .collect();
        assert_close(
            &actions[state * dim..][..dim],
            &clipped,
            TOLERANCE,
            "action",
        );
    }
}

fn positions<B: Backend>(indices: Tensor<B, 1, Int>) -> Vec<usize> {
    indices
        .into_data()
        .iter::<i64>()
        .map(|i| i as usize)
        .collect()
}

prop_compose! {
    fn sizes()(
        states in 1_usize..=6,
        particles in 1_usize..=5,
        steps in 1_usize..=4,
        hidden in prop::collection::vec(1_usize..=40, 1..=3),
        observation_dim in 1_usize..=7,
        action_dim in 1_usize..=7,
    ) -> Sizes {
        Sizes { states, particles, steps, hidden, observation_dim, action_dim }
    }
}

proptest! {
    #[test]
    fn min_q_agrees_with_f64(sizes in sizes()) {
        check_min_q::<Flex>(&sizes);
        check_min_q::<NdArray>(&sizes);
    }

    #[test]
    fn the_best_particle_is_chosen_and_clipped(sizes in sizes()) {
        check_denoise_best::<Flex>(&sizes);
        check_denoise_best::<NdArray>(&sizes);
    }
}
