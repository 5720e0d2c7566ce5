//! Checks TD3 against numbers that an independent implementation computed: three consecutive updates
//! from a stored state, described in `tests/fixtures_baselines/README.md`.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use burn::tensor::Tensor;
use rescore_agents::{
    Agent as _, Array, Batch, Draws, Given, Setup, StateDict,
    settings::NetworkSettings,
    td3::{Td3, Td3Settings},
};
use rescore_kernels::RescoreBackend;

use crate::parity::{
    Comparison, Tolerances,
    fixture::{Fixture, Index},
    pieces::values,
};

/// Checks every file in `folder` on the backend `B`; how many there were.
///
/// # Errors
/// When the folder holds no update of TD3, an array is missing, or a value deviates by more than its
/// tolerance; the message names file and array.
pub fn check<B: RescoreBackend>(folder: &Path, tolerances: Tolerances) -> Result<usize> {
    let device = B::Device::default();
    let mut comparison = Comparison::default();
    let mut files = 0;
    for (name, entry) in &Index::read(folder)?.files {
        let mut fixture = Fixture::read(folder, name, entry)?;
        if fixture.names("td3.step0.").is_empty() {
            continue;
        }
        updates::<B>(&mut fixture, &mut comparison, tolerances, &device)
            .with_context(|| name.clone())?;
        files += 1;
    }
    ensure!(files > 0, "{}: no update of TD3", folder.display());
    comparison.verdict()?;
    Ok(files)
}

fn settings(fixture: &Fixture) -> Result<Td3Settings> {
    let number = |key: &str| fixture.setting(&["settings", "td3", key]);
    let mut settings = Td3Settings {
        gamma: number("gamma")?,
        reward_scale: number("reward_scale")?,
        target_noise: number("target_noise")?,
        noise_clip: number("noise_clip")?,
        policy_delay: number("policy_delay")? as u64,
        exploration: number("exploration")?,
        tau: number("tau")?,
        ..Td3Settings::default()
    };
    settings.critic.learning_rate = number("critic_lr")?;
    settings.actor.learning_rate = number("policy_lr")?;
    let networks = [
        (&mut settings.critic.network, "critic"),
        (&mut settings.actor.network, "policy"),
    ];
    for (network, of) in networks {
        let widths = fixture.list(&["hidden", of])?;
        if let NetworkSettings::Mlp { hidden_dims, .. } = network {
            *hidden_dims = widths;
        }
    }
    Ok(settings)
}

fn updates<B: RescoreBackend>(
    fixture: &mut Fixture,
    comparison: &mut Comparison,
    tolerances: Tolerances,
    device: &B::Device,
) -> Result<()> {
    let setup = Setup {
        dims: [fixture.size("O")?, fixture.size("A")?],
        seed: 0,
        updates: 1000,
        pace: rescore_agents::Pace::default(),
        device,
    };
    let mut agent = Td3::<B>::new(&settings(fixture)?, &setup);
    let fresh = agent.state();
    agent.load_state(&state(fixture, &fresh)?)?;
    for step in 0..3 {
        let batch = |name: &str| format!("common.step{step}.batch.{name}");
        let batch = Batch {
            observations: fixture.tensor(&batch("obs"), device)?,
            actions: fixture.tensor(&batch("action"), device)?,
            rewards: fixture.tensor(&batch("reward"), device)?,
            next_observations: fixture.tensor(&batch("next_obs"), device)?,
            terminated: fixture.tensor(&batch("done"), device)?,
        };
        let z: Tensor<B, 2> = fixture.tensor(&format!("td3.step{step}.draw.z"), device)?;
        let draws = [("next".to_owned(), Given::Numbers(z))];
        let metrics = agent.update_with(&batch, &Draws::given(draws.into(), device));
        let mut compare = |name: &str, ours: &str, member: Option<usize>| -> Result<()> {
            let at = format!("td3.step{step}.out.{name}");
            if !fixture.has(&at) {
                return Ok(());
            }
            let found = metrics.values(ours).with_context(|| format!("no {ours}"))?;
            let found = values(found);
            let found = member.map_or(found.clone(), |member| vec![found[member]]);
            let expected = &fixture.array(&at)?.values;
            comparison.array(&at, &found, expected, tolerances.single)
        };
        compare("next_action", "next_actions", None)?;
        compare("q_backup", "target_mean", None)?;
        compare("q1_loss", "q{}_loss", Some(0))?;
        compare("q2_loss", "q{}_loss", Some(1))?;
        compare("policy_loss", "policy_loss", None)?;
        // After the first update, in files that have more than the last state.
        if step == 0 && !fixture.names("td3.state1.").is_empty() {
            compare_state(
                fixture,
                comparison,
                1,
                &agent.state(),
                tolerances.first_state,
            )?;
        }
    }
    compare_state(
        fixture,
        comparison,
        3,
        &agent.state(),
        tolerances.later_states,
    )
}

/// Our name of a network or moment of the files, and which member it is.
fn ours(name: &str) -> Result<(String, usize)> {
    let member = usize::from(name.contains("q2"));
    let network = match name.split('.').next().unwrap_or_default() {
        "q1" | "q2" => "critics",
        "target_q1" | "target_q2" => "target_critics",
        "opt_q1" | "opt_q2" => "critic_optimizer",
        "opt_policy" => "policy_optimizer",
        known @ ("policy" | "target_policy") => known,
        _ => bail!("no check knows {name}"),
    };
    let moment = name.split_once('.').map_or("", |(_, rest)| rest);
    let dot = if moment.is_empty() { "" } else { "." };
    Ok((format!("{network}{dot}{moment}"), member))
}

