//! Checks schedules, networks, chains, losses, gradients and whole updates against numbers that an
//! independent implementation computed.
//!
//! A fixture folder holds `index.json` and safetensors files of three kinds, described in
//! `tests/fixtures/README.md`. [`check`] reads every file and accounts for every array: an array
//! that no check claims is an error, as is a file that the index lists and the folder lacks.

pub(crate) mod common;
mod compare;
pub(crate) mod fixture;
pub(crate) mod pieces;
mod updates;

use std::{collections::BTreeMap, fmt, path::Path};

use anyhow::{Context, Result, ensure};
use rescore_kernels::RescoreBackend;

pub use compare::Comparison;
use fixture::{Fixture, Index};

/// Allowed deviations `|a - b| / max(1, |b|)`.
#[derive(Debug, Clone, Copy)]
pub struct Tolerances {
    /// Of single-precision expected values: both sides round.
    pub single: f64,
    /// Of double-precision expected values.
    pub double: f64,
    /// Of parameters, moments and counters after one update.
    pub first_state: f64,
    /// Of the same after the second and third update.
    pub later_states: f64,
    /// Of moments in units of the largest entry of each: small numbers pass any other test.
    pub scaled: f64,
}

impl Tolerances {
    /// For backends that compute in `f32` on the CPU.
    pub const CPU: Self = Self {
        single: 2e-5,
        double: 1e-5,
        first_state: 1e-5,
        later_states: 3e-5,
        scaled: 1e-4,
    };

    /// For GPUs, whose products sum in another order and whose exponentials are a few units of the
    /// last place off.
    pub const GPU: Self = Self {
        single: 1e-4,
        double: 1e-4,
        first_state: 1e-4,
        later_states: 1e-4,
        scaled: 1e-3,
    };
}

/// What [`check`] compared.
#[derive(Debug)]
pub struct Report {
    /// Files read.
    pub files: usize,
    /// Name of the backend.
    pub backend: String,
    /// All comparisons.
    pub comparison: Comparison,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "parity: {} files, {} arrays, backend {}, worst {:.2} of its tolerance in {}",
            self.files,
            self.comparison.arrays(),
            self.backend,
            self.comparison.worst(),
            self.comparison.worst_at()
        )
    }
}

/// Checks every file in `folder` on the backend `B`.
///
/// # Errors
/// When the folder is empty or differs from its index, when an array is unknown or missing, or
/// when a value deviates by more than its tolerance; the message names file and array.
pub fn check<B: RescoreBackend>(
    folder: &Path,
    backend: &str,
    tolerances: Tolerances,
) -> Result<Report> {
    let device = B::Device::default();
    let index = Index::read(folder)?;
    let mut comparison = Comparison::default();
    for (name, entry) in &index.files {
        let mut fixture = Fixture::read(folder, name, entry)?;
        let kind = name.split(['_', '.']).next().unwrap_or_default();
        match kind {
            "common" => common::check::<B>(&mut fixture, &mut comparison, tolerances, &device),
            "pieces" | "fullsize" => {
                pieces::check::<B>(&mut fixture, &mut comparison, tolerances, &device)
            }
            "updates" => updates::check::<B>(&mut fixture, &mut comparison, tolerances, &device),
            _ => anyhow::bail!("{name}: no check is known for files of this name"),
        }
        .with_context(|| name.clone())?;
        fixture.all_used()?;
    }
    ensure!(
        comparison.arrays() > 0,
        "{}: nothing to compare",
        folder.display()
    );
    comparison.verdict()?;
    Ok(Report {
        files: index.files.len(),
        backend: backend.to_owned(),
        comparison,
    })
}

/// Values that our code computed, by the name that the fixture gives them.
type Computed = BTreeMap<String, Vec<f64>>;
