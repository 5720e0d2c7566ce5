//! Whole states of agents as the files store them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use rescore_agents::{Array, StateDict};

use super::{Tolerances, results::by_leaf};
use crate::parity::{Comparison, fixture::Fixture};

/// Everything that an agent learned or counted, by the names of the files: what has the shape of a
/// network is one vector, all leaves sorted by name.
pub type Stored = BTreeMap<String, Vec<f64>>;

/// What an algorithm's states consist of.
pub struct Form {
    /// The file's names begin with it.
    algorithm: String,
    /// Leaves of critics, of their statistics and of the policy, by the file's names, with shapes.
    networks: BTreeMap<&'static str, Vec<(String, Vec<usize>)>>,
    /// Names of everything.
    quantities: Vec<String>,
}

/// Where a quantity of the files is in a state of ours.
enum Place {
    Counter(String),
    Number(String),
    /// The leaves below a name that one of [`Form::networks`] has, of one member.
    Leaves(String, &'static str, usize),
}

fn place(quantity: &str) -> Result<Place> {
    let (owner, rest) = quantity.split_once('.').unwrap_or((quantity, ""));
    let member = usize::from(owner.contains("q2"));
    let optimizer = match owner {
        "opt_q1" | "opt_q2" => Some(("critic_optimizer", "q1")),
        "opt_policy" => Some(("policy_optimizer", "policy")),
        "opt_lambda" => Some(("temperature.optimizer", "")),
        _ => None,
    };
    let leaves = |name: &str, like| Ok(Place::Leaves(name.to_owned(), like, member));
    match (optimizer, owner) {
        (Some((name, _)), _) if rest == "count" => Ok(Place::Counter(format!("{name}.count"))),
        (Some((name, "")), _) => Ok(Place::Number(format!("{name}.{rest}"))),
        (Some((name, like)), _) => leaves(&format!("{name}.{rest}"), like),
        (None, "step") => Ok(Place::Counter("updates".into())),
        (None, "log_lambda") => Ok(Place::Number("temperature.log_value".into())),
        (None, "q1" | "q2") => leaves("critics", "q1"),
        (None, "q1_stats" | "q2_stats") => leaves("critics", "q1_stats"),
        (None, "target_q1" | "target_q2") => leaves("target_critics", "q1"),
        (None, "policy" | "old_policy") => leaves(owner, "policy"),
        _ => bail!("{quantity}: no check knows this array"),
    }
}

/// The name of a leaf of ours that the files call `leaf`, below `network`.
fn our_leaf(state: &StateDict, network: &str, leaf: &str) -> Option<String> {
    let (layer, parameter) = leaf.rsplit_once('.')?;
    let names: &[&str] = match parameter {
        "w" => &["weight"],
        "b" => &["bias", "shift"],
        "g" => &["scale"],
        "m" => &["mean"],
        "v" => &["variance"],
        _ => &[],
    };
    let names = names.iter().map(|name| format!("{network}.{layer}.{name}"));
    names.into_iter().find(|name| state.get(name).is_some())
}

impl Form {
    /// What the states of `algorithm` in the file have in common with those of an agent, of which
    /// `template` is one.
    pub fn of(fixture: &Fixture, algorithm: &str, template: &StateDict) -> Self {
        let leaves = |network: &str| -> Vec<(String, Vec<usize>)> {
            let prefix = format!("{algorithm}.state0.{network}.");
            let shape = |name: String| {
                let shape = fixture.shape(&name).to_vec();
                (name[prefix.len()..].to_owned(), shape)
            };
            fixture.names(&prefix).into_iter().map(shape).collect()
        };
        let networks = ["q1", "q1_stats", "policy"].map(|name| (name, leaves(name)));
        let networks = BTreeMap::from(networks);
        let mut quantities = Vec::new();
        let mut add = |names: &[&str]| quantities.extend(names.iter().map(ToString::to_string));
        add(&["q1", "q2", "target_q1", "target_q2", "policy"]);
        if !networks["q1_stats"].is_empty() {
            add(&["q1_stats", "q2_stats"]);
        }
        let mut names = template.iter().map(|(name, _)| name);
        if names.any(|name| name.starts_with("old_policy.")) {
            add(&["old_policy"]);
        }
        add(&["log_lambda", "step"]);
        for optimizer in ["q1", "q2", "policy", "lambda"] {
            for what in ["count", "mu", "nu"] {
                add(&[&format!("opt_{optimizer}.{what}")]);
            }
        }
        Self {
            algorithm: algorithm.to_owned(),
            networks,
            quantities,
        }
    }

