//! Whole states of agents, between the names of the files and ours.

use anyhow::{Result, bail, ensure};
use rescore_agents::{Array, StateDict};
use rescore_kernels::RescoreBackend;

use super::{File, largest};
use crate::parity::fixture::Fixture;

/// Our name of a network or moment of the files, and which member it is.
fn ours(name: &str) -> Result<(String, usize)> {
    let member = usize::from(name.contains("q2"));
    let network = match name.split('.').next().unwrap_or_default() {
        "q1" | "q2" => "critics",
        "target_q1" | "target_q2" => "target_critics",
        "opt_q1" | "opt_q2" => "critic_optimizer",
        "opt_policy" => "policy_optimizer",
        "opt_value" => "value_optimizer",
        known @ ("policy" | "target_policy" | "value") => known,
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

/// The state that the file begins with for `algorithm`, in the form of `fresh`.
pub fn read(fixture: &mut Fixture, algorithm: &str, fresh: &StateDict) -> Result<StateDict> {
    let mut state = fresh.clone();
    let step = fixture.array("common.state0.step")?.values[0];
    state.insert("updates", Array::U64(step as u64));
    // A policy of its own, where it has one.
    let own = format!("{algorithm}.state0.");
    let has_own = !fixture.names(&format!("{own}policy")).is_empty();
    let of_policy = if has_own {
        own.as_str()
    } else {
        "common.state0."
    };
    let sources = [
        ("common.state0.", "q1"),
        ("common.state0.", "q2"),
        ("common.state0.", "value"),
        (of_policy, "policy"),
        ("common.state0.", "target_q1"),
        ("common.state0.", "target_q2"),
        (of_policy, "target_policy"),
    ];
    for (prefix, name) in sources {
        if leaves(fresh, &ours(name)?.0).is_empty() {
            continue;
        }
        let online = name.strip_prefix("target_").unwrap_or(name);
        // An absent target is a copy.
        let is_there = fixture.has(&format!("{prefix}{name}")) || name == online;
        let source = if is_there { name } else { online };
        put(fixture, &mut state, &format!("{prefix}{source}"), name)?;
    }
    for (prefix, name) in [
        ("common.state0.", "opt_q1"),
        ("common.state0.", "opt_q2"),
        ("common.state0.", "opt_value"),
        (of_policy, "opt_policy"),
    ] {
        let count = format!("{prefix}{name}.count");
        let (ours, _) = ours(name)?;
        if !fixture.has(&count) || fresh.counter(&format!("{ours}.count")).is_err() {
            continue;
        }
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

/// Compares the arrays of the file that begin with `prefix` with `state`.
pub fn compare<B: RescoreBackend>(
    file: &mut File<'_, B>,
    prefix: &str,
    state: &StateDict,
    tolerance: f64,
) -> Result<()> {
    let names = file.fixture.names(prefix);
    ensure!(names.len() > 10, "{prefix}* is missing");
    for name in names {
        let quantity = &name[prefix.len()..];
        let expected = file.fixture.array(&name)?.values.clone();
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
        let at = file.fixture.at(&name);
        (file.comparison).array(&at, &found, &expected, tolerance)?;
        if matches!(quantity.rsplit('.').next(), Some("mu" | "nu")) {
            // Small numbers pass any absolute test.
            let largest = largest(&expected);
            let scale = |values: &[f64]| values.iter().map(|x| x / largest).collect::<Vec<_>>();
            if largest > 0.0 {
                let (found, expected) = (scale(&found), scale(&expected));
                let at = format!("{at} (scaled)");
                (file.comparison).array(&at, &found, &expected, file.tolerances.scaled)?;
            }
        }
    }
    Ok(())
}
