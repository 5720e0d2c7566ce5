//! Policies: the weighted denoising loss, the plain chain, and the choice among particles.

use anyhow::{Context as _, Result, ensure};
use burn::tensor::{Int, Tensor, backend::Backend};
use rescore_critics::Critics;
use rescore_diffusion::{NoiseSchedule, Sampler, ScheduleKind};
use rescore_kernels::{
    Activation, ChainNoise, Combine, Precision, RescoreBackend, Sampled, chain, unflatten_particles,
};
use rescore_nn::value_and_grad;
use rescore_objectives::rsm::{DenoisingRows, clipped_denoising_loss};

use super::{
    networks::{denoiser, twins},
    results::Results,
};
use crate::parity::{
    fixture::Fixture,
    pieces::{given_noise, values},
};

/// The cosine schedule of `steps` steps.
pub fn cosine(steps: usize) -> NoiseSchedule {
    NoiseSchedule::new(ScheduleKind::Cosine, steps, 1.0)
}

/// Particles first, as the files have them, or last again.
fn swapped<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    x.swap_dims(0, 1)
}

/// Times `[K, n]` as rows of states, each of `K` particles.
pub fn state_major_times<B: Backend>(
    fixture: &mut Fixture,
    name: &str,
    device: &B::Device,
) -> Result<Tensor<B, 1, Int>> {
    let all = fixture.array(name)?;
    ensure!(all.shape.len() == 2, "{name} should have rank 2");
    let (count, states) = (all.shape[0], all.shape[1]);
    let by_state = (0..states).flat_map(|b| (0..count).map(move |k| k * states + b));
    let times: Vec<i32> = by_state.map(|i| all.values[i] as i32).collect();
    Ok(Tensor::from_ints(times.as_slice(), device))
}

/// `loss.{mlp,simba}`
pub fn losses<B: RescoreBackend>(
    fixture: &mut Fixture,
    results: &mut Results,
    device: &B::Device,
) -> Result<()> {
    let schedule = cosine(fixture.size("T_loss")?);
    let particles = |fixture: &mut Fixture, name: &str| -> Result<Tensor<B, 3>> {
        Ok(swapped(fixture.tensor(name, device)?))
    };
    let [actions, noise] = ["loss.action", "loss.noise"].map(|name| particles(fixture, name));
    let (actions, noise) = (actions?, noise?);
    let [states, count, dim] = actions.dims();
    let times = state_major_times(fixture, "loss.t", device)?;
    let weights: Tensor<B, 2> = fixture.tensor("loss.weights", device)?;
    let limit = fixture.array("loss.clip")?.values[0];
    let rows = DenoisingRows::of_particles(
        fixture.tensor("loss.obs", device)?,
        actions,
        times,
        noise,
        weights.transpose(),
    );
    let noisy = schedule.add_noise(rows.actions.clone(), rows.times.clone(), rows.noise.clone());
    let particles_first = |rows: Tensor<B, 2>| swapped(rows.reshape([states, count, dim]));
    results.tensor(("loss", "x_t"), particles_first(noisy.clone()));
    for kind in ["mlp", "simba"] {
        let policy = denoiser::<B>(fixture, kind, device)?;
        let group = &format!("loss.{kind}");
        let DenoisingRows {
            observations,
            times,
            ..
        } = rows.clone();
        let prediction = policy.forward(observations, noisy.clone(), times, schedule.num_steps());
        results.tensor((group, "pred"), particles_first(prediction));
        let (loss, gradient, ()) = value_and_grad(&policy, |policy| {
            let rows = rows.clone();
            (clipped_denoising_loss(policy, &schedule, rows, limit), ())
        });
        results.tensor((group, "loss"), loss);
        results.gradient((group, "grad"), &gradient);
    }
    Ok(())
}

/// `chain.{mlp,simba}`, and the choice among the particles of the first, `select`.
pub fn chains<B: RescoreBackend>(
    fixture: &mut Fixture,
    results: &mut Results,
    device: &B::Device,
) -> Result<()> {
    let observations: Tensor<B, 2> = fixture.tensor("chain.obs", device)?;
    let noise: ChainNoise<B> = given_noise(fixture, "chain.x_T", "chain.step_noise", device)?;
    let shape = fixture.array("chain.step_noise")?.shape.clone();
    let (particles, steps) = (shape[0], shape[1]);
    let sampler = Sampler::ddpm(&cosine(steps), 1.0, Precision::F32);
    let (coefficients, times) = sampler.chain().context("a chain")?;
    for kind in ["mlp", "simba"] {
        let policy = denoiser::<B>(fixture, kind, device)?;
        let group = &format!("chain.{kind}");
        let actions = sampler.sample(&policy, observations.clone(), particles, &noise);
        let actions = actions.clamp(-1.0, 1.0);
        results.tensor((group, "final"), swapped(actions.clone()));
        let Some(network) = policy.chain_network(times, Precision::F32) else {
            continue;
        };
        let ChainNoise::Given { start, .. } = &noise else {
            anyhow::bail!("the files hold explicit noise");
        };
        let [states, ..] = start.dims();
        let mut visited = vec![start.clone()];
        chain::denoise(
            &network,
            observations.clone(),
            particles,
            coefficients,
            &noise,
            |_, x, _| {
                visited.push(unflatten_particles(x.clone(), states));
            },
        );
        let visited: Tensor<B, 4> = Tensor::stack(visited, 0);
        results.tensor((group, "x"), visited.permute([2, 0, 1, 3]));
        select(fixture, results, &observations, actions)?;
    }
    Ok(())
}

/// `select`
fn select<B: RescoreBackend>(
    fixture: &mut Fixture,
    results: &mut Results,
    observations: &Tensor<B, 2>,
    actions: Tensor<B, 3>,
) -> Result<()> {
    let device = &observations.device();
    let noise = swapped(fixture.tensor::<B, 3>("select.sel_noise", device)?);
    let sigma = fixture.array("select.sigma")?.values[0];
    let particles = (actions + noise.mul_scalar(sigma)).clamp(-1.0, 1.0);
    results.tensor(("select", "particles"), swapped(particles.clone()));
    let critics = Critics::scalar(twins(fixture, Activation::Relu, device)?);
    for (name, combine) in [("mean", Combine::Mean), ("min", Combine::Min)] {
        let scores = critics.score(combine, observations.clone(), particles.clone());
        let quantity = |what: &str| format!("{what}_{name}");
        results.tensor(("select", &quantity("q")), scores.clone().transpose());
        let Sampled { indices, .. } = B::best(particles.clone(), scores);
        results.exact(("select", &quantity("best")), values(indices.float()));
        let chosen = critics.best(combine, observations.clone(), particles.clone());
        results.tensor(("select", &quantity("chosen")), chosen);
    }
    Ok(())
}
