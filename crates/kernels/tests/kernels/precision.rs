//! What sampling in bf16 does to the actions.

use burn::backend::Flex;
use rescore_kernels::{Activation, ChainNoise, NoiseKey, Precision, RescoreBackend};

use crate::{
    chain::{Sizes, coefficients},
    to_vec,
};

/// Actions of many particles of a few states, all with the same random numbers.
fn sample(precision: Precision) -> Vec<f32> {
    let sizes = Sizes {
        states: 4,
        particles: 4096,
        steps: 20,
        hidden: vec![64, 64, 64],
        observation_dim: 17,
        action_dim: 2,
    };
    let mut network = sizes.network::<Flex>(Activation::Mish);
    network.precision = precision;
    let steps = coefficients(sizes.steps);
    let noise = ChainNoise::Counter {
        key: NoiseKey::new(5, "precision"),
        counter: 0,
        start_scale: 0.5,
    };
    let observations = sizes.observations::<Flex>();
    let actions = Flex::denoise_chain(&network, observations, sizes.particles, &steps, &noise);
    to_vec(actions)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// With the same random numbers an action moves by less than a fiftieth of its range's half; the
/// distribution of all of them does not move by what 4096 samples could show.
#[test]
fn bf16_moves_single_actions_a_little_and_their_distribution_not() {
    let (exact, rounded) = (sample(Precision::F32), sample(Precision::Bf16));
    let moved = exact
        .iter()
        .zip(&rounded)
        .map(|(a, b)| f64::from((a - b).abs()));
    let moved = mean(moved);
    assert!((1e-4..2e-2).contains(&moved), "mean move {moved}");
    for (state, (a, b)) in exact.chunks(8192).zip(rounded.chunks(8192)).enumerate() {
        for column in 0..2 {
            let column_of = |values: &[f32]| -> Vec<f64> {
                values
                    .iter()
                    .skip(column)
                    .step_by(2)
                    .map(|x| f64::from(*x))
                    .collect()
            };
            let (mut a, mut b) = (column_of(a), column_of(b));
            let (mean_a, mean_b) = (mean(a.iter().copied()), mean(b.iter().copied()));
            let spread = mean(a.iter().map(|x| (x - mean_a).powi(2))).sqrt();
            let shift = (mean_a - mean_b).abs() / spread;
            assert!(
                shift < 0.02,
                "state {state}: the mean moves by {shift} deviations"
            );
            // The first Wasserstein distance: the mean distance of the sorted values.
            a.sort_by(f64::total_cmp);
            b.sort_by(f64::total_cmp);
            let distance = mean(a.iter().zip(&b).map(|(a, b)| (a - b).abs())) / spread;
            assert!(
                distance < 0.03,
                "state {state}: apart by {distance} deviations"
            );
        }
    }
}
