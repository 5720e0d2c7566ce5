//! Every sampler recovers a known mixture when the exact denoiser stands in for the network.

use burn::backend::{Flex, flex::FlexDevice};
use burn::tensor::{Tensor, TensorData};
use rescore_diffusion::{Integrator, NoiseSchedule, Sampler, ScheduleKind, VariancePreserving};
use rescore_kernels::{NoiseKey, Precision};

const DEVICE: FlexDevice = FlexDevice;

/// Centres and shares of the four modes, and the standard deviation of each.
const MEANS: [[f64; 2]; 4] = [[0.6, 0.6], [-0.6, 0.6], [0.6, -0.6], [-0.6, -0.6]];
const SHARES: [f64; 4] = [0.4, 0.3, 0.2, 0.1];
const STD: f64 = 0.1;

const COUNT: usize = 4000;

type Point = [f64; 2];

/// The continuous process of the tests.
const VP: VariancePreserving = VariancePreserving {
    beta_0: 0.1,
    beta_1: 20.0,
    end: 1e-3,
    grid_power: 2.0,
    time_scale: 100.0,
};

/// The expectation of the noise in `x` at the level `alpha`, `sigma`: what a perfect network predicts.
fn exact_noise(x: Point, alpha: f64, sigma: f64) -> Point {
    let variance = alpha * alpha * STD * STD + sigma * sigma;
    let logarithms = [0, 1, 2, 3].map(|k| {
        let [dx, dy] = [0, 1].map(|i| x[i] - alpha * MEANS[k][i]);
        f64::ln(SHARES[k]) - (dx * dx + dy * dy) / (2.0 * variance)
    });
    let largest = logarithms.iter().copied().fold(f64::MIN, f64::max);
    let weights = logarithms.map(|l| (l - largest).exp());
    let sum: f64 = weights.iter().sum();
    [0, 1].map(|i| {
        let clean =
            |k: usize| MEANS[k][i] + alpha * STD * STD / variance * (x[i] - alpha * MEANS[k][i]);
        let clean: f64 = (0..4).map(|k| weights[k] / sum * clean(k)).sum();
        (x[i] - alpha * clean) / sigma
    })
}

fn points(tensor: &Tensor<Flex, 2>) -> Vec<Point> {
    let values: Vec<f64> = tensor.to_data().iter::<f64>().collect();
    values.as_chunks::<2>().0.to_vec()
}

/// Samples of the exact denoiser at the `(alpha, sigma)` that `level` gives of the time that a network
/// is told.
fn samples(sampler: &Sampler, level: impl Fn(f64) -> (f64, f64), seed: u64) -> Vec<Point> {
    let predict = |time: f64, x: Tensor<Flex, 2>| {
        let (alpha, sigma) = level(time);
        let noise = points(&x).into_iter().map(|x| exact_noise(x, alpha, sigma));
        let values: Vec<f32> = noise.flatten().map(|e| e as f32).collect();
        Tensor::from_data(TensorData::new(values, [COUNT, 2]), &DEVICE)
    };
    let noise = sampler.noise::<Flex>(NoiseKey::new(seed, "chain"), 0);
    let samples = sampler.sample_by([COUNT, 1, 2], &DEVICE, predict, &noise, |_| {});
    points(&samples.clamp(-1.0, 1.0).squeeze_dim(1))
}

fn exact_samples(seed: u64) -> Vec<Point> {
    let key = NoiseKey::new(seed, "exact");
    let sample = |row| {
        let mut choice = f64::from(key.uniform(row, 0, 1));
        let mode = SHARES.iter().position(|share| {
            choice -= share;
            choice < 0.0
        });
        // The shares add up to 1 up to rounding.
        let mean = MEANS[mode.unwrap_or(3)];
        let [x, y, ..] = key.normals(row, 0, 0, 0);
        [mean[0] + STD * f64::from(x), mean[1] + STD * f64::from(y)]
    };
    (0..COUNT as u32).map(sample).collect()
}

/// Mean over 64 directions of the Wasserstein-1 distance of the projections of two sets.
fn distance(a: &[Point], b: &[Point]) -> f64 {
    let along = |points: &[Point], angle: f64| {
        let (y, x) = angle.sin_cos();
        let mut projected: Vec<f64> = points.iter().map(|p| p[0] * x + p[1] * y).collect();
        projected.sort_by(f64::total_cmp);
        projected
    };
    let of = |number: u32| {
        let angle = f64::from(number) * std::f64::consts::PI / 64.0;
        let pairs = along(a, angle).into_iter().zip(along(b, angle));
        pairs.map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
    };
    (0..64).map(of).sum::<f64>() / 64.0
}

/// The largest error of a mode's share, and the standard deviation of a coordinate about its mode.
fn modes(points: &[Point]) -> (f64, f64) {
    let square = |p: &Point, mean: &Point| (p[0] - mean[0]).powi(2) + (p[1] - mean[1]).powi(2);
    let (mut counts, mut squares) = ([0.0; 4], [0.0; 4]);
    for point in points {
        let (k, nearest) = (MEANS.iter().map(|mean| square(point, mean)).enumerate())
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .expect("there are modes");
        counts[k] += 1.0;
        squares[k] += nearest / 2.0;
    }
    let error = (0..4).map(|k| (counts[k] / points.len() as f64 - SHARES[k]).abs());
    let variance: f64 = (0..4)
        .map(|k| squares[k] / f64::max(counts[k], 1.0) / 4.0)
        .sum();
    (error.fold(0.0, f64::max), variance.sqrt())
}

