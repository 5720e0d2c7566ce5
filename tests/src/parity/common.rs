//! `common.safetensors`: schedules, time embedding, temperature, learning rate.

use anyhow::{Context, Result, bail};
use burn::tensor::{ElementConversion as _, backend::Backend};
use rescore_agents::{
    Setup,
    dpmd_reference::{Dpmd, DpmdSettings},
    learners::Exploration,
};
use rescore_diffusion::{NoiseSchedule, ScheduleKind, time_embedding};
use rescore_kernels::RescoreBackend;
use rescore_objectives::entropy;

use super::{Comparison, Fixture, Tolerances};

pub fn check<B: RescoreBackend>(
    fixture: &mut Fixture,
    comparison: &mut Comparison,
    tolerances: Tolerances,
    device: &B::Device,
) -> Result<()> {
    for name in fixture.names("") {
        let parts: Vec<&str> = name.split('.').collect();
        let tolerance = if parts[0].ends_with("64") {
            tolerances.double
        } else {
            tolerances.single
        };
        let computed = match parts[0] {
            "schedule" | "schedule64" => schedule(&name)?,
            "time_embedding" | "time_embedding64" => embedding::<B>(fixture, parts[1], device)?,
            "alpha" | "lr_schedule" => continue,
            _ => bail!("{name}: no check knows this array"),
        };
        let at = fixture.at(&name);
        let expected = &fixture.array(&name)?.values;
        comparison.array(&at, &computed, expected, tolerance)?;
    }
    temperature::<B>(fixture, comparison, tolerances, device)?;
    learning_rate::<B>(fixture, comparison, tolerances, device)
}

/// `schedule.{kind}_{scale}_T{steps}.{coefficient}`; the scale contains a point.
pub fn schedule(name: &str) -> Result<Vec<f64>> {
    let parse = || {
        let (_, rest) = name.split_once('.')?;
        let (setting, coefficient) = rest.rsplit_once('.')?;
        let mut setting = setting.split('_');
        let kind = match setting.next()? {
            "linear" => ScheduleKind::Linear,
            "cosine" => ScheduleKind::Cosine,
            _ => return None,
        };
        let scale: f64 = setting.next()?.parse().ok()?;
        let steps: usize = setting.next()?.strip_prefix('T')?.parse().ok()?;
        Some((NoiseSchedule::new(kind, steps, scale), coefficient))
    };
    let (schedule, coefficient) = parse().with_context(|| format!("{name}: not understood"))?;
    let each = |f: &dyn Fn(usize) -> f64| (0..schedule.num_steps()).map(f).collect();
    Ok(match coefficient {
        "betas" => schedule.betas,
        "alphas" => schedule.alphas,
        "alphas_cumprod" => schedule.alpha_bars,
        "alphas_cumprod_prev" => schedule.alpha_bars_prev,
        "sqrt_alphas_cumprod" => each(&|t| schedule.sqrt_alpha_bar(t)),
        "sqrt_one_minus_alphas_cumprod" => each(&|t| schedule.sqrt_one_minus_alpha_bar(t)),
        "log_one_minus_alphas_cumprod" => each(&|t| (1.0 - schedule.alpha_bars[t]).ln()),
        "sqrt_recip_alphas_cumprod" => each(&|t| schedule.sqrt_recip_alpha_bar(t)),
        "sqrt_recipm1_alphas_cumprod" => each(&|t| schedule.sqrt_recip_alpha_bar_minus_one(t)),
        "posterior_variance" => each(&|t| schedule.posterior_variance(t)),
        "posterior_log_variance_clipped" => each(&|t| schedule.posterior_log_variance(t)),
        "posterior_mean_coef1" => each(&|t| schedule.posterior_x0(t)),
        "posterior_mean_coef2" => each(&|t| schedule.posterior_xt(t)),
        _ => bail!("{name}: no check knows this coefficient"),
    })
}