    /// What state `index` of the file has of `quantity`, which may stand there leaf by leaf.
    fn read(
        &self,
        fixture: &mut Fixture,
        index: usize,
        quantity: &str,
    ) -> Result<Option<Vec<f64>>> {
        let name = format!("{}.state{index}.{quantity}", self.algorithm);
        if fixture.has(&name) {
            return Ok(Some(fixture.array(&name)?.values.clone()));
        }
        let mut values = Vec::new();
        for leaf in fixture.names(&format!("{name}.")) {
            values.extend_from_slice(&fixture.array(&leaf)?.values);
        }
        Ok((!values.is_empty()).then_some(values))
    }

    /// How many numbers `quantity` has.
    fn len(&self, quantity: &str) -> Result<usize> {
        Ok(match place(quantity)? {
            Place::Counter(_) | Place::Number(_) => 1,
            Place::Leaves(_, like, _) => {
                let shapes = self.networks[like].iter().map(|(_, shape)| shape);
                shapes.map(|shape| shape.iter().product::<usize>()).sum()
            }
        })
    }

    /// The state that the file begins with. Absent moments are zero, absent targets and old policies
    /// are copies.
    pub fn first(&self, fixture: &mut Fixture) -> Result<Stored> {
        let mut stored = Stored::new();
        for quantity in &self.quantities {
            let copied = match quantity.as_str() {
                "target_q1" => Some("q1"),
                "target_q2" => Some("q2"),
                "old_policy" => Some("policy"),
                _ => None,
            };
            let is_moment = matches!(quantity.rsplit('.').next(), Some("mu" | "nu"));
            let values = match (self.read(fixture, 0, quantity)?, copied) {
                (Some(values), _) => values,
                (None, Some(online)) => stored[online].clone(),
                (None, None) if is_moment => vec![0.0; self.len(quantity)?],
                (None, None) => bail!("{}.state0.{quantity} is missing", self.algorithm),
            };
            let len = self.len(quantity)?;
            ensure!(values.len() == len, "{quantity}: not {len} numbers");
            stored.insert(quantity.clone(), values);
        }
        Ok(stored)
    }

    /// `stored` as a state in the form of `template`.
    pub fn to_ours(&self, stored: &Stored, template: &StateDict) -> Result<StateDict> {
        let mut state = template.clone();
        for (quantity, values) in stored {
            match place(quantity)? {
                Place::Counter(name) => state.insert(name, Array::U64(values[0] as u64)),
                Place::Number(name) => {
                    state.insert(name, Array::F32(vec![1], vec![values[0] as f32]));
                }
                Place::Leaves(network, like, member) => {
                    let mut rest = &values[..];
                    for (leaf, shape) in &self.networks[like] {
                        let (own, others) = rest.split_at(shape.iter().product());
                        rest = others;
                        let Some(name) = our_leaf(&state, &network, leaf) else {
                            // A leaf that is never trained has no moments.
                            ensure!(own.iter().all(|x| *x == 0.0), "{quantity}: unknown {leaf}");
                            continue;
                        };
                        let Some(Array::F32(shape, all)) = state.get(&name) else {
                            bail!("{name} is a counter");
                        };
                        let (shape, mut all) = (shape.clone(), all.clone());
                        let of_member = &mut all[member * own.len()..][..own.len()];
                        for (to, from) in of_member.iter_mut().zip(own) {
                            *to = *from as f32;
                        }
                        state.insert(name, Array::F32(shape, all));
                    }
                }
            }
        }
        Ok(state)
    }

