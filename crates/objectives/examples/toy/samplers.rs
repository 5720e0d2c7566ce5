//! Samplers of one denoiser, which is exact: the expectation of the noise for the target's four modes
//! inside the box.

use burn::backend::{Flex, flex::FlexDevice};
use burn::tensor::{Tensor, TensorData};
use rescore_diffusion::{Integrator, NoiseSchedule, Sampler, ScheduleKind, VariancePreserving};
use rescore_kernels::{NoiseKey, Precision};

use crate::mixture::{MODES, Mode, Point};

/// Denoising steps.
const STEPS: usize = 20;

/// Ratio of drift to noise of a corrector step.
const SNR: f64 = 0.16;

/// The modes inside the box. They are so far from its walls that the box cuts nothing off.
pub fn inner() -> &'static [Mode] {
    &MODES[..4]
}

/// The expectation of the noise in `x` at the level `alpha`, `sigma`.
fn exact_noise(x: [f64; 2], alpha: f64, sigma: f64) -> [f64; 2] {
    let variance = |mode: &Mode| (alpha * mode.std).powi(2) + sigma * sigma;
    let weights: Vec<f64> = (inner().iter())
        .map(|mode| {
            let [dx, dy] = [0, 1].map(|i| x[i] - alpha * mode.mean[i]);
            let exponent = (dx * dx + dy * dy) / (2.0 * variance(mode));
            mode.mass.ln() - variance(mode).ln() - exponent
        })
        .collect();
    let largest = weights.iter().copied().fold(f64::MIN, f64::max);
    let weights: Vec<f64> = weights.iter().map(|w| (w - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    [0, 1].map(|i| {
        let noise = |mode: &Mode| sigma * (x[i] - alpha * mode.mean[i]) / variance(mode);
        let each = inner().iter().zip(&weights);
        each.map(|(mode, weight)| weight / sum * noise(mode)).sum()
    })
}

/// `count` samples of every sampler, by its name.
pub fn all(count: usize, key: NoiseKey) -> Vec<(&'static str, Vec<Point>)> {
    let schedule = NoiseSchedule::new(ScheduleKind::Cosine, STEPS, 1.0);
    let sde = VariancePreserving {
        beta_0: 0.1,
        beta_1: 20.0,
        end: 1e-3,
        grid_power: 2.0,
        time_scale: 1.0,
    };
    let of = |integrator| Sampler::of_sde(&sde, STEPS, integrator, true);
    let discrete = |t: f64| {
        let t = t as usize;
        (
            schedule.sqrt_alpha_bar(t),
            schedule.sqrt_one_minus_alpha_bar(t),
        )
    };
    let continuous = |t: f64| (sde.alpha(t), sde.sigma(t));
    let draw = |sampler: &Sampler, level: &dyn Fn(f64) -> (f64, f64)| {
        let predict = |time: f64, x: Tensor<Flex, 2>| {
            let (alpha, sigma) = level(time);
            let values: Vec<f64> = x.to_data().iter::<f64>().collect();
            let noise = (values.as_chunks::<2>().0.iter()).map(|x| exact_noise(*x, alpha, sigma));
            let noise: Vec<f32> = noise.flatten().map(|e| e as f32).collect();
            Tensor::from_data(TensorData::new(noise, [count, 2]), &FlexDevice)
        };
        let noise = sampler.noise::<Flex>(key, 0);
        let samples = sampler.sample_by([count, 1, 2], &FlexDevice, predict, &noise, |_| {});
        let values: Vec<f32> = samples.clamp(-1.0, 1.0).to_data().iter::<f32>().collect();
        values.as_chunks::<2>().0.to_vec()
    };
    let ddpm = Sampler::ddpm(&schedule, 1.0, Precision::F32);
    let ddim = Sampler::ddim(&schedule, 1.0, Precision::F32);
    let em = Sampler::euler_maruyama(&sde, STEPS, Precision::F32);
    let pc = of(Integrator::PredictorCorrector { snr: SNR });
    let batch = of(Integrator::PredictorCorrectorBatch { snr: SNR });
    let flow = of(Integrator::ProbabilityFlow);
    vec![
        ("DDPM", draw(&ddpm, &discrete)),
        ("DDIM", draw(&ddim, &discrete)),
        ("Reverse SDE, Euler-Maruyama", draw(&em, &continuous)),
        ("Predictor-corrector", draw(&pc, &continuous)),
        (
            "Predictor-corrector, step of the batch",
            draw(&batch, &continuous),
        ),
        ("Probability flow, Heun", draw(&flow, &continuous)),
    ]
}
