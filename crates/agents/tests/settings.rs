//! What settings of DPMD and SDAC do to their updates.

use burn::backend::{Flex, flex::FlexDevice};
use burn::tensor::{Tensor, TensorData};
use rescore_agents::{
    Agent as _, Batch, Draws, Metrics, Pace, RangeCheck, Settings as _, Setup, StateDict, Streams,
    dpmd::{Dpmd, DpmdSettings},
    sdac::{Sdac, SdacSettings},
    settings::{
        NetworkSettings, OldPolicySettings, RecipeSettings, RegressionSettings,
        WeightTemperatureSettings,
    },
};
use rescore_kernels::NoiseKey;
use rescore_objectives::particles::WeightRule;

const DIMS: [usize; 2] = [3, 2];
const DEVICE: FlexDevice = FlexDevice;

/// Small networks, so that a test takes no time.
fn small(recipe: &mut RecipeSettings) {
    recipe.critic.network = NetworkSettings::Residual {
        width: 16,
        blocks: 1,
    };
    if let NetworkSettings::Mlp { hidden_dims, .. } = &mut recipe.actor.network {
        *hidden_dims = vec![16, 8];
    }
    recipe.actor.denoising_steps = 4;
}

fn settings(change: impl FnOnce(&mut DpmdSettings)) -> DpmdSettings {
    let mut settings = DpmdSettings::default();
    small(&mut settings.recipe);
    change(&mut settings);
    let check = settings.check(RangeCheck::default());
    check.finish().expect("valid settings");
    settings
}

fn setup() -> Setup<'static, Flex> {
    Setup {
        dims: DIMS,
        seed: 1,
        updates: 100,
        pace: Pace::default(),
        device: &DEVICE,
    }
}