    /// A state of ours as the files would store it.
    pub fn to_theirs(&self, state: &StateDict) -> Result<Stored> {
        let mut stored = Stored::new();
        let numbers = |name: &str| match state.get(name) {
            Some(Array::F32(_, values)) => Ok(values),
            _ => bail!("the agent has no {name}"),
        };
        for quantity in &self.quantities {
            let mut values = Vec::new();
            match place(quantity)? {
                Place::Counter(name) => values.push(state.counter(&name)? as f64),
                Place::Number(name) => values.push(f64::from(numbers(&name)?[0])),
                Place::Leaves(network, like, member) => {
                    for (leaf, shape) in &self.networks[like] {
                        let count: usize = shape.iter().product();
                        let Some(name) = our_leaf(state, &network, leaf) else {
                            values.resize(values.len() + count, 0.0);
                            continue;
                        };
                        let own = &numbers(&name)?[member * count..][..count];
                        values.extend(own.iter().map(|x| f64::from(*x)));
                    }
                }
            }
            stored.insert(quantity.clone(), values);
        }
        Ok(stored)
    }

    /// Compares `found`, the agent's state after update `index`, with the file's, if it has that; what
    /// the file leaves out must be as it was in `before`. Whether it has it.
    pub fn compare(
        &self,
        fixture: &mut Fixture,
        (comparison, tolerances): (&mut Comparison, Tolerances),
        index: usize,
        [found, before]: [&Stored; 2],
    ) -> Result<bool> {
        let prefix = format!("{}.state{index}.", self.algorithm);
        if fixture.names(&prefix).is_empty() {
            return Ok(false);
        }
        let tolerance = match index {
            1 => tolerances.first_state,
            _ => tolerances.later_states,
        };
        for (quantity, values) in found {
            let at = fixture.at(&format!("{prefix}{quantity}"));
            let Some(expected) = self.read(fixture, index, quantity)? else {
                let same = before[quantity] == *values;
                ensure!(same, "{at} is left out, but has changed");
                continue;
            };
            match place(quantity)? {
                Place::Counter(_) => {
                    ensure!(*values == expected, "{at}: {values:?}, not {expected:?}");
                }
                Place::Number(_) => comparison.array(&at, values, &expected, tolerance)?,
                Place::Leaves(_, like, _) => {
                    comparison.array(&at, values, &expected, tolerance)?;
                    let leaves = self.leaves(like, values);
                    if quantity.starts_with("opt_") {
                        by_leaf(comparison, &at, &leaves, &expected, tolerances.gradient)?;
                    }
                    let projected = !self.networks["q1_stats"].is_empty();
                    if projected && ["q1", "q2"].contains(&quantity.as_str()) {
                        self.columns(comparison, &at, &leaves)?;
                    }
                }
            }
        }
        Ok(true)
    }

    fn leaves(&self, like: &str, mut values: &[f64]) -> Vec<Vec<f64>> {
        let shapes = self.networks[like].iter().map(|(_, shape)| shape);
        let own = |shape: &Vec<usize>| {
            let (own, rest) = values.split_at(shape.iter().product());
            values = rest;
            own.to_vec()
        };
        shapes.map(own).collect()
    }

    /// Requires columns of length 1 of all weights of a critic.
    fn columns(&self, comparison: &mut Comparison, at: &str, leaves: &[Vec<f64>]) -> Result<()> {
        for ((leaf, shape), values) in self.networks["q1"].iter().zip(leaves) {
            if leaf.rsplit('.').next() != Some("w") {
                continue;
            }
            let columns = *shape.last().context("a matrix has columns")?;
            let mut lengths = vec![0.0; columns];
            for row in values.chunks(columns) {
                for (sum, x) in lengths.iter_mut().zip(row) {
                    *sum += x * x;
                }
            }
            let lengths: Vec<f64> = lengths.into_iter().map(f64::sqrt).collect();
            let at = format!("{at} (columns of {leaf})");
            comparison.array(&at, &lengths, &vec![1.0; columns], 1e-6)?;
        }
        Ok(())
    }
}
