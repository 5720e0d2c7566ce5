//! Value heads and ensembles against f64, on both CPU backends.

use burn::{
    backend::{Flex, NdArray},
    tensor::{Tensor, TensorData, activation::softmax, backend::Backend},
};
use proptest::prelude::*;
use rescore_critics::{Critics, Head, Support};
use rescore_kernels::{Activation, Combine, NoiseKey, RescoreBackend};
use rescore_nn::{Initializer, Shape, freeze, input_gradient, leaves};

const MEMBERS: usize = 3;
const BATCH: usize = 6;
const DIMS: [usize; 2] = [4, 2];

fn tensor<B: Backend, const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<B, D> {
    let values: Vec<f32> = values.iter().map(|x| *x as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &B::Device::default())
}

fn normals<B: Backend, const D: usize>(name: &str, shape: [usize; D]) -> Tensor<B, D> {
    let mut values = vec![0.0; shape.iter().product()];
    NoiseKey::new(0, name).fill_normals(&mut values, shape[D - 1], 0, 0, 0);
    Tensor::from_data(TensorData::new(values, shape), &B::Device::default())
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

#[track_caller]
fn assert_close(actual: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: number of values");
    for (i, (a, b)) in actual.iter().zip(expected).enumerate() {
        let error = (a - b).abs() / b.abs().max(1.0);
        assert!(error <= tolerance, "{what}: value {i} is {a}, not {b}");
    }
}

/// Each atom gets of every probability the more the nearer it is: the triangular kernel.
fn projected(support: Support, probabilities: &[f64], returns: &[f64]) -> Vec<f64> {
    let [low, high] = support.bounds();
    let spacing = (high - low) / (support.atoms() - 1) as f64;
    let atom = |k: usize| low + k as f64 * spacing;
    let mass = |k: usize| {
        let pairs = probabilities.iter().zip(returns);
        let parts = pairs.map(|(p, y)| {
            let distance = (y.clamp(low, high) - atom(k)).abs() / spacing;
            p * (1.0 - distance).max(0.0)
        });
        parts.sum()
    };
    (0..support.atoms()).map(mass).collect()
}

prop_compose! {
    fn support()(
        low in -20.0..10.0_f64,
        width in 0.5..30.0_f64,
        atoms in 2_usize..60,
    ) -> Support {
        Support::new([low, low + width], atoms).expect("an interval")
    }
}

fn check_projection<B: Backend>(support: Support, masses: &[f64], returns: &[f64]) {
    let sum: f64 = masses.iter().sum();
    let probabilities: Vec<f64> = masses.iter().map(|m| m / sum).collect();
    let shape = [1, masses.len()];
    let found = support.project::<B>(tensor(&probabilities, shape), tensor(returns, shape));
    assert_eq!(found.dims(), [1, support.atoms()]);
    let found = values(found);
    let expected = projected(support, &probabilities, returns);
    // A return and the ends are rounded to f32; in distances of atoms that is more.
    let [low, high] = support.bounds();
    let spacing = (high - low) / (support.atoms() - 1) as f64;
    let rounding = 2.0_f64.powi(-23) * low.abs().max(high.abs()) / spacing;
    assert_close(&found, &expected, 1e-5 + 2.0 * rounding, "mass");
    assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-5);
    assert!(found.iter().all(|mass| *mass >= -1e-6));
}

proptest! {
    #[test]
    fn projection_is_the_triangular_kernel(
        support in support(),
        pairs in prop::collection::vec((0.01..1.0_f64, -40.0..40.0_f64), 1..40),
    ) {
        let (masses, returns): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        check_projection::<Flex>(support, &masses, &returns);
        check_projection::<NdArray>(support, &masses, &returns);
    }
}

/// What is not a number stays visible, and in its own row.
fn bad_returns_are_not_hidden<B: Backend>() {
    let support = Support::new([-1.0, 1.0], 3).expect("an interval");
    let probabilities = tensor::<B, 2>(&[0.5, 0.5, 0.5, 0.5], [2, 2]);
    let returns = tensor(&[0.0, 0.5, f64::NAN, 0.5], [2, 2]);
    let found = values(support.project(probabilities, returns));
    assert_close(&found[..3], &[0.0, 0.75, 0.25], 1e-6, "good row");
    assert!(found[3..].iter().any(|mass| mass.is_nan()), "{found:?}");
}

#[test]
fn bad_returns_are_not_hidden_on_both() {
    bad_returns_are_not_hidden::<Flex>();
    bad_returns_are_not_hidden::<NdArray>();
}