fn agent(settings: &DpmdSettings) -> Dpmd<Flex> {
    Dpmd::new(settings, &setup())
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

fn recorded(metrics: &Metrics<Flex>, name: &str) -> Vec<f32> {
    numbers(metrics.values(name).expect("recorded in policy steps"))
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64
}

#[test]
fn acting_has_particles_of_its_own_and_updates_keep_theirs() {
    let [separate, few, others] = [(3, 7), (3, 1), (5, 1)].map(|(regression, acting)| {
        let mut agent = agent(&settings(|settings| {
            settings.regression.particles = regression;
            settings.recipe.acting.particles = acting;
        }));
        let action = numbers(agent.act(normals("acting", 5, DIMS[0]), 4));
        let _ = agent.update(&batch(16));
        (action, agent.state())
    });
    assert_ne!(separate.0, few.0);
    assert_eq!(few.0, others.0);
    assert_eq!(separate.1, few.1, "an update depends on acting.particles");
    assert_ne!(few.1, others.1);
}

/// The state after updates with these settings of the regression.
fn after(change: impl Fn(&mut RegressionSettings)) -> StateDict {
    let mut agent = agent(&settings(|settings| change(&mut settings.regression)));
    for _ in 0..3 {
        let _ = agent.update(&batch(16));
    }
    agent.state()
}

/// A step too small for 32 bits moves no particle, whatever is computed for it, and a spread that the
/// noise has already adds none.
#[test]
fn an_ascent_or_a_spread_of_nothing_changes_nothing() {
    let none = after(|_| ());
    assert_eq!(after(|regression| regression.ascent = 1e-30), none);
    assert_ne!(after(|regression| regression.ascent = 0.1), none);
    assert_eq!(after(|regression| regression.spread = 1e-30), none);
    assert_ne!(after(|regression| regression.spread = 1.5), none);
}

#[test]
fn a_solved_temperature_gives_the_divergence_that_was_asked_for() {
    for weights in [WeightRule::Softmax, WeightRule::Linear] {
        for share in [0.2, 0.48, 0.8] {
            let mut agent = agent(&settings(|settings| {
                settings.regression.weights = weights;
                let kl_share = share;
                settings.recipe.temperature = WeightTemperatureSettings::Solved { kl_share };
            }));
            for update in 0..3 {
                let metrics = agent.update(&batch(64));
                let found = mean(&recorded(&metrics, "weight_kl"));
                let target = share * 8.0_f64.ln();
                let off = (found - target).abs();
                assert!(off < 1e-4, "{weights:?}, {share}, update {update}: {off}");
            }
        }
    }
}

#[test]
fn every_rule_of_weights_runs() {
    for weights in [
        WeightRule::Softmax,
        WeightRule::Linear,
        WeightRule::Advantage,
    ] {
        for temperature in [
            WeightTemperatureSettings::Fixed { value: 0.1 },
            WeightTemperatureSettings::Solved { kl_share: 0.48 },
            WeightTemperatureSettings::Stepped {
                initial: 0.1,
                learning_rate: 1e-2,
                kl_share: 0.48,
            },
        ] {
            let mut agent = agent(&settings(|settings| {
                settings.regression.weights = weights;
                settings.recipe.temperature = temperature.clone();
            }));
            let before = agent.state();
            let metrics = agent.update(&batch(16));
            for row in recorded(&metrics, "probabilities").chunks(8) {
                let off = (row.iter().sum::<f32>() - 1.0).abs();
                assert!(off < 1e-5, "{weights:?}, {temperature:?}: {row:?}");
                assert!(row.iter().all(|p| *p >= 0.0), "{weights:?}: {row:?}");
            }
            let read = metrics.read();
            assert!(read.iter().all(|(_, x)| x.is_finite()), "{read:?}");
            assert_ne!(agent.state(), before);
        }
    }
}

/// The copy stays as it is between two refreshes and is what particles are sampled from.
#[test]
fn a_held_policy_is_renewed_when_that_is_due() {
    let held = settings(|settings| {
        settings.old_policy = OldPolicySettings::Held {
            environment_steps: 3.0,
        };
    });
    let mut agent = agent(&held);
    let of = |agent: &Dpmd<Flex>, network: &str| -> Vec<_> {
        let prefix = format!("{network}.");
        let state = agent.state().into_arrays();
        let own = state.filter_map(|(name, array)| {
            let leaf = name.strip_prefix(&prefix)?;
            Some((leaf.to_owned(), array))
        });
        own.collect()
    };
    let mut copy = of(&agent, "policy");
    assert!(!copy.is_empty());
    for update in 0..7 {
        assert_eq!(of(&agent, "old_policy"), copy, "before update {update}");
        let draws = Draws::updating(Streams::new(1), update, &DEVICE);
        let expected = {
            let (actor, batch) = (&agent.actor, batch(16));
            let old = agent.old_policy.policy(actor);
            let chain = draws.chain("chain", &actor.sampler);
            let particles = actor.sample(old, batch.observations, 8, &chain);
            let noise = draws.normals("particles", [16 * 8, DIMS[1]]);
            let noise = noise.reshape([16, 8, DIMS[1]]).mul_scalar(0.2);
            numbers((particles + noise).clamp(-1.0, 1.0))
        };
        let metrics = agent.update_with(&batch(16), &draws);
        assert_eq!(recorded(&metrics, "particles"), expected);
        if update % 3 == 0 {
            copy = of(&agent, "policy");
        }
    }
    assert_eq!(of(&agent, "old_policy"), copy);
}

/// Actions of the replay buffer carry exploration noise and may leave the bounds, to which the
/// reverse samples belong.
#[test]
fn sdac_clips_stored_actions() {
    let mut settings = SdacSettings::default();
    small(&mut settings.recipe);
    let outside = batch(32);
    let mut inside = outside.clone();
    inside.actions = inside.actions.clamp(-1.0, 1.0);
    assert_ne!(
        numbers(outside.actions.clone()),
        numbers(inside.actions.clone())
    );
    let [outside, inside] = [outside, inside].map(|batch| {
        let metrics = Sdac::new(&settings, &setup()).update(&batch);
        ["noisy_actions", "particles", "reverse_noise"].map(|name| recorded(&metrics, name))
    });
    assert_eq!(outside, inside);
    assert!(outside[1].iter().all(|a| (-1.0..=1.0).contains(a)));
}
