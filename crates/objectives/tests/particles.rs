//! Weights of particles, and reverse samples within the action bounds, against f64.

use burn::{
    backend::Flex,
    tensor::{Tensor, TensorData},
};
use rescore_kernels::NoiseKey;
use rescore_objectives::{
    particles::{ParticleWeights, add_noise, kl_temperature_gradient},
    reverse::{noise_bounds, truncated_reverse_samples},
};

fn tensor<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<Flex, D> {
    let values: Vec<f32> = values.iter().map(|x| *x as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

fn values<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f64> {
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

/// Standard deviation of each action dimension over the particles of a state, mean variance over
/// states; of one particle a state, over the states.
fn deviations(particles: &Tensor<Flex, 3>) -> Vec<f64> {
    let [states, count, dim] = particles.dims();
    let all = values(particles.clone());
    let groups = if count == 1 { 1 } else { states };
    let size = states * count / groups;
    let variance = |d: usize| -> f64 {
        let of_group = |group: usize| -> f64 {
            let own: Vec<f64> = (0..size)
                .map(|i| all[(group * size + i) * dim + d])
                .collect();
            let mean = own.iter().sum::<f64>() / size as f64;
            own.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (size - 1) as f64
        };
        (0..groups).map(of_group).sum::<f64>() / groups as f64
    };
    (0..dim).map(|d| variance(d).sqrt()).collect()
}

/// Noise fills the spread of a narrow dimension up and leaves a wide one to the noise that every
/// dimension has. 4000 states tell a standard deviation to about a hundredth of it.
#[test]
fn noise_fills_the_spread_of_each_dimension_up() {
    let normals = |seed, count: usize| {
        let mut normals = vec![0.0; 4000 * count * 2];
        NoiseKey::new(seed, "normals").fill_normals(&mut normals, 2, 0, 0, 0);
        Tensor::<Flex, 3>::from_data(
            TensorData::new(normals, [4000, count, 2]),
            &Default::default(),
        )
    };
    let own = tensor(&[0.05, 0.2], [1, 1, 2]);
    for (count, sizes, expected) in [
        (4, (0.02, 0.1), [0.1, 0.0404_f64.sqrt()]),
        (4, (0.1, 0.1), [0.0125_f64.sqrt(), 0.05_f64.sqrt()]),
        (4, (0.02, 0.0), [0.0029_f64.sqrt(), 0.0404_f64.sqrt()]),
        (1, (0.02, 0.1), [0.0125_f64.sqrt(), 0.05_f64.sqrt()]),
    ] {
        let particles = normals(1, count) * own.clone();
        let noisy = add_noise(particles, normals(2, count), sizes);
        for (found, expected) in deviations(&noisy).iter().zip(expected) {
            let off = (found / expected - 1.0).abs();
            assert!(
                off < 0.03,
                "{count} particles, {sizes:?}: {found}, not {expected}"
            );
        }
    }
}

const STATES: usize = 5;
const PARTICLES: usize = 8;

/// Scores of five states; those of the first are equal, in the second one is far above.
fn scores() -> Vec<f64> {
    let mut normals = vec![0.0; STATES * PARTICLES];
    NoiseKey::new(1, "scores").fill_normals(&mut normals, PARTICLES, 0, 0, 0);
    let mut scores: Vec<f64> = normals.into_iter().map(f64::from).collect();
    scores[..PARTICLES].fill(-70.0);
    scores[PARTICLES + 3] = 60.0;
    scores
}

/// `sum p log(p K)`
fn kl(p: &[f64]) -> f64 {
    let terms = p.iter().filter(|p| **p > 0.0);
    terms.map(|p| p * (p * PARTICLES as f64).ln()).sum()
}

/// Probabilities, divergences and effective numbers of `weights` are those of `exact`, state by
/// state.
fn check(weights: ParticleWeights<Flex>, exact: impl Fn(&[f64]) -> Vec<f64>) {
    let scores = scores();
    let expected: Vec<Vec<f64>> = scores.chunks(PARTICLES).map(exact).collect();
    let weighted: Vec<f64> = expected
        .concat()
        .iter()
        .map(|p| p * PARTICLES as f64)
        .collect();
    assert_close(&values(weights.mean_one()), &weighted, 1e-5, "weight");
    assert_close(
        &values(weights.probabilities),
        &expected.concat(),
        1e-6,
        "p",
    );
    let divergences: Vec<f64> = expected.iter().map(|p| kl(p)).collect();
    assert_close(&values(weights.kl), &divergences, 1e-5, "kl");
    let effective = |p: &Vec<f64>| 1.0 / p.iter().map(|p| p * p).sum::<f64>();
    let effective: Vec<f64> = expected.iter().map(effective).collect();
    assert_close(&values(weights.effective), &effective, 1e-5, "effective");
    assert_close(
        &[effective[0], divergences[0]],
        &[PARTICLES as f64, 0.0],
        1e-9,
        "equal",
    );
}

fn input() -> Tensor<Flex, 2> {
    tensor(&scores(), [STATES, PARTICLES])
}

#[test]
fn softmax_weights_are_boltzmann_s() {
    for temperature in [0.05, 0.7, 100.0] {
        check(
            ParticleWeights::softmax(input(), tensor(&[temperature], [1])),
            |scores| {
                let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                let terms = scores.iter().map(|q| ((q - largest) / temperature).exp());
                let sum: f64 = terms.clone().sum();
                terms.map(|e| e / sum).collect()
            },
        );
    }
}

/// The threshold by bisection: the sum of what is above falls with it.
#[test]
fn linear_weights_sum_to_one() {
    for temperature in [0.05, 0.7, 100.0] {
        let exact = |scores: &[f64]| -> (Vec<f64>, f64) {
            let weights = |nu: f64| -> Vec<f64> {
                let above = scores.iter().map(|q| ((q - nu) / temperature).max(0.0));
                above.collect()
            };
            let (mut low, mut high) = (-300.0, 100.0);
            for _ in 0..200 {
                let middle = 0.5 * (low + high);
                if weights(middle).iter().sum::<f64>() > 1.0 {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            (weights(low), low)
        };
        let (weights, nu) = ParticleWeights::linear(input(), tensor(&[temperature], [1]));
        let scores = scores();
        let expected: Vec<f64> = scores.chunks(PARTICLES).map(|q| exact(q).1).collect();
        assert_close(&values(nu), &expected, 1e-5, "nu");
        check(weights, |scores| exact(scores).0);
    }
}

#[test]
fn advantage_weights_are_the_positive_part() {
    check(ParticleWeights::advantage(input()), |scores| {
        let mean = scores.iter().sum::<f64>() / PARTICLES as f64;
        let above: Vec<f64> = scores.iter().map(|q| (q - mean).max(0.0)).collect();
        let sum: f64 = above.iter().sum();
        if sum <= 1e-6 * mean.abs().max(1.0) {
            return vec![1.0 / PARTICLES as f64; PARTICLES];
        }
        above.iter().map(|a| a / sum).collect()
    });
}

#[test]
fn too_peaked_weights_raise_the_temperature() {
    let gradient = |target| {
        let kl = tensor::<1>(&[0.5, 1.5], [2]);
        values(kl_temperature_gradient(kl, target))
    };
    assert_close(&gradient(0.25), &[-0.75], 1e-6, "above the target");
    assert_close(&gradient(2.0), &[1.0], 1e-6, "below the target");
}

/// Integral of the normal density from `a` to `b` by Simpson's rule.
fn mass(a: f64, b: f64) -> f64 {
    let steps = 2000;
    let h = (b - a) / f64::from(steps);
    let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    let sum: f64 = (0..=steps)
        .map(|i| {
            let weight = match i {
                0 => 1.0,
                i if i == steps => 1.0,
                i if i % 2 == 1 => 4.0,
                _ => 2.0,
            };
            weight * density(a + f64::from(i) * h)
        })
        .sum();
    sum * h / 3.0
}

/// A sample has gone as much of the mass between the bounds as its uniform says; it lies within
/// them, and noise and clean action belong together.
#[test]
fn reverse_samples_are_those_of_the_truncated_kernel() {
    let uniforms = [1e-4, 0.1, 0.5, 0.93, 0.9999];
    let mut rows = Vec::new();
    for rho in [0.003, 0.05, 0.099, 0.11, 0.8, 3.0] {
        for action in [-1.0, -0.3, 0.98, 1.0] {
            for noise in [-2.5, 0.2, 3.0] {
                rows.push([action, noise, rho]);
            }
        }
    }
    let column = |i: usize| -> Tensor<Flex, 2> {
        let values: Vec<f64> = rows.iter().map(|row| row[i]).collect();
        tensor(&values, [rows.len(), 1])
    };
    let shape = [rows.len(), uniforms.len(), 1];
    let all = uniforms.repeat(rows.len());
    let [low, high] = noise_bounds(column(0), column(1), column(2)).map(values);
    let samples = truncated_reverse_samples(column(0), column(1), column(2), tensor(&all, shape));
    let (noise, clean) = (values(samples.noise), values(samples.clean));
    for (i, uniform) in all.iter().enumerate() {
        let row = i / uniforms.len();
        let [action, added, rho] = rows[row];
        let (n, x) = (noise[i], clean[i]);
        let at = format!("rho {rho}, action {action}, noise {added}, uniform {uniform}");
        assert!((-1.0..=1.0).contains(&x), "{at}: action {x}");
        let (low, high) = (low[row], high[row]);
        assert!(low - 1e-6 <= n && n <= high + 1e-6, "{at}: noise {n}");
        assert!(
            (rho * (x - action) - (added - n)).abs() < 1e-5,
            "{at}: {x}, {n}"
        );
        // in terms of the clean action, whose range is the same for all
        let from = added + rho * (action - x);
        let gone = mass(low, from) / mass(low, high);
        let slope = {
            let density = (-0.5 * from * from).exp() / std::f64::consts::TAU.sqrt();
            rho * density / mass(low, high)
        };
        let off = (gone - uniform) / slope.max(1e-3);
        assert!(off.abs() < 1e-3, "{at}: at {gone} of the mass, {off} off");
    }
}
