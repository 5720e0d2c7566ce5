//! Reverse samples within the action bounds, and SDAC's loss by them.

use anyhow::Result;
use burn::tensor::{Tensor, TensorData};
use rescore_critics::Critics;
use rescore_kernels::{Activation, Combine, RescoreBackend};
use rescore_nn::value_and_grad;
use rescore_objectives::{
    particles::ParticleWeights,
    reverse::{noise_bounds, truncated_reverse_samples},
    rsm,
};

use super::{
    actor::cosine,
    networks::{denoiser, twins},
    results::Results,
};
use crate::parity::fixture::Fixture;

/// `tn`: one sample for each of many steps, actions, noises and uniforms.
pub fn table<B: RescoreBackend>(
    fixture: &mut Fixture,
    results: &mut Results,
    device: &B::Device,
) -> Result<()> {
    let column = |fixture: &mut Fixture, name: &str| -> Result<Tensor<B, 2>> {
        Ok(fixture.tensor::<B, 1>(name, device)?.unsqueeze_dim(1))
    };
    let alpha_bars = fixture.array("tn.alpha_bar")?.values.clone();
    let rho = alpha_bars.iter().map(|a| (a / (1.0 - a)).sqrt() as f32);
    let shape = [alpha_bars.len(), 1];
    let rho = Tensor::<B, 2>::from_data(TensorData::new(rho.collect(), shape), device);
    let actions = column(fixture, "tn.action")?;
    let noise = column(fixture, "tn.noise1")?;
    let uniforms = column(fixture, "tn.uniform")?.unsqueeze_dim(1);
    let [low, high] = noise_bounds(actions.clone(), noise.clone(), rho.clone());
    let samples = truncated_reverse_samples(actions, noise, rho, uniforms);
    results.tensor(("tn", "lo"), low);
    results.tensor(("tn", "hi"), high);
    results.tensor(("tn", "noise"), samples.noise);
    results.tensor(("tn", "clean"), samples.clean);
    Ok(())
}

/// `sdac`
pub fn sdac<B: RescoreBackend>(
    fixture: &mut Fixture,
    results: &mut Results,
    device: &B::Device,
) -> Result<()> {
    let group = "sdac";
    let schedule = cosine(fixture.size("T_sdac")?);
    let observations: Tensor<B, 2> = fixture.tensor("sdac.obs", device)?;
    let actions: Tensor<B, 2> = fixture.tensor("sdac.action", device)?;
    let noise: Tensor<B, 2> = fixture.tensor("sdac.noise1", device)?;
    let times = fixture.integers::<B>("sdac.t", device)?;
    let uniforms: Tensor<B, 2> = fixture.tensor("sdac.uniform", device)?;
    let ([states, dim], [rows, _]) = (actions.dims(), uniforms.dims());
    let count = rows / states;
    let uniforms = uniforms.reshape([states, count, dim]);

    let noisy = schedule.add_noise(actions.clone(), times.clone(), noise.clone());
    let rho = schedule.signal_to_noise(times.clone());
    let [low, high] = noise_bounds(actions.clone(), noise.clone(), rho.clone());
    let samples = truncated_reverse_samples(actions, noise, rho, uniforms);
    results.tensor((group, "x_t"), noisy.clone());
    results.tensor((group, "lo"), low);
    results.tensor((group, "hi"), high);
    results.tensor((group, "reverse_noise"), samples.noise.clone());
    results.tensor((group, "clean_action"), samples.clean.clone());

    let critics = Critics::scalar(twins(fixture, Activation::Relu, device)?);
    let scores = critics.score(Combine::Mean, observations.clone(), samples.clean);
    results.tensor((group, "sample_q"), scores.clone());
    let weights = ParticleWeights::softmax(scores, fixture.tensor("sdac.lam", device)?);
    results.tensor((group, "weights"), weights.probabilities.clone());
    results.tensor((group, "kl"), weights.kl);
    let target = rsm::mean_noise(samples.noise.clone(), weights.probabilities.clone());
    results.tensor((group, "target_noise"), target.clone());

    let policy = denoiser::<B>(fixture, "mlp", device)?;
    let (loss, gradient, prediction) = value_and_grad(&policy, |policy| {
        let prediction = policy.forward(
            Tensor::from_inner(observations),
            Tensor::from_inner(noisy),
            Tensor::from_inner(times),
            schedule.num_steps(),
        );
        let loss = rsm::regression_loss(prediction.clone(), target);
        (loss, prediction.inner())
    });
    results.tensor((group, "pred"), prediction.clone());
    results.tensor((group, "loss"), loss);
    results.gradient((group, "grad"), &gradient);
    // The error of all samples as the reference implementation has it, over their number.
    let prediction = Tensor::from_inner(prediction);
    let error = rsm::noise_error(prediction, samples.noise, weights.probabilities).inner();
    results.tensor((group, "loss_weighted"), error.mul_scalar(count as f64));
    Ok(())
}
