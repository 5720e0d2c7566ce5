//! Wrappers do what their names say, and their knowledge is part of the saved state.
#![expect(clippy::float_cmp, reason = "saved states hold the same bits")]

mod common;

use common::Countdown;
use rescore_envs::{
    Env, EnvError, Episode, EpisodeStatistics, NormalizeObservation, RunningStatistics,
    ScaleReward, StateArray, TaskSettings, VecEnv, check_env, make,
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

fn normalised(seed: u64) -> VecEnv {
    let settings = TaskSettings {
        normalize_observation: true,
        ..TaskSettings::default()
    };
    VecEnv::with_settings("Pendulum-v1", &settings, 3, seed).expect("a registered task")
}

#[test]
fn a_vector_environment_normalises_with_common_statistics() {
    let mut raw = VecEnv::new("Pendulum-v1", 3, 1).expect("a registered task");
    let mut envs = normalised(1);
    let mut expected = RunningStatistics::new(3);
    let learn = |statistics: &mut RunningStatistics, rows: &[f32]| {
        for row in rows.chunks_exact(3) {
            statistics.update(row.iter().map(|x| f64::from(*x)));
        }
    };
    learn(&mut expected, raw.observations());
    for i in 0..450 {
        let actions = [0.1, -0.4, 0.9].map(|a| a * (i as f32 * 0.3).cos());
        let step = raw.step(&actions).expect("valid actions").clone();
        envs.step(&actions).expect("valid actions");
        for env in 0..3 {
            let rows = env * 3..env * 3 + 3;
            learn(&mut expected, &step.next_observations[rows.clone()]);
            if step.finished[env].is_some() {
                learn(&mut expected, &raw.observations()[rows]);
            }
        }
        assert_eq!(envs.statistics(), Some(&expected));
        let mut next = step.next_observations;
        let mut now = raw.observations().to_vec();
        for row in next.chunks_exact_mut(3).chain(now.chunks_exact_mut(3)) {
            expected.normalize_row(row);
        }
        assert_eq!(envs.last_step().next_observations, next);
        assert_eq!(envs.observations(), now);
        assert_eq!(envs.last_step().rewards, step.rewards, "rewards are raw");
    }
}

#[test]
fn the_statistics_of_a_vector_environment_are_part_of_its_state() {
    let mut envs = normalised(1);
    for _ in 0..50 {
        envs.step(&[0.5, 0.2, -0.7]).expect("valid actions");
    }
    let state = envs.state().expect("it can be saved");
    let mut other = normalised(2);
    other.restore(&state).expect("a state of its kind");
    assert_eq!(other.observations(), envs.observations());
    for _ in 0..250 {
        let expected = envs.step(&[0.5, 0.2, -0.7]).expect("valid actions").clone();
        assert_eq!(
            other.step(&[0.5, 0.2, -0.7]).expect("valid actions"),
            &expected
        );
    }
    let mut raw = VecEnv::new("Pendulum-v1", 3, 1).expect("a registered task");
    assert!(matches!(
        raw.restore(&state),
        Err(EnvError::InvalidState(_))
    ));
    let mut damaged = state.clone();
    damaged.insert("statistics.variance", StateArray::F64(vec![1.0, -1.0, 1.0]));
    let before = other.state().expect("it can be saved");
    assert!(other.restore(&damaged).is_err());
    assert_eq!(other.state().expect("it can be saved"), before);
}
