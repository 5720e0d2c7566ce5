//! Weights of particles and the temperature that they set.

use anyhow::Result;
use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::RescoreBackend;
use rescore_nn::{AdamSettings, TensorAdam};
use rescore_objectives::particles::{ParticleWeights, TEMPERATURE_FLOOR, kl_temperature_gradient};

use super::results::Results;
use crate::parity::{fixture::Fixture, pieces::values};

/// Scores, for which the files have the particles first.
fn scores<B: Backend>(
    fixture: &mut Fixture,
    name: &str,
    device: &B::Device,
) -> Result<Tensor<B, 2>> {
    Ok(fixture.tensor::<B, 2>(name, device)?.transpose())
}

/// `weights.{softmax,linear,advantage}`
pub fn weights<B: RescoreBackend>(
    fixture: &mut Fixture,
    results: &mut Results,
    device: &B::Device,
) -> Result<()> {
    let scores = scores::<B>(fixture, "weights.q", device)?;
    let temperature: Tensor<B, 1> = fixture.tensor("weights.lam", device)?;
    let softmax = ParticleWeights::softmax(scores.clone(), temperature.clone());
    results.tensor(("weights.softmax", "kl_mean"), softmax.kl.clone().mean());
    let (linear, nu) = ParticleWeights::linear(scores.clone(), temperature);
    results.tensor(("weights.linear", "nu"), nu);
    let advantage = ParticleWeights::advantage(scores);
    for (group, weights) in [
        ("weights.softmax", softmax),
        ("weights.linear", linear),
        ("weights.advantage", advantage),
    ] {
        results.tensor((group, "w"), weights.mean_one().transpose());
        results.tensor((group, "kl"), weights.kl);
        results.tensor((group, "ess"), weights.effective);
    }
    Ok(())
}

/// `temp.{above,below,floor}`: steps of the log temperature from the first of its expected values.
pub fn temperature<B: RescoreBackend>(
    fixture: &mut Fixture,
    results: &mut Results,
    device: &B::Device,
) -> Result<()> {
    for name in fixture.names("temp.") {
        let Some(group) = name.strip_suffix(".q") else {
            continue;
        };
        let scores = scores::<B>(fixture, &name, device)?;
        let number = |fixture: &mut Fixture, what: &str| -> Result<f64> {
            Ok(fixture.array(&format!("{group}.{what}"))?.values[0])
        };
        let target = number(fixture, "kl_target")?;
        let learning_rate = number(fixture, "lr")?;
        let expected = fixture.array(&format!("{group}.out.log_lambda"))?;
        let (start, steps) = (expected.values[0] as f32, expected.values.len() - 1);
        let mut log = Tensor::<B, 1>::from_floats([start], device);
        let mut adam = TensorAdam::new(&log, AdamSettings::default());
        let (mut kls, mut gradients) = (Vec::new(), Vec::new());
        let [mut logs, mut mus, mut nus] = [values(log.clone()), vec![0.0], vec![0.0]];
        for _ in 0..steps {
            let weights = ParticleWeights::softmax(scores.clone(), log.clone().exp());
            let gradient = kl_temperature_gradient(weights.kl.clone(), target);
            adam.step(&mut log, &gradient, learning_rate);
            log = log.clamp_min(TEMPERATURE_FLOOR.ln());
            kls.extend(values(weights.kl.mean()));
            gradients.extend(values(gradient));
            logs.extend(values(log.clone()));
            mus.extend(values(adam.mu.clone()));
            nus.extend(values(adam.nu.clone()));
        }
        results.values((group, "kl"), kls);
        results.values((group, "grad"), gradients);
        results.values((group, "log_lambda"), logs);
        results.values((group, "mu"), mus);
        results.values((group, "nu"), nus);
    }
    Ok(())
}
