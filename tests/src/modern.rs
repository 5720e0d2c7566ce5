//! Checks the parts of modern critics and of the diffusion algorithms built on them against numbers
//! that an independent implementation computed.
//!
//! A fixture folder holds `index.json` and safetensors files, described in
//! `tests/fixtures_modern/README.md`. As for [`crate::parity`], an array that no check claims is an
//! error.

mod actor;
mod agents;
mod critic;
mod networks;
mod particles;
mod results;
mod returns;
mod statistics;
mod stored;
mod truncated;
mod updates;

use std::{fmt, path::Path};

use anyhow::{Context as _, Result, ensure};
use rescore_kernels::RescoreBackend;

use crate::parity::{
    Comparison,
    common::schedule,
    fixture::{Fixture, Index},
};
use results::Results;

/// Allowed deviations.
#[derive(Debug, Clone, Copy)]
pub struct Tolerances {
    /// Of single-precision expected values, `|a - b| / max(1, |b|)`: both sides round.
    pub single: f64,
    /// Of double-precision expected values, likewise.
    pub double: f64,
    /// Of gradients and moments, in units of the largest entry of each leaf: small numbers pass any other test.
    pub gradient: f64,
    /// Of parameters, moments and temperatures after one update, `|a - b| / max(1, |b|)`.
    pub first_state: f64,
    /// Of the same after more updates.
    pub later_states: f64,
}

impl Tolerances {
    /// For backends that compute in `f32` on the CPU.
    pub const CPU: Self = Self {
        single: 2e-5,
        double: 1e-5,
        gradient: 1e-4,
        first_state: 1e-5,
        later_states: 3e-5,
    };

    /// For GPUs.
    pub const GPU: Self = Self {
        single: 1e-4,
        double: 1e-4,
        gradient: 1e-3,
        first_state: 1e-4,
        later_states: 1e-4,
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
            "modern: {} files, backend {}, {} arrays, worst {:.2} of its tolerance in {}",
            self.files,
            self.backend,
            self.comparison.arrays(),
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
    let mut comparison = Comparison::default();
    let mut files = 0;
    for (name, entry) in &Index::read(folder)?.files {
        let mut fixture = Fixture::read(folder, name, entry)?;
        let compared = (&mut comparison, tolerances);
        check_file::<B>(&mut fixture, compared, &device).with_context(|| name.clone())?;
        fixture.all_used()?;
        files += 1;
    }
    ensure!(files > 0, "{}: nothing to compare", folder.display());
    comparison.verdict()?;
    Ok(Report {
        files,
        backend: backend.to_owned(),
        comparison,
    })
}

fn check_file<B: RescoreBackend>(
    fixture: &mut Fixture,
    (comparison, tolerances): (&mut Comparison, Tolerances),
    device: &B::Device,
) -> Result<()> {
    let mut results = Results::default();
    match fixture.name.split(['_', '.']).next() {
        Some("common") => {
            schedules(fixture, comparison, tolerances)?;
            truncated::table::<B>(fixture, &mut results, device)?;
        }
        Some("pieces") => pieces::<B>(fixture, &mut results, device)?,
        Some("updates") => {
            return updates::check::<B>(fixture, (comparison, tolerances), device);
        }
        _ => anyhow::bail!("no check is known for files of this name"),
    }
    results.compare("", fixture, comparison, tolerances)
}

/// Checks a normaliser of rewards, which belongs to the training loop, against every file that has
/// rewards: `normalizer` makes one of the discount and the bound on returns, that takes a reward and
/// whether it ends the episode, and gives the return that it counts, mean, variance and largest size
/// of returns, and the divisor of rewards. How many files there are.
///
/// # Errors
/// As [`check`].
pub fn check_rewards<N: FnMut(f32, bool) -> [f64; 5]>(
    folder: &Path,
    tolerances: Tolerances,
    normalizer: impl Fn(f64, f64) -> N,
) -> Result<usize> {
    let mut comparison = Comparison::default();
    let mut files = 0;
    for (name, entry) in &Index::read(folder)?.files {
        let mut fixture = Fixture::read(folder, name, entry)?;
        if fixture.has("runnorm.reward.reward") {
            statistics::rewards(&mut fixture, &mut comparison, tolerances, &normalizer)
                .with_context(|| name.clone())?;
            files += 1;
        }
    }
    ensure!(files > 0, "{}: no rewards", folder.display());
    comparison.verdict()?;
    Ok(files)
}

fn pieces<B: RescoreBackend>(
    fixture: &mut Fixture,
    results: &mut Results,
    device: &B::Device,
) -> Result<()> {
    statistics::norms::<B>(fixture, results, device)?;
    statistics::running(fixture, results)?;
    critic::scalar::<B>(fixture, results, device)?;
    critic::residual_stack::<B>(fixture, results, device)?;
    critic::batch_norm::<B>(fixture, results, device)?;
    returns::check::<B>(fixture, results, device)?;
    particles::weights::<B>(fixture, results, device)?;
    particles::temperature::<B>(fixture, results, device)?;
    actor::losses::<B>(fixture, results, device)?;
    actor::chains::<B>(fixture, results, device)?;
    truncated::sdac::<B>(fixture, results, device)
}

/// `schedule.{kind}_{scale}_T{steps}.{coefficient}` and the same in double precision.
fn schedules(
    fixture: &mut Fixture,
    comparison: &mut Comparison,
    tolerances: Tolerances,
) -> Result<()> {
    for name in fixture.names("schedule") {
        let double = name.starts_with("schedule64.");
        let tolerance = if double {
            tolerances.double
        } else {
            tolerances.single
        };
        let at = fixture.at(&name);
        let expected = &fixture.array(&name)?.values;
        comparison.array(&at, &schedule(&name)?, expected, tolerance)?;
    }
    Ok(())
}