/// A sampler with a number of steps, and the levels of its times.
type Made = (Sampler, Box<dyn Fn(f64) -> (f64, f64)>);

fn discrete(steps: usize, make: fn(&NoiseSchedule, f32, Precision) -> Sampler) -> Made {
    let schedule = NoiseSchedule::new(ScheduleKind::Cosine, steps, 1.0);
    let sampler = make(&schedule, 1.0, Precision::F32);
    let level = move |t: f64| {
        let t = t as usize;
        (
            schedule.sqrt_alpha_bar(t),
            schedule.sqrt_one_minus_alpha_bar(t),
        )
    };
    (sampler, Box::new(level))
}

fn continuous(steps: usize, integrator: Option<Integrator>) -> Made {
    let sampler = match integrator {
        None => Sampler::euler_maruyama(&VP, steps, Precision::F32),
        Some(integrator) => Sampler::of_sde(&VP, steps, integrator, true),
    };
    let level = |time: f64| {
        let t = time / VP.time_scale;
        (VP.alpha(t), VP.sigma(t))
    };
    (sampler, Box::new(level))
}

/// Bounds on the distance are a third above the largest of twenty seeds of an independent
/// implementation; two exact sets of this size are 0.01 apart.
fn recovers(name: &str, bound: f64, make: impl Fn(usize) -> Made) {
    let exact = exact_samples(1);
    let of = |steps| {
        let (sampler, level) = make(steps);
        samples(&sampler, level, 2)
    };
    let found = of(20);
    let (share, spread) = modes(&found);
    let twenty = distance(&found, &exact);
    let five = distance(&of(5), &exact);
    println!(
        "{name}: distance {twenty:.4}, at 5 steps {five:.4}, share {share:.3}, spread {spread:.3}"
    );
    assert!(twenty < bound, "{name}: distance {twenty}");
    assert!(share < 0.045, "{name}: a mode's share is off by {share}");
    assert!((0.065..0.125).contains(&spread), "{name}: spread {spread}");
    assert!(five > twenty, "{name}: 5 steps {five}, 20 steps {twenty}");
}

#[test]
fn ddpm_recovers_a_mixture() {
    recovers("ddpm", 0.055, |steps| discrete(steps, Sampler::ddpm));
}

#[test]
fn ddpm_with_the_larger_variance_recovers_a_mixture() {
    recovers("ddpm_large", 0.055, |steps| {
        discrete(steps, Sampler::ddpm_large)
    });
}

#[test]
fn ddim_recovers_a_mixture() {
    recovers("ddim", 0.045, |steps| discrete(steps, Sampler::ddim));
}

#[test]
fn euler_maruyama_recovers_a_mixture() {
    recovers("euler_maruyama", 0.04, |steps| continuous(steps, None));
}

#[test]
fn predictor_corrector_recovers_a_mixture() {
    let integrator = Integrator::PredictorCorrector { snr: 0.16 };
    recovers("predictor_corrector", 0.04, |steps| {
        continuous(steps, Some(integrator))
    });
}

#[test]
fn predictor_corrector_of_a_batch_recovers_a_mixture() {
    let integrator = Integrator::PredictorCorrectorBatch { snr: 0.16 };
    recovers("predictor_corrector_batch", 0.04, |steps| {
        continuous(steps, Some(integrator))
    });
}

#[test]
fn probability_flow_recovers_a_mixture() {
    recovers("probability_flow", 0.025, |steps| {
        continuous(steps, Some(Integrator::ProbabilityFlow))
    });
}

/// The chain that one kernel runs and the integrator are one sampler.
#[test]
fn euler_maruyama_as_a_chain_is_the_integrator() {
    let (chain, level) = continuous(20, None);
    let (plain, _) = continuous(20, Some(Integrator::EulerMaruyama));
    let [a, b] = [chain, plain].map(|sampler| samples(&sampler, &level, 3));
    for (a, b) in a.iter().zip(&b) {
        assert!(
            (a[0] - b[0]).abs() < 1e-4 && (a[1] - b[1]).abs() < 1e-4,
            "{a:?} {b:?}"
        );
    }
}

/// Without noise in its steps a chain is a function of its start.
#[test]
fn a_quiet_chain_differs_from_a_noisy_one() {
    let (sampler, level) = discrete(20, Sampler::ddpm);
    let [noisy, quiet] =
        [sampler.clone(), sampler.quiet()].map(|sampler| samples(&sampler, &level, 3));
    assert_ne!(noisy, quiet);
    let (_, spread) = modes(&quiet);
    assert!(spread < 0.065, "the posterior's noise is missing: {spread}");
}

/// Levels on the device agree with those of the host, near the data as well, where `1 - alpha^2`
/// cancels.
#[test]
fn levels_on_the_device_are_those_of_the_host() {
    let times = [1e-3_f32, 2e-3, 0.05, 0.4, 1.0];
    let levels = VP.levels(&Tensor::<Flex, 1>::from_floats(times, &DEVICE));
    let [alpha, sigma] = levels.map(|level| level.into_data().to_vec::<f32>().expect("f32"));
    for (i, t) in times.iter().enumerate() {
        let (exact_alpha, exact_sigma) = (VP.alpha(f64::from(*t)), VP.sigma(f64::from(*t)));
        assert!(
            (f64::from(alpha[i]) / exact_alpha - 1.0).abs() < 2e-6,
            "alpha at {t}"
        );
        assert!(
            (f64::from(sigma[i]) / exact_sigma - 1.0).abs() < 2e-6,
            "sigma at {t}"
        );
    }
}