/// The leaves of the network or moment `name` in `state`, sorted by the names of the files.
fn leaves(state: &StateDict, name: &str) -> Vec<(String, Vec<usize>)> {
    let prefix = format!("{name}.");
    let mut found: Vec<_> = state
        .iter()
        .filter_map(|(leaf, array)| match array {
            Array::F32(shape, _) => {
                let rest = leaf.strip_prefix(&prefix)?;
                let simple = !rest.starts_with("mu.") && !rest.starts_with("nu.");
                simple.then(|| (leaf.to_owned(), shape.clone()))
            }
            Array::U64(_) => None,
        })
        .collect();
    // `.b` before `.w`, as `bias` before `weight`.
    found.sort();
    found
}

/// The state that the file begins with, in the form of `fresh`.
fn state(fixture: &mut Fixture, fresh: &StateDict) -> Result<StateDict> {
    let mut state = fresh.clone();
    let step = fixture.array("common.state0.step")?.values[0];
    state.insert("updates", Array::U64(step as u64));
    let sources = [
        ("common.state0.", "q1"),
        ("common.state0.", "q2"),
        ("td3.state0.", "policy"),
        ("common.state0.", "target_q1"),
        ("common.state0.", "target_q2"),
        ("td3.state0.", "target_policy"),
    ];
    for (prefix, name) in sources {
        let online = name.strip_prefix("target_").unwrap_or(name);
        // An absent target is a copy.
        let has_own = fixture.has(&format!("{prefix}{name}")) || name == online;
        let source = if has_own { name } else { online };
        put(fixture, &mut state, &format!("{prefix}{source}"), name)?;
    }
    for (prefix, name) in [
        ("common.state0.", "opt_q1"),
        ("common.state0.", "opt_q2"),
        ("td3.state0.", "opt_policy"),
    ] {
        let count = format!("{prefix}{name}.count");
        if !fixture.has(&count) {
            continue;
        }
        let (ours, _) = ours(name)?;
        let count = fixture.array(&count)?.values[0];
        state.insert(format!("{ours}.count"), Array::U64(count as u64));
        for moment in ["mu", "nu"] {
            let of = format!("{name}.{moment}");
            put(fixture, &mut state, &format!("{prefix}{of}"), &of)?;
        }
    }
    Ok(state)
}

/// Puts what the file has under `source`, one vector or leaf by leaf, into our network `name`.
fn put(fixture: &mut Fixture, state: &mut StateDict, source: &str, name: &str) -> Result<()> {
    let (network, member) = ours(name)?;
    let mut flat = fixture
        .has(source)
        .then(|| fixture.array(source).map(|array| array.values.clone()))
        .transpose()?
        .map(Vec::into_iter);
    for (leaf, shape) in leaves(state, &network) {
        let count = shape[1] * shape[2];
        let new: Vec<f64> = if let Some(flat) = &mut flat {
            flat.by_ref().take(count).collect()
        } else {
            let leaf = leaf[network.len()..].replace("weight", "w");
            let leaf = leaf.replace("bias", "b");
            fixture.array(&format!("{source}{leaf}"))?.values.clone()
        };
        ensure!(new.len() == count, "{source}: {leaf} has another size");
        let Some(Array::F32(_, values)) = state.get(&leaf) else {
            bail!("the agent has no {leaf}");
        };
        let mut values = values.clone();
        for (to, from) in values[member * count..].iter_mut().zip(new) {
            *to = from as f32;
        }
        state.insert(leaf, Array::F32(shape, values));
    }
    Ok(())
}

/// Compares state `index` of the file with `state`.
fn compare_state(
    fixture: &mut Fixture,
    comparison: &mut Comparison,
    index: usize,
    state: &StateDict,
    tolerance: f64,
) -> Result<()> {
    let prefix = format!("td3.state{index}.");
    let names = fixture.names(&prefix);
    ensure!(names.len() > 10, "{prefix}* is missing");
    for name in names {
        let quantity = &name[prefix.len()..];
        let expected = fixture.array(&name)?.values.clone();
        let counter = match quantity.strip_suffix(".count") {
            Some(optimizer) => Some(format!("{}.count", ours(optimizer)?.0)),
            None => (quantity == "step").then(|| "updates".to_owned()),
        };
        let found = if let Some(counter) = counter {
            vec![state.counter(&counter)? as f64]
        } else {
            let (network, member) = ours(quantity)?;
            let mut all = Vec::new();
            for (leaf, shape) in leaves(state, &network) {
                let count = shape[1] * shape[2];
                if let Some(Array::F32(_, values)) = state.get(&leaf) {
                    let values = &values[member * count..][..count];
                    all.extend(values.iter().map(|x| f64::from(*x)));
                }
            }
            all
        };
        let at = fixture.at(&name);
        comparison.array(&at, &found, &expected, tolerance)?;
        if matches!(quantity.rsplit('.').next(), Some("mu" | "nu")) {
            // Small numbers pass any absolute test.
            let largest = expected.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
            let scale = |values: &[f64]| values.iter().map(|x| x / largest).collect::<Vec<_>>();
            if largest > 0.0 {
                let (found, expected) = (scale(&found), scale(&expected));
                comparison.array(&format!("{at} (scaled)"), &found, &expected, 1e-4)?;
            }
        }
    }
    Ok(())
}
