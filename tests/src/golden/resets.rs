//! Comparing the distribution of first states with the statistics of recorded resets.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use rescore_envs::mujoco::MujocoTask;
use rescore_envs::{Task, seeded_rng};

use super::data::Arrays;

const QUANTITIES: [&str; 3] = ["obs", "qpos", "qvel"];
const STATISTICS: [&str; 4] = ["mean", "std", "min", "max"];

/// Resets of our own.
const SAMPLES: usize = 2000;
/// Seed of our resets. Fixed, so the comparison with one folder always comes out the same.
const SEED: u64 = 0;

/// Standard errors by which means and standard deviations may differ. Both are nearly normal over
/// thousands of samples, so one comparison fails by chance with probability 2e-9; a folder holds
/// a few thousand at most.
const STANDARD_ERRORS: f64 = 6.0;

/// The recorded maximum must reach our 30th largest value. If both samples have one distribution
/// and size, the 30 largest of all are ours with probability 2^-30 or less, about 1e-9.
const RANK: usize = 30;

/// The recorded maximum may exceed ours by this many times the distance between our largest and
/// our 30th largest value. Beyond a bounded distribution's largest sample the next one is likely
/// within a thirtieth of that distance; normal tails, whose record grows by a fraction of it,
/// stay below with probability 1 - 1e-6.
const OVERSHOOT: f64 = 5.0;

/// Rounding, for quantities that are constant.
const ABSOLUTE: f64 = 1e-9;

/// Compares `case`, statistics over `recorded_samples` resets, with resets of our own.
pub(super) fn check(
    arrays: &Arrays,
    case: &str,
    keys: &BTreeSet<&str>,
    task: &mut MujocoTask,
    recorded_samples: usize,
) -> Result<()> {
    ensure!(
        recorded_samples >= RANK,
        "statistics of too few resets: {recorded_samples}"
    );
    let expected: BTreeSet<String> = QUANTITIES
        .iter()
        .flat_map(|quantity| STATISTICS.iter().map(move |s| format!("{quantity}_{s}")))
        .collect();
    if let Some(key) = keys.iter().find(|key| !expected.contains(**key)) {
        anyhow::bail!("array `{key}` is of unknown form");
    }

    let mut rng = seeded_rng(SEED);
    let mut samples = QUANTITIES.map(|_| Vec::new());
    for _ in 0..SAMPLES {
        task.reset(&mut rng)?;
        let drawn = [task.observation(), task.qpos(), task.qvel()];
        for (columns, values) in samples.iter_mut().zip(drawn) {
            columns.resize(values.len(), Vec::with_capacity(SAMPLES));
            for (column, value) in columns.iter_mut().zip(values) {
                column.push(*value);
            }
        }
    }
    for (quantity, columns) in QUANTITIES.iter().zip(samples) {
        let dim = columns.len();
        let mut recorded = [&[][..]; 4];
        for (array, statistic) in recorded.iter_mut().zip(STATISTICS) {
            *array = arrays.f64(&format!("{case}.{quantity}_{statistic}"), &[dim])?;
        }
        for (i, column) in columns.into_iter().enumerate() {
            compare(
                column,
                recorded.map(|statistic| statistic[i]),
                recorded_samples,
            )
            .with_context(|| format!("{quantity}[{i}]"))?;
        }
    }
    Ok(())
}

/// Compares our samples of one quantity with recorded `[mean, std, min, max]`.
fn compare(mut ours: Vec<f64>, recorded: [f64; 4], recorded_samples: usize) -> Result<()> {
    let [mean, std, min, max] = recorded;
    let n = ours.len() as f64;
    let our_mean = ours.iter().sum::<f64>() / n;
    let moment = |k| ours.iter().map(|x| (x - our_mean).powi(k)).sum::<f64>() / n;
    let our_std = moment(2).sqrt();
    // Two independent samples: their variances add.
    let both = 1.0 / n + 1.0 / recorded_samples as f64;
    let mean_error = our_std * both.sqrt();
    // A sample variance has the variance (kurtosis - 1) s^4 / n; half of that, relative, is the
    // standard deviation's.
    let kurtosis = if our_std > 0.0 {
        moment(4) / our_std.powi(4)
    } else {
        1.0
    };
    let std_error = our_std * (0.25 * (kurtosis - 1.0).max(0.0) * both).sqrt();
    for (what, got, recorded, error) in [
        ("mean", our_mean, mean, mean_error),
        ("std", our_std, std, std_error),
    ] {
        let tolerance = STANDARD_ERRORS * error + ABSOLUTE;
        ensure!(
            (got - recorded).abs() <= tolerance,
            "{what} over {n} resets is {got}, recorded {recorded}, tolerance {tolerance}"
        );
    }

    ours.sort_by(f64::total_cmp);
    // The minimum is the maximum of the negated sample.
    let negated: Vec<f64> = ours.iter().rev().map(|x| -x).collect();
    for (what, sorted, recorded) in [("max", &ours, max), ("min (negated)", &negated, -min)] {
        let largest = sorted[sorted.len() - 1];
        let reached = sorted[sorted.len() - RANK];
        let exceeded = largest + OVERSHOOT * (largest - reached);
        ensure!(
            reached - ABSOLUTE <= recorded && recorded <= exceeded + ABSOLUTE,
            "recorded {what} {recorded} lies outside of [{reached}, {exceeded}], where {n} resets \
             of our own put it"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(bound: f64) -> Vec<f64> {
        (0..2000)
            .map(|i| bound * (2.0 * (f64::from(i) + 0.5) / 2000.0 - 1.0))
            .collect()
    }

    fn statistics(sample: &[f64]) -> [f64; 4] {
        let n = sample.len() as f64;
        let mean = sample.iter().sum::<f64>() / n;
        let variance = sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let max = sample.iter().copied().fold(f64::MIN, f64::max);
        let min = sample.iter().copied().fold(f64::MAX, f64::min);
        [mean, variance.sqrt(), min, max]
    }

    #[test]
    fn a_sample_agrees_with_itself_and_not_with_another_distribution() {
        let sample = uniform(0.1);
        let [mean, std, min, max] = statistics(&sample);
        compare(sample.clone(), [mean, std, min, max], 2000).expect("the same distribution");
        let wrong = [
            ("mean", [mean + 0.02, std, min, max]),
            ("std", [mean, 1.1 * std, min, max]),
            ("max", [mean, std, min, 0.5 * max]),
            ("max", [mean, std, min, 2.0 * max]),
            ("min", [mean, std, 0.5 * min, max]),
            ("min", [mean, std, f64::NAN, max]),
        ];
        for (what, recorded) in wrong {
            let error = compare(sample.clone(), recorded, 2000)
                .expect_err(what)
                .to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
