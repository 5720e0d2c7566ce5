//! `common.safetensors`: schedules, the exact probability flow, and small parts of the objectives.

use anyhow::{Context as _, Result, bail};
use burn::{
    backend::Autodiff,
    tensor::{Tensor, TensorData},
};
use rescore_diffusion::{Integrator, NoiseSchedule, Sampler, ScheduleKind, VariancePreserving};
use rescore_diffusion::{embed_times, time_embedding};
use rescore_kernels::{ChainNoise, RescoreBackend};
use rescore_nn::clip_by_norm;
use rescore_objectives::{
    advantage::entropy_coefficient,
    expectile::{choose_by_weight, expectile_loss},
};

use super::File;
use crate::parity::{common::schedule, pieces::values};

/// The file's diffusion.
fn diffusion<B: RescoreBackend>(file: &File<'_, B>) -> Result<VariancePreserving> {
    let number = |key: &str| file.fixture.number(key).with_context(|| key.to_owned());
    Ok(VariancePreserving {
        beta_0: number("beta_0")?,
        beta_1: number("beta_1")?,
        end: number("time_end")?,
        grid_power: number("grid_power")?,
        time_scale: number("time_scale")?,
    })
}

/// Compares all arrays of the file.
pub fn check<B: RescoreBackend>(file: &mut File<'_, B>) -> Result<()> {
    let vp = diffusion(file)?;
    let inputs = [
        "vp.t",
        "flow.mean",
        "flow.std",
        "flow.x_start",
        "expectile.u",
        "expectile.c",
        "choice.weights",
        "choice.uniform",
        "entropy_coefficient.progress",
        "clip_norm.0.a",
        "clip_norm.0.b",
        "clip_norm.1.a",
        "clip_norm.1.b",
    ];
    for name in file.fixture.names("") {
        // The double-precision twin of an array has the same value.
        let plain = name.replacen("64.", ".", 1);
        let array = |file: &mut File<'_, B>, name: &str| -> Result<Vec<f64>> {
            Ok(file.fixture.array(name)?.values.clone())
        };
        let (group, part) = plain.split_once('.').with_context(|| name.clone())?;
        let found = if inputs.contains(&plain.as_str()) {
            array(file, &plain)?
        } else {
            match group {
                "schedule" => coefficients(&plain)?,
                "vp" => continuous(file, &vp, part)?,
                "flow" => flow(file, &vp, part)?,
                "expectile" => expectile(file, part)?,
                "clip_norm" => clipped(file, part)?,
                "choice" => {
                    let weights: Tensor<B, 2> =
                        file.fixture.tensor("choice.weights", file.device)?;
                    let uniform: Tensor<B, 1> =
                        file.fixture.tensor("choice.uniform", file.device)?;
                    let index = choose_by_weight(weights, uniform.unsqueeze_dim(1));
                    values(index.float())
                }
                "entropy_coefficient" => {
                    let number = |key: &str| file.fixture.number(key).context("a bound");
                    let bounds = [number("entropy_start")?, number("entropy_end")?];
                    let progress = array(file, "entropy_coefficient.progress")?;
                    let at = |progress: f64| entropy_coefficient(bounds, progress);
                    progress.into_iter().map(at).collect()
                }
                _ => bail!("{name}: no check knows this array"),
            }
        };
        let at = file.fixture.at(&name);
        let expected = array(file, &name)?;
        (file.comparison).array(&at, &found, &expected, file.tolerances.double)?;
    }
    Ok(())
}

/// `schedule.cosine_1.0_T{steps}.{coefficient}`.
fn coefficients(name: &str) -> Result<Vec<f64>> {
    let Some(rest) = name.strip_suffix(".posterior_std") else {
        return schedule(name);
    };
    let steps = rest
        .rsplit_once("_T")
        .and_then(|(_, steps)| steps.parse().ok());
    let schedule = NoiseSchedule::new(ScheduleKind::Cosine, steps.context("steps")?, 1.0);
    let steps = schedule.chain_coefficients();
    Ok(steps.iter().map(|step| step.sigma.into()).collect())
}

/// `vp.{alpha,sigma,beta,embedding}` at `vp.t`, on the host and on the device, and `vp.grid_n{n}`.
fn continuous<B: RescoreBackend>(
    file: &mut File<'_, B>,
    vp: &VariancePreserving,
    part: &str,
) -> Result<Vec<f64>> {
    if let Some(steps) = part.strip_prefix("grid_n") {
        return Ok(vp.grid(steps.parse()?));
    }
    let times = file.fixture.array("vp.t")?.values.clone();
    let on_device: Tensor<B, 1> = file.fixture.tensor("vp.t", file.device)?;
    let at = file.fixture.at(&format!("vp.{part} on the device"));
    let [alpha, sigma] = vp.levels(&on_device);
    let told: Vec<f64> = times.iter().map(|t| vp.time_scale * t).collect();
    let each = |f: &dyn Fn(f64) -> f64| times.iter().map(|t| f(*t)).collect::<Vec<_>>();
    let (host, device) = match part {
        "alpha" => (each(&|t| vp.alpha(t)), Some(values(alpha))),
        "sigma" => (each(&|t| vp.sigma(t)), Some(values(sigma))),
        "beta" => (each(&|t| vp.beta(t)), None),
        "embedding" => (
            values(time_embedding::<B>(&told, 16, file.device)),
            Some(values(embed_times(
                &on_device.mul_scalar(vp.time_scale),
                16,
            ))),
        ),
        _ => bail!("vp.{part}: no check knows this array"),
    };
    if let Some(device) = device {
        (file.comparison).array(&at, &device, &host, file.tolerances.single)?;
    }
    Ok(host)
}