/// Distributions `[members, rows, atoms]` of three members and two rows; in the second row the first
/// and the last member have equal expectations.
fn lowest_and_mean<B: Backend>() {
    let support = Support::new([0.0, 2.0], 3).expect("an interval");
    let distributions = tensor::<B, 3>(
        &[
            0.0, 0.5, 0.5, 0.5, 0.0, 0.5, //
            0.5, 0.5, 0.0, 0.0, 0.0, 1.0, //
            0.0, 0.0, 1.0, 0.0, 1.0, 0.0,
        ],
        [3, 2, 3],
    );
    let expectations = values(support.expectation(distributions.clone()));
    assert_close(&expectations, &[1.5, 1.0, 0.5, 2.0, 2.0, 1.0], 1e-6, "mean");
    let lowest = support.lowest_member(distributions.clone());
    assert_eq!(values(lowest.float()), [1.0, 0.0], "a tie takes the first");
    let min = values(support.combined(Combine::Min, distributions.clone()));
    assert_close(&min, &[0.5, 0.5, 0.0, 0.5, 0.0, 0.5], 0.0, "lowest");
    let mean = values(support.combined(Combine::Mean, distributions));
    let third = 1.0 / 3.0;
    let expected = [
        0.5 * third,
        third,
        1.5 * third,
        0.5 * third,
        third,
        1.5 * third,
    ];
    assert_close(&mean, &expected, 1e-6, "mean of members");
}

#[test]
fn one_distribution_of_several() {
    lowest_and_mean::<Flex>();
    lowest_and_mean::<NdArray>();
}

fn shapes() -> [Shape; 3] {
    [
        Shape::Mlp {
            hidden_dims: vec![7, 5],
            activation: Activation::Mish,
            initializer: Initializer::LecunNormal,
        },
        Shape::Residual {
            width: 6,
            blocks: 1,
            head_gain: 1.0,
        },
        Shape::BatchNormMlp {
            hidden_dims: vec![7, 5],
        },
    ]
}

fn heads() -> [Head; 2] {
    let support = Support::new([-3.0, 5.0], 9).expect("an interval");
    [Head::Scalar, Head::Categorical(support)]
}

fn all_critics<B: Backend>() -> Vec<Critics<B>> {
    let (key, device) = (NoiseKey::new(3, "critics"), B::Device::default());
    let heads = heads().into_iter();
    heads
        .flat_map(|head| {
            let init = |shape| Critics::init(DIMS, MEMBERS, &shape, head, key, &device);
            shapes().map(init)
        })
        .collect()
}

fn pairs<B: Backend>(name: &str) -> [Tensor<B, 2>; 2] {
    let part = |what: &str, dim| normals(&format!("{name} {what}"), [BATCH, dim]);
    [part("observations", DIMS[0]), part("actions", DIMS[1])]
}

/// Values are outputs, or expectations of their softmax; what is combined is the values.
fn values_are_expectations<B: RescoreBackend>() {
    for critics in all_critics::<B>() {
        let [observations, actions] = pairs::<B>("a");
        let outputs = critics.outputs(observations.clone(), actions.clone());
        assert_eq!(outputs.dims(), [MEMBERS, BATCH, critics.head.outputs()]);
        let expected: Vec<f64> = match critics.head {
            Head::Scalar => values(outputs),
            Head::Categorical(support) => {
                let atoms = values(support.locations::<B>(&B::Device::default()));
                let probabilities = values(softmax(outputs, 2));
                let rows = probabilities.chunks(atoms.len());
                rows.map(|row| row.iter().zip(&atoms).map(|(p, z)| p * z).sum())
                    .collect()
            }
        };
        let found = values(critics.values(observations.clone(), actions.clone()));
        assert_close(&found, &expected, 1e-5, "value");
        for combine in [Combine::Min, Combine::Mean] {
            let of_row = |row: usize| {
                let members = (0..MEMBERS).map(|member| expected[member * BATCH + row]);
                match combine {
                    Combine::Min => members.fold(f64::INFINITY, f64::min),
                    Combine::Mean => members.sum::<f64>() / MEMBERS as f64,
                }
            };
            let expected: Vec<f64> = (0..BATCH).map(of_row).collect();
            let (o, a) = (observations.clone(), actions.clone());
            let combined = critics.combined(combine, o.clone(), a.clone());
            assert_close(&values(combined), &expected, 1e-5, "combined");
            let scores = critics.score_actions(combine, o, a);
            assert_close(&values(scores), &expected, 1e-5, "score");
        }
    }
}

