//! What was computed, and how it is held against a file.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use burn::tensor::{Tensor, backend::Backend};
use rescore_nn::{Role, Tree, leaves};

use super::Tolerances;
use crate::parity::{Comparison, fixture::Fixture, pieces::values};

/// Computed arrays by the names of the expected ones, `group.out.quantity`.
#[derive(Debug, Default)]
pub struct Results(BTreeMap<String, Computed>);

#[derive(Debug)]
enum Computed {
    Values(Vec<f64>),
    /// Derivatives, leaf by leaf.
    Gradient(Vec<Vec<f64>>),
    /// Choices and numbers that may not deviate.
    Exact(Vec<f64>),
    /// What no public function computes.
    Nothing,
}

impl Results {
    /// `quantity` of `group`.
    pub fn tensor<B: Backend, const D: usize>(
        &mut self,
        (group, quantity): (&str, &str),
        tensor: Tensor<B, D>,
    ) {
        self.values((group, quantity), values(tensor));
    }

    /// `quantity` of `group`.
    pub fn values(&mut self, at: (&str, &str), values: Vec<f64>) {
        self.insert(at, Computed::Values(values));
    }

    /// `quantity` of `group`, which may not deviate.
    pub fn exact(&mut self, at: (&str, &str), values: Vec<f64>) {
        self.insert(at, Computed::Exact(values));
    }

    /// A derivative by one tensor.
    pub fn slope<B: Backend, const D: usize>(&mut self, at: (&str, &str), tensor: Tensor<B, D>) {
        self.insert(at, Computed::Gradient(vec![values(tensor)]));
    }

    /// The gradient of the first member of a network.
    pub fn gradient<B: Backend>(&mut self, at: (&str, &str), network: &impl Tree<B>) {
        let leaves = flat(network, |role| role != Role::Statistic);
        self.insert(at, Computed::Gradient(leaves));
    }

    /// Passes over `quantity` of `group`.
    pub fn unchecked(&mut self, at: (&str, &str)) {
        self.insert(at, Computed::Nothing);
    }

    fn insert(&mut self, (group, quantity): (&str, &str), computed: Computed) {
        self.0.insert(format!("{group}.out.{quantity}"), computed);
    }

    /// Compares every expected array of `fixture` whose name begins with `prefix`.
    pub fn compare(
        &self,
        prefix: &str,
        fixture: &mut Fixture,
        comparison: &mut Comparison,
        tolerances: Tolerances,
    ) -> Result<()> {
        for name in fixture.names(prefix) {
            let double = name.contains(".out64.");
            if !double && !name.contains(".out.") {
                continue;
            }
            let tolerance = if double {
                tolerances.double
            } else {
                tolerances.single
            };
            let computed = (self.0.get(&name.replace(".out64.", ".out.")))
                .with_context(|| format!("{name}: no check knows this array"))?;
            let at = fixture.at(&name);
            let expected = &fixture.array(&name)?.values;
            match computed {
                Computed::Nothing => {}
                Computed::Exact(values) => {
                    ensure!(values == expected, "{at}: {values:?}, not {expected:?}");
                }
                Computed::Values(values) => comparison.array(&at, values, expected, tolerance)?,
                Computed::Gradient(leaves) => {
                    comparison.array(&at, &leaves.concat(), expected, tolerance)?;
                    by_leaf(comparison, &at, leaves, expected, tolerances.gradient)?;
                }
            }
        }
        Ok(())
    }
}

/// Compares every leaf in units of its largest expected entry.
pub fn by_leaf(
    comparison: &mut Comparison,
    at: &str,
    leaves: &[Vec<f64>],
    mut expected: &[f64],
    tolerance: f64,
) -> Result<()> {
    for leaf in leaves {
        let (own, others) = expected.split_at(leaf.len());
        expected = others;
        let largest = own.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        // A gradient of exactly zero must be computed as zero.
        let unit = if largest > 0.0 {
            largest
        } else {
            f64::MIN_POSITIVE
        };
        let scaled = |values: &[f64]| values.iter().map(|x| x / unit).collect::<Vec<_>>();
        comparison.array(at, &scaled(leaf), &scaled(own), tolerance)?;
    }
    Ok(())
}

/// Leaves of the first member of a network with the roles that are `wanted`, sorted by the names
/// that the files give them.
pub fn flat<B: Backend>(network: &impl Tree<B>, wanted: fn(Role) -> bool) -> Vec<Vec<f64>> {
    let mut found = BTreeMap::new();
    for (name, role, tensor) in leaves(network) {
        if wanted(role) {
            let (layer, leaf) = name.rsplit_once('.').unwrap_or(("", &name));
            let short = match leaf {
                "weight" => "w",
                "bias" | "shift" => "b",
                "scale" => "g",
                "mean" => "m",
                "variance" => "v",
                other => other,
            };
            found.insert(format!("{layer}.{short}"), values(tensor.narrow(0, 0, 1)));
        }
    }
    found.into_values().collect()
}
