//! The samplers in continuous time, step by step.

use anyhow::{Result, ensure};
use burn::tensor::Tensor;
use rescore_diffusion::{Denoiser, Integrator, Sampler};
use rescore_kernels::{Activation, ChainNoise, RescoreBackend};
use rescore_nn::Network;

use super::{File, algorithms::score_sde};
use crate::parity::pieces::values;

/// Compares every array `score_sde.sampler.*`: the start and the state after each step.
pub fn check<B: RescoreBackend>(file: &mut File<'_, B>) -> Result<()> {
    let (mish, device) = (Activation::Mish, file.device);
    let settings = score_sde(&file.fixture)?.sde;
    let (schedule, steps, snr) = (settings.schedule(), settings.steps, settings.snr);
    let trunk = file
        .fixture
        .mlp(&["common.state0.policy.l"], mish, device)?;
    let policy = Denoiser {
        time: (file.fixture).mlp(&["common.state0.policy.time"], mish, device)?,
        trunk: Network::Mlp(trunk),
    };
    let name = |name: &str| format!("common.act.draw.{name}");
    let observations: Tensor<B, 2> = file.fixture.tensor(&name("obs"), device)?;
    let start: Tensor<B, 3> = file.fixture.tensor(&name("x0"), device)?;
    let noise: Tensor<B, 4> = file.fixture.tensor(&name("noise"), device)?;
    let corrector: Tensor<B, 3> = file.fixture.tensor(&name("corrector_noise"), device)?;
    // The first of the samples, as states with one particle.
    let start: Tensor<B, 3> = start.narrow(0, 0, 1).swap_dims(0, 1);
    let noise: Tensor<B, 3> = noise.narrow(0, 0, 1).squeeze_dim(0);
    let given = |noise: Tensor<B, 3>| ChainNoise::Given {
        start: start.clone(),
        steps: noise.unsqueeze_dim(2),
    };
    // A corrector draws after all of the predictor's numbers.
    let both = given(Tensor::cat(vec![noise.clone(), corrector], 0));
    let one = given(noise);
    let of = |integrator, clipped| Sampler::of_sde(&schedule, steps, integrator, clipped);
    let samplers = [
        ("em", settings.update_sampler(), &one),
        ("em_noclip", of(Integrator::EulerMaruyama, false), &one),
        (
            "pc",
            of(Integrator::PredictorCorrector { snr }, true),
            &both,
        ),
        (
            "pc_batch",
            of(Integrator::PredictorCorrectorBatch { snr }, true),
            &both,
        ),
        ("ode", of(Integrator::ProbabilityFlow, true), &one),
    ];
    let known = file.fixture.names("score_sde.sampler.").len();
    ensure!(known == samplers.len(), "{known} samplers");
    for (name, sampler, noise) in samplers {
        let mut found = values(start.clone());
        let [rows, _] = observations.dims();
        let predict = |time: f64, x: Tensor<B, 2>| {
            let times = Tensor::full([rows], time, device);
            policy.forward_at(observations.clone(), x, &times)
        };
        let shape = [rows, 1, policy.action_dim()];
        sampler.sample_by(shape, device, predict, noise, |x| {
            found.extend(values(x.clone()));
        });
        file.compare(&format!("score_sde.sampler.{name}"), &found)?;
    }
    Ok(())
}