/// `flow.x_end`, the exact probability flow of a Gaussian per dimension, and `flow.heun_n{n}`, the
/// sampler with the exact denoiser.
fn flow<B: RescoreBackend>(
    file: &mut File<'_, B>,
    vp: &VariancePreserving,
    part: &str,
) -> Result<Vec<f64>> {
    let mean = file.fixture.array("flow.mean")?.values.clone();
    let std = file.fixture.array("flow.std")?.values.clone();
    let start = file.fixture.array("flow.x_start")?.values.clone();
    let dim = mean.len();
    let variance = |t: f64, i: usize| (vp.alpha(t) * std[i]).powi(2) + vp.sigma(t).powi(2);
    let Some(steps) = part.strip_prefix("heun_n") else {
        let end = |(k, x): (usize, &f64)| {
            let i = k % dim;
            let ratio = (variance(vp.end, i) / variance(1.0, i)).sqrt();
            vp.alpha(vp.end) * mean[i] + (x - vp.alpha(1.0) * mean[i]) * ratio
        };
        return Ok(start.iter().enumerate().map(end).collect());
    };
    let sampler = Sampler::of_sde(vp, steps.parse()?, Integrator::ProbabilityFlow, false);
    let predict = |time: f64, x: Tensor<B, 2>| {
        let t = time / vp.time_scale;
        let shape = x.dims();
        let noise = values(x).into_iter().enumerate().map(|(k, x)| {
            let i = k % dim;
            (vp.sigma(t) * (x - vp.alpha(t) * mean[i]) / variance(t, i)) as f32
        });
        let noise: Vec<f32> = noise.collect();
        Tensor::from_data(TensorData::new(noise, shape), file.device)
    };
    let rows = start.len() / dim;
    let single: Vec<f32> = start.iter().map(|x| *x as f32).collect();
    let noise = ChainNoise::Given {
        start: Tensor::from_data(TensorData::new(single, [rows, 1, dim]), file.device),
        // Not asked for.
        steps: Tensor::zeros([1, rows, 1, dim], file.device),
    };
    let shape = [rows, 1, dim];
    Ok(values(sampler.sample_by(
        shape,
        file.device,
        predict,
        &noise,
        |_| {},
    )))
}

/// `expectile.{loss,gradient_v}` `[c, u]` of the differences `u` at the expectiles `c`, one by one.
fn expectile<B: RescoreBackend>(file: &mut File<'_, B>, part: &str) -> Result<Vec<f64>> {
    let differences = file.fixture.array("expectile.u")?.values.clone();
    let expectiles = file.fixture.array("expectile.c")?.values.clone();
    let mut found = Vec::new();
    for expectile in expectiles {
        for difference in &differences {
            // The value is 0 and the target the difference.
            let value = Tensor::<Autodiff<B>, 1>::zeros([1], file.device).require_grad();
            let target = Tensor::full([1], *difference, file.device);
            let loss = expectile_loss(target - value.clone(), expectile);
            found.extend(match part {
                "loss" => values(loss.inner()),
                "gradient_v" => {
                    let gradient = value.grad(&loss.backward());
                    values(gradient.context("the loss depends on the value")?)
                }
                _ => bail!("expectile.{part}: no check knows this array"),
            });
        }
    }
    Ok(found)
}

/// `clip_norm.{i}.{norm,clipped_a,clipped_b}`.
fn clipped<B: RescoreBackend>(file: &mut File<'_, B>, part: &str) -> Result<Vec<f64>> {
    let limit = file.fixture.number("clip_norm").context("the limit")?;
    let (number, what) = part.split_once('.').context("a number")?;
    let name = |array: &str| format!("clip_norm.{number}.{array}");
    let a: Tensor<B, 2> = file.fixture.tensor(&name("a"), file.device)?;
    let b: Tensor<B, 1> = file.fixture.tensor(&name("b"), file.device)?;
    let mut both = [a, b.unsqueeze()];
    let norm = clip_by_norm(&mut both, limit);
    let [a, b] = both;
    Ok(match what {
        "norm" => values(norm),
        "clipped_a" => values(a),
        "clipped_b" => values(b),
        _ => bail!("clip_norm.{part}: no check knows this array"),
    })
}
