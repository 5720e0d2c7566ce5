//! How a diffusion policy is sampled: particles for acting and for updates, exploration noise before
//! the choice among them.

use burn::backend::{Flex, flex::FlexDevice};
use burn::tensor::{Tensor, TensorData};
use rescore_agents::{
    Agent as _, Batch, Draws, Settings as _, Setup, Streams,
    dpmd_reference::{Dpmd, DpmdSettings},
    settings::NetworkSettings,
};
use rescore_kernels::NoiseKey;

const DIMS: [usize; 2] = [3, 2];
const DEVICE: FlexDevice = FlexDevice;

fn configuration(particles: usize, act_particles: usize) -> DpmdSettings {
    let mut settings = DpmdSettings::fast();
    let base = &mut settings.base;
    for network in [&mut base.critic.network, &mut base.actor.network] {
        if let NetworkSettings::Mlp { hidden_dims, .. } = network {
            *hidden_dims = vec![16, 8];
        }
    }
    base.actor.denoising_steps = 4;
    base.actor.particles = particles;
    base.actor.act_particles = act_particles;
    let check = settings.check(rescore_agents::RangeCheck::default());
    check.finish().expect("valid settings");
    settings
}

fn agent(settings: &DpmdSettings) -> Dpmd<Flex> {
    let setup = Setup {
        dims: DIMS,
        seed: 1,
        updates: 100,
        pace: rescore_agents::Pace::default(),
        device: &DEVICE,
    };
    Dpmd::new(settings, &setup)
}

fn normals(name: &str, rows: usize, columns: usize) -> Tensor<Flex, 2> {
    let mut values = vec![0.0; rows * columns];
    NoiseKey::new(9, name).fill_normals(&mut values, columns, 0, 0, 0);
    Tensor::from_data(TensorData::new(values, [rows, columns]), &DEVICE)
}

fn batch(rows: usize) -> Batch<Flex> {
    Batch {
        observations: normals("observations", rows, DIMS[0]),
        actions: normals("actions", rows, DIMS[1]),
        rewards: normals("rewards", rows, 1).squeeze_dim(1),
        next_observations: normals("next observations", rows, DIMS[0]),
        terminated: Tensor::zeros([rows], &DEVICE),
    }
}

fn numbers<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

#[test]
fn acting_has_particles_of_its_own_and_updates_keep_theirs() {
    let (separate, many, few) = (
        configuration(3, 7),
        configuration(7, 0),
        configuration(3, 0),
    );
    let observations = normals("acting", 5, DIMS[0]);
    let [separate, many, few] = [separate, many, few].map(|config| {
        let mut agent = agent(&config);
        let action = numbers(agent.act(observations.clone(), 4));
        let deterministic = numbers(agent.act_deterministic(observations.clone()));
        let _ = agent.update(&batch(16));
        (action, deterministic, agent.state())
    });
    assert_eq!((&separate.0, &separate.1), (&many.0, &many.1));
    assert_eq!(separate.2, few.2, "an update depends on act_particles");
    assert_ne!(separate.0, few.0);
    assert_ne!(separate.1, few.1);
}

/// Every particle carries noise of its own, stays in bounds, and the critics see the noisy action.
#[test]
fn noise_before_the_choice_is_scored() {
    let rows = 40;
    let mut config = configuration(5, 0);
    // Noise as large as the box, so that it decides and is clipped.
    config.base.temperature.initial = 10.0;
    let agent = agent(&config);
    let (actor, critics) = (&agent.actor, &agent.critics);
    let observations = normals("acting", rows, DIMS[0]);
    let draws = Draws::updating(Streams::new(1), 0, &DEVICE);
    let chain = draws.chain("next/chain", &actor.sampler);
    let particles = actor.particles(&actor.policy, observations.clone(), &chain);
    let noise = (&draws, "next/exploration");
    let exploration = &agent.exploration;
    let chosen = exploration.choose(critics, observations.clone(), particles.clone(), noise);
    let chosen = numbers(chosen);
    let sigma = config.base.exploration.noise_scale as f32 * 10.0;
    let exploration = numbers(draws.normals("next/exploration", [rows * 5, DIMS[1]]));
    assert_eq!(exploration.len(), rows * 5 * DIMS[1]);
    let noisy: Vec<f32> = numbers(particles)
        .iter()
        .zip(&exploration)
        .map(|(action, noise)| (action + sigma * noise).clamp(-1.0, 1.0))
        .collect();
    let tensor = Tensor::from_data(TensorData::new(noisy.clone(), [rows, 5, DIMS[1]]), &DEVICE);
    let scores = numbers(critics.score(observations, tensor));
    for row in 0..rows {
        let scores = &scores[5 * row..][..5];
        let best = (0..5)
            .max_by(|a, b| scores[*a].total_cmp(&scores[*b]))
            .expect("five particles");
        let expected = &noisy[(5 * row + best) * DIMS[1]..][..DIMS[1]];
        let chosen = &chosen[row * DIMS[1]..][..DIMS[1]];
        for (a, b) in chosen.iter().zip(expected) {
            assert!((a - b).abs() < 1e-5, "row {row}: {chosen:?} {expected:?}");
        }
    }
}
