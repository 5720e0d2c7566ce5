//! The combined value of an ensemble of critics for every particle, and the best particle of every
//! state.

use burn::{
    backend::{Flex, NdArray},
    tensor::{Int, Tensor, backend::Backend},
};
use proptest::prelude::*;
use rescore_kernels::{
    Activation, ChainNoise, Combine, Layer, NoiseKey, RescoreBackend, Sampled, Stack,
};

use crate::{
    ACTIVATIONS, assert_close,
    chain::{Sizes, coefficients},
    normals,
    reference::{Network, wide},
    tensor, to_vec,
};

const TOLERANCE: f64 = 1e-5;

fn critics<B: Backend>(sizes: &Sizes, members: usize, activation: Activation) -> Stack<B> {
    let mut dims = vec![sizes.observation_dim + sizes.action_dim];
    dims.extend_from_slice(&sizes.hidden);
    dims.push(1);
    let layer = |(i, pair): (usize, &[usize])| {
        let [depth, columns] = [pair[0], pair[1]];
        let scale = 1.0 / (depth as f32).sqrt();
        let weight = normals(&format!("q {i}"), members * depth * columns, scale);
        let bias = normals(&format!("q bias {i}"), members * columns, 0.3);
        Layer {
            weight: tensor(weight, [members, depth, columns]),
            bias: tensor(bias, [members, 1, columns]),
        }
    };
    Stack {
        layers: dims.windows(2).enumerate().map(layer).collect(),
        activation,
    }
}

/// The smallest or the mean value of the critics, one particle after the other.
fn naive<B: Backend>(
    critics: &Stack<B>,
    combine: Combine,
    observations: &Tensor<B, 2>,
    actions: &Tensor<B, 3>,
) -> Vec<f64> {
    let [_, observation_dim] = observations.dims();
    let [_, particles, action_dim] = actions.dims();
    let critics: Vec<_> = (0..critics.members())
        .map(|member| Network::of(critics, member))
        .collect();
    let (observations, actions) = (wide(observations), wide(actions));
    let rows = actions.chunks(action_dim).enumerate();
    rows.map(|(row, action)| {
        let observation = &observations[row / particles * observation_dim..][..observation_dim];
        let input = [observation, action].concat();
        let values = critics.iter().map(|critic| critic.forward(&input)[0]);
        match combine {
            Combine::Min => values.fold(f64::INFINITY, f64::min),
            Combine::Mean => values.sum::<f64>() / critics.len() as f64,
        }
    })
    .collect()
}

fn check_score<B: RescoreBackend>(sizes: &Sizes, members: usize) {
    for activation in ACTIVATIONS {
        let critics = critics::<B>(sizes, members, activation);
        let observations = sizes.observations::<B>();
        let shape = [sizes.states, sizes.particles, sizes.action_dim];
        let actions = tensor::<B, 3>(normals("actions", shape.iter().product(), 1.0), shape);
        for combine in [Combine::Min, Combine::Mean] {
            let expected = naive(&critics, combine, &observations, &actions);
            let scores = B::score(&critics, combine, observations.clone(), actions.clone());
            assert_eq!(scores.dims(), [sizes.states, sizes.particles]);
            let name = format!("{members} members, {activation:?}, {combine:?}");
            assert_close(&to_vec(scores), &expected, TOLERANCE, &name);
        }
    }
}

fn check_denoise_best<B: RescoreBackend>(sizes: &Sizes, members: usize, combine: Combine) {
    let network = sizes.network::<B>(Activation::Mish);
    let critics = critics::<B>(sizes, members, Activation::Mish);
    let observations = sizes.observations::<B>();
    let steps = coefficients(sizes.steps);
    let noise = ChainNoise::Counter {
        key: NoiseKey::new(5, "best"),
        counter: 1,
        start_scale: 1.0,
    };
    let (obs, particles) = (observations.clone(), sizes.particles);
    let candidates = B::denoise_chain(&network, obs.clone(), particles, &steps, &noise);
    let best = B::denoise_best(&network, &critics, combine, obs, particles, &steps, &noise);
    let expected = naive(&critics, combine, &observations, &candidates);
    assert_close(&to_vec(best.scores.clone()), &expected, TOLERANCE, "score");
    check_choice(&candidates, best.clone());
    check_choice(&candidates, B::best(candidates.clone(), best.scores));
}

/// The chosen particles of `candidates` are the first with the largest of their scores.
fn check_choice<B: Backend>(candidates: &Tensor<B, 3>, best: Sampled<B>) {
    let [states, particles, dim] = candidates.dims();
    let (scores, candidates) = (to_vec(best.scores), to_vec(candidates.clone()));
    let actions = to_vec(best.actions);
    assert_eq!(actions.len(), states * dim);
    for (state, index) in positions(best.indices).into_iter().enumerate() {
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
    fn scores_agree_with_f64(sizes in sizes(), members in 1_usize..=3) {
        check_score::<Flex>(&sizes, members);
        check_score::<NdArray>(&sizes, members);
    }

    #[test]
    fn the_best_particle_is_chosen_and_clipped(
        sizes in sizes(),
        members in 1_usize..=3,
        combine in prop::sample::select(&[Combine::Min, Combine::Mean][..]),
    ) {
        check_denoise_best::<Flex>(&sizes, members, combine);
        check_denoise_best::<NdArray>(&sizes, members, combine);
    }
}
