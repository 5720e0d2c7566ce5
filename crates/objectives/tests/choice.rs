//! Expectiles, choices by weight and by advantage, and actions that climb the critics.

use burn::backend::{Autodiff, Flex, flex::FlexDevice};
use burn::tensor::{Tensor, TensorData};
use rescore_critics::{Critics, Head};
use rescore_kernels::{Activation, Combine, NoiseKey};
use rescore_nn::{Initializer, Shape};
use rescore_objectives::advantage::{best_advantage, entropy_coefficient};
use rescore_objectives::ascent::{Improvement, improve};
use rescore_objectives::expectile::{choose_by_weight, expectile_loss, expectile_weights};

const DEVICE: FlexDevice = FlexDevice;

fn row(values: &[f32]) -> Tensor<Flex, 1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &DEVICE)
}

fn numbers<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// The value at which the loss is least has as much weighted distance to the targets above it as to
/// those below.
#[test]
fn the_least_expectile_loss_is_the_expectile() {
    let targets = [-1.0_f32, 0.0, 0.5, 3.0];
    for expectile in [0.1, 0.5, 0.8, 0.99] {
        let loss = |value: f32| {
            let difference = row(&targets.map(|target| target - value));
            numbers(expectile_loss(difference, expectile))[0]
        };
        let grid = (0..=4000).map(|i| -1.0 + i as f32 * 1e-3);
        let least = grid
            .min_by(|a, b| loss(*a).total_cmp(&loss(*b)))
            .expect("a grid");
        let weighted = |sign: f32| -> f64 {
            let distances = targets.iter().map(|target| sign * (target - least));
            distances.filter(|d| *d > 0.0).map(f64::from).sum()
        };
        let (above, below) = (
            expectile * weighted(1.0),
            (1.0 - expectile) * weighted(-1.0),
        );
        assert!(
            (above - below).abs() < 0.01,
            "{expectile}: {above} {below} at {least}"
        );
    }
}

#[test]
fn the_expectile_loss_has_the_gradient_of_its_differences() {
    let (differences, expectile) = ([-0.7_f32, 0.2, 1.5], 0.8);
    let values = Tensor::<Autodiff<Flex>, 1>::from_data([0.0, 0.0, 0.0], &DEVICE).require_grad();
    let targets = Tensor::from_inner(row(&differences));
    let loss = expectile_loss(targets - values.clone(), expectile);
    let gradient = numbers(values.grad(&loss.backward()).expect("a gradient"));
    for (i, found) in gradient.into_iter().enumerate() {
        let at = |step: f32| {
            let mut moved = differences;
            moved[i] -= step;
            numbers(expectile_loss(row(&moved), expectile))[0]
        };
        let exact = (at(1e-3) - at(-1e-3)) / 2e-3;
        assert!((found - exact).abs() < 1e-3, "{i}: {found} {exact}");
    }
    let weights = numbers(expectile_weights(row(&differences), expectile));
    for (found, exact) in weights.into_iter().zip([0.2, 0.8, 0.8]) {
        assert!((found - exact).abs() < 1e-6);
    }
}

/// The shares of the indices that many uniform numbers select are those of the weights.
#[test]
fn candidates_are_chosen_in_proportion_to_their_weights() {
    let count = 2000;
    let weights = [0.3_f32, 0.7, 0.7, 0.3];
    let rows = Tensor::<Flex, 2>::from_data([weights], &DEVICE).repeat_dim(0, count);
    let uniform: Vec<f32> = (0..count)
        .map(|i| (i as f32 + 0.5) / count as f32)
        .collect();
    let uniform = Tensor::from_data(TensorData::new(uniform, [count, 1]), &DEVICE);
    let chosen = numbers(choose_by_weight(rows, uniform).float());
    for (index, weight) in weights.into_iter().enumerate() {
        let share = chosen
            .iter()
            .filter(|i| (**i - index as f64).abs() < 0.5)
            .count() as f64
            / count as f64;
        assert!(
            (share - f64::from(weight) / 2.0).abs() < 2e-3,
            "{index}: {share}"
        );
    }
    // The ends.
    let weights = Tensor::<Flex, 2>::from_data([weights, weights], &DEVICE);
    let ends = Tensor::from_data([[0.0], [1.0]], &DEVICE);
    assert_eq!(numbers(choose_by_weight(weights, ends).float()), [0.0, 3.0]);
    let single = Tensor::<Flex, 2>::from_data([[0.7]], &DEVICE);
    let half = Tensor::from_data([[0.5]], &DEVICE);
    assert_eq!(numbers(choose_by_weight(single, half).float()), [0.0]);
}

#[test]
fn the_best_advantage_is_the_distance_from_the_mean() {
    let scores = Tensor::<Flex, 2>::from_data([[1.0, 4.0, 1.0], [2.0, 2.0, 2.0]], &DEVICE);
    let found = best_advantage(scores);
    assert_eq!(numbers(found.value), [2.0, 2.0]);
    assert_eq!(numbers(found.weight), [2.0, 0.0]);
    for (progress, exact) in [(0.0, 0.02), (0.5, 0.01), (0.95, 0.002), (1.0, 0.002)] {
        let found = entropy_coefficient([0.02, 0.002], progress);
        assert!((found - exact).abs() < 1e-12, "{progress}: {found}");
    }
}

/// Values rise in every row, actions stay within the bounds, and the norms are of the gradients before
/// they are clipped: they do not depend on the limit in the first step.
#[test]
fn improved_actions_are_better_and_within_the_bounds() {
    let shape = Shape::Mlp {
        hidden_dims: vec![24, 24],
        activation: Activation::Mish,
        initializer: Initializer::LecunNormal,
    };
    let key = NoiseKey::new(3, "critics");
    let critics = Critics::<Flex>::init([4, 3], 2, &shape, Head::Scalar, key, &DEVICE);
    let draw = |name: &str, columns: usize| -> Tensor<Flex, 2> {
        let mut values = vec![0.0; 16 * columns];
        NoiseKey::new(5, name).fill_normals(&mut values, columns, 0, 0, 0);
        Tensor::from_data(TensorData::new(values, [16, columns]), &DEVICE)
    };
    let (observations, actions) = (draw("observations", 4), draw("actions", 3).clamp(-0.9, 0.9));
    let how = Improvement {
        steps: 20,
        learning_rate: 0.03,
        epsilon: 1e-5,
        clip_ratio: 0.1,
    };
    let of = |how| {
        let judges = (&critics, Combine::Min);
        improve(judges, observations.clone(), actions.clone(), how)
    };
    let (better, norms) = of(how);
    assert_eq!(norms.dims(), [20]);
    let value = |actions: Tensor<Flex, 2>| {
        numbers(critics.combined(Combine::Min, observations.clone(), actions))
    };
    let pairs = value(actions.clone())
        .into_iter()
        .zip(value(better.clone()));
    for (before, after) in pairs {
        assert!(after > before, "{before} {after}");
    }
    assert!(numbers(better).iter().all(|a| a.abs() <= 1.0));
    let (_, unclipped) = of(Improvement {
        clip_ratio: 100.0,
        ..how
    });
    let [a, b] = [norms, unclipped].map(|norms| numbers(norms)[0]);
    assert!((a - b).abs() < 1e-6 && a > 0.3, "{a} {b}");
}
