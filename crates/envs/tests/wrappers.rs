//! Wrappers do what their names say, and their knowledge is part of the saved state.
#![expect(clippy::float_cmp, reason = "saved states hold the same bits")]

mod common;

use common::Countdown;
use rescore_envs::{
    Env, EnvError, Episode, EpisodeStatistics, NormalizeObservation, RunningStatistics,
    ScaleReward, StateArray, TaskSettings, check_env, make,
};

#[test]
fn running_statistics_are_those_of_all_values() {
    let mut statistics = RunningStatistics::new(2);
    let values: Vec<[f64; 2]> = (0..1000)
        .map(|i| [f64::from(i).sin() * 3.0 + 5.0, f64::from(i)])
        .collect();
    for row in &values {
        statistics.update(*row);
    }
    for i in 0..2 {
        let n = values.len() as f64;
        let mean = values.iter().map(|row| row[i]).sum::<f64>() / n;
        let variance = values
            .iter()
            .map(|row| (row[i] - mean).powi(2))
            .sum::<f64>()
            / n;
        // The prior weighs 1e-4 of an observation.
        assert!((statistics.mean()[i] - mean).abs() < 1e-6 * mean);
        assert!((statistics.variance()[i] - variance).abs() < 1e-6 * variance);
        let above = statistics.normalize(i, mean + variance.sqrt());
        assert!((above - 1.0).abs() < 1e-4, "{above}");
    }
}

#[test]
fn rows_are_normalised_and_clipped() {
    let mut statistics = RunningStatistics::new(2);
    for i in 0..1000 {
        statistics.update([f64::from(i % 2), 7.0]);
    }
    // Mean 0.5 and deviation 0.5; a constant, whose deviation is that of the prior and 1e-3.
    let mut rows = [1.0, 7.0, -1.0, 7.0, 0.5, 8.0];
    statistics.normalize_rows(&mut rows, 2.5);
    let expected = [1.0, 0.0, -2.5, 0.0, 0.0, 2.5];
    for (found, expected) in rows.iter().zip(expected) {
        assert!((found - expected).abs() < 0.02, "{rows:?}");
    }
    assert_eq!(rows[2], -2.5, "clipped");
    let mut unclipped = [-1.0, 7.0];
    statistics.normalize_rows(&mut unclipped, f64::INFINITY);
    assert!((unclipped[0] + 3.0).abs() < 1e-3, "{unclipped:?}");
}

#[test]
fn statistics_that_are_none_are_refused() {
    let sound = RunningStatistics::new(3).save();
    assert!(RunningStatistics::restored(&sound, 3).is_ok());
    for (name, values) in [
        ("mean", vec![0.0, f64::INFINITY, 0.0]),
        ("variance", vec![1.0, -1.0, 1.0]),
        ("variance", vec![1.0, f64::NAN, 1.0]),
        ("observations", vec![0.0]),
        ("observations", vec![f64::NAN]),
    ] {
        let mut damaged = sound.clone();
        damaged.insert(name, StateArray::F64(values));
        let error = RunningStatistics::restored(&damaged, 3).expect_err(name);
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn normalised_observations_have_mean_zero_and_deviation_one() {
    let env = make("Pendulum-v1", &TaskSettings::default()).expect("a registered task");
    let mut env = NormalizeObservation::new(env).expect("as many dimensions");
    let mut seen = Vec::new();
    env.reset(Some(0)).expect("it can be reset");
    for i in 0..20_000u16 {
        let step = env
            .step(&[(f32::from(i) * 0.1).sin()])
            .expect("the episode runs");
        if i >= 10_000 {
            seen.push(env.observation().to_vec());
        }
        if step.done() {
            env.reset(None).expect("it can be reset");
        }
    }
    for i in 0..3 {
        let n = seen.len() as f64;
        let mean = seen.iter().map(|row| row[i]).sum::<f64>() / n;
        let variance = seen.iter().map(|row| (row[i] - mean).powi(2)).sum::<f64>() / n;
        assert!(
            mean.abs() < 0.1 && (variance - 1.0).abs() < 0.2,
            "{mean} {variance}"
        );
    }

    let frozen = NormalizeObservation::frozen(
        make("Pendulum-v1", &TaskSettings::default()).expect("a registered task"),
        env.statistics().clone(),
    );
    let mut frozen = frozen.expect("as many dimensions");
    frozen.reset(Some(3)).expect("it can be reset");
    frozen.step(&[0.5]).expect("the episode runs");
    assert_eq!(
        frozen.statistics(),
        env.statistics(),
        "they stay as they are"
    );
    assert!(NormalizeObservation::frozen(Countdown::env(2, 2), env.statistics().clone()).is_err());
}

#[test]
fn rewards_are_scaled_and_episodes_counted() {
    let scaled = ScaleReward::new(Countdown::env(3, 10), 0.5).expect("a finite scale");
    let mut env = EpisodeStatistics::new(scaled);
    assert_eq!(env.finished(), None);
    env.reset(None).expect("it can be reset");
    for (action, total) in [(1.0, 0.5), (2.0, 1.5), (3.0, 3.0)] {
        env.step(&[action]).expect("the episode runs");
        assert_eq!(env.running().total_reward, total);
    }
    let ended = Episode {
        total_reward: 3.0,
        length: 3,
    };
    assert_eq!(env.finished(), Some(ended));
    env.reset(None).expect("it can be reset");
    assert_eq!(env.running(), Episode::default());
    assert_eq!(env.finished(), Some(ended));
    assert!(ScaleReward::new(Countdown::env(3, 10), f64::NAN).is_err());
}

#[test]
fn wrapped_environments_keep_their_promises() {
    let make = || -> Result<Box<dyn Env>, EnvError> {
        let scaled = ScaleReward::new(Countdown::env(7, 5), 2.0)?;
        let counted = EpisodeStatistics::new(scaled);
        // Frozen, because learned statistics go on over resets, as they should.
        let statistics = RunningStatistics::new(2);
        Ok(Box::new(NormalizeObservation::frozen(counted, statistics)?))
    };
    let report = check_env(make, 1000).expect("a sound environment");
    assert!(report.saves && report.truncated == 200, "{report:?}");
}