/// `time_embedding.dim{D}` at the steps that `time_embedding.t` lists; `.t` itself is an input.
fn embedding<B: Backend>(
    fixture: &mut Fixture,
    what: &str,
    device: &B::Device,
) -> Result<Vec<f64>> {
    let times = fixture.array("time_embedding.t")?.values.clone();
    if what == "t" {
        return Ok(times);
    }
    let dim: usize = what
        .strip_prefix("dim")
        .and_then(|dim| dim.parse().ok())
        .with_context(|| format!("time_embedding.{what}: not understood"))?;
    let table = time_embedding::<B>(&times, dim, device);
    Ok(table.into_data().iter::<f64>().collect())
}

/// An agent of the published settings in a run of the published length.
fn published<B: RescoreBackend>(action_dim: usize, device: &B::Device) -> Dpmd<B> {
    let setup = Setup {
        dims: [1, action_dim],
        seed: 0,
        updates: 200_000,
        pace: rescore_agents::Pace::default(),
        device,
    };
    Dpmd::new(&DpmdSettings::default(), &setup)
}

/// `alpha.A{A}.start{la}.log_alpha` [n + 1] before and after n Adam steps, `.grad` [n].
fn temperature<B: RescoreBackend>(
    fixture: &mut Fixture,
    comparison: &mut Comparison,
    tolerances: Tolerances,
    device: &B::Device,
) -> Result<()> {
    for name in fixture.names("alpha.") {
        let Some(stem) = name.strip_suffix(".log_alpha") else {
            // `.grad` is compared with its `.log_alpha`; anything else stays unused
            continue;
        };
        let action_dim: usize = name
            .split('.')
            .nth(1)
            .and_then(|part| part.strip_prefix('A')?.parse().ok())
            .with_context(|| format!("{name}: not understood"))?;
        let expected = fixture.array(&name)?.values.clone();
        let gradients = fixture.array(&format!("{stem}.grad"))?.values.clone();
        let mut exploration = published::<B>(action_dim, device).exploration;
        let log_value = &mut exploration.temperature.log_value;
        *log_value = log_value.full_like(expected[0]);
        let read = |exploration: &Exploration<B>| {
            let log_value = exploration.temperature.log_value.clone();
            f64::from(log_value.into_scalar().elem::<f32>())
        };
        let mut path = vec![read(&exploration)];
        let mut computed_gradients = Vec::new();
        for _ in &gradients {
            let log_value = exploration.temperature.log_value.clone();
            let entropy = entropy::exploration_entropy(log_value, 0.1, action_dim);
            let gradient = entropy::temperature_gradient(entropy, -0.9 * action_dim as f64);
            computed_gradients.push(f64::from(gradient.into_scalar().elem::<f32>()));
            exploration.step_temperature();
            path.push(read(&exploration));
        }
        let at = fixture.at(&name);
        comparison.array(&at, &path, &expected, tolerances.single)?;
        let at = fixture.at(&format!("{stem}.grad"));
        comparison.array(&at, &computed_gradients, &gradients, tolerances.single)?;
    }
    Ok(())
}

/// `lr_schedule.lr` at the policy step counts `lr_schedule.count`.
fn learning_rate<B: RescoreBackend>(
    fixture: &mut Fixture,
    comparison: &mut Comparison,
    tolerances: Tolerances,
    device: &B::Device,
) -> Result<()> {
    if !fixture.has("lr_schedule.count") {
        return Ok(());
    }
    let counts = fixture.array("lr_schedule.count")?.values.clone();
    let mut actor = published::<B>(1, device).actor;
    let rates: Vec<f64> = counts
        .iter()
        .map(|count| {
            actor.optimizer.count = *count as u64;
            actor.learning_rate()
        })
        .collect();
    let at = fixture.at("lr_schedule.lr");
    // Rates are far below 1, so the tolerance applies to them in units of the first.
    let expected = &fixture.array("lr_schedule.lr")?.values;
    let unit = expected.first().copied().unwrap_or(1.0);
    let scaled = |values: &[f64]| values.iter().map(|v| v / unit).collect::<Vec<_>>();
    comparison.array(&at, &scaled(&rates), &scaled(expected), tolerances.single)
}