/// By central differences in f32: good to about 1e-3.
fn actions_have_their_gradient<B: RescoreBackend>() {
    for critics in all_critics::<B>() {
        let [observations, actions] = pairs::<B>("a");
        let frozen = freeze::<B, _>(&critics);
        let (_, gradient) = input_gradient(actions.clone(), |actions| {
            frozen.combined(
                Combine::Mean,
                Tensor::from_inner(observations.clone()),
                actions,
            )
        });
        let gradient = values(gradient);
        let step = 1e-2;
        for column in 0..DIMS[1] {
            let mut direction = vec![0.0; BATCH * DIMS[1]];
            direction
                .iter_mut()
                .skip(column)
                .step_by(DIMS[1])
                .for_each(|x| *x = step);
            let direction = tensor::<B, 2>(&direction, [BATCH, DIMS[1]]);
            let at = |actions| {
                let combined = critics.combined(Combine::Mean, observations.clone(), actions);
                values(combined)
            };
            let above = at(actions.clone() + direction.clone());
            let below = at(actions.clone() - direction);
            for (row, (above, below)) in above.iter().zip(&below).enumerate() {
                let (found, rise) = (
                    gradient[row * DIMS[1] + column],
                    (above - below) / 2.0 / step,
                );
                // rectifiers may bend within the step
                let close = (found - rise).abs() < 5e-3 * rise.abs().max(1.0);
                let bends = !matches!(critics.network, rescore_nn::Network::Mlp(_));
                assert!(
                    close || bends && (found - rise).abs() < 0.3,
                    "{found}, {rise}"
                );
            }
        }
    }
}

/// One pass over both halves: for networks without norms over the batch what two passes give, for
/// those with them a pass in training mode over all rows.
fn a_joint_pass_sees_both_halves<B: RescoreBackend>() {
    for critics in all_critics::<B>() {
        let [now, then] = ["a", "b"].map(pairs::<B>);
        let joint = critics.joint(now.clone(), then.clone());
        let (trained, statistics) = critics.trained_outputs(now.clone(), then.clone());
        let bootstrap = critics.bootstrap_outputs(now.clone(), then.clone());
        assert_close(
            &values(trained),
            &values(joint.current.clone()),
            1e-6,
            "now",
        );
        assert_close(
            &values(bootstrap),
            &values(joint.next.clone()),
            1e-6,
            "then",
        );
        let [observations, actions] = now.clone();
        let alone = values(critics.outputs(observations, actions));
        let mut moved = critics.clone();
        statistics.put_into(&mut moved);
        let before = leaves(&critics).into_iter().map(|leaf| values(leaf.2));
        let after = leaves(&moved).into_iter().map(|leaf| values(leaf.2));
        if critics.network.has_batch_statistics() {
            assert!(before.ne(after), "the statistics moved");
            assert_ne!(values(joint.current.clone()), alone);
            // Other pairs in the second half change the first.
            let other = critics.joint(now, pairs("c"));
            assert_ne!(values(other.current), values(joint.current));
        } else {
            assert!(before.eq(after), "there are no statistics");
            assert_close(&values(joint.current), &alone, 1e-6, "now alone");
        }
    }
}

/// Actions of several particles: row by row what single actions give, and the best is the first of
/// the largest.
fn particles_are_scored_one_by_one<B: RescoreBackend>() {
    let particles = 4;
    for critics in all_critics::<B>() {
        let [observations, _] = pairs::<B>("a");
        let actions = normals::<B, 3>("particles", [BATCH, particles, DIMS[1]]);
        let scores = critics.score(Combine::Min, observations.clone(), actions.clone());
        assert_eq!(scores.dims(), [BATCH, particles]);
        let scores = values(scores);
        for particle in 0..particles {
            let own = actions.clone().narrow(1, particle, 1).squeeze_dim(1);
            let single = critics.score_actions(Combine::Min, observations.clone(), own);
            let column: Vec<f64> = scores
                .iter()
                .skip(particle)
                .step_by(particles)
                .copied()
                .collect();
            assert_close(&column, &values(single), 1e-5, "score");
        }
        let best = values(critics.best(Combine::Min, observations, actions.clone()));
        let actions = values(actions);
        for (row, best) in best.chunks(DIMS[1]).enumerate() {
            let own = &scores[row * particles..][..particles];
            let first = (0..particles).fold(0, |best, i| if own[i] > own[best] { i } else { best });
            let action = &actions[(row * particles + first) * DIMS[1]..][..DIMS[1]];
            let clipped: Vec<f64> = action.iter().map(|a| a.clamp(-1.0, 1.0)).collect();
            assert_close(best, &clipped, 1e-6, "best");
        }
    }
}

macro_rules! on_both_backends {
    ($($name:ident),* $(,)?) => {
        mod flex {
            $(#[test]
            fn $name() {
                super::$name::<super::Flex>();
            })*
        }
        mod ndarray {
            $(#[test]
            fn $name() {
                super::$name::<super::NdArray>();
            })*
        }
    };
}

on_both_backends!(
    values_are_expectations,
    actions_have_their_gradient,
    a_joint_pass_sees_both_halves,
    particles_are_scored_one_by_one,
);
