//! Statistics are the right ones, learned once, kept and applied where they should be.

use rescore_envs::{Episode, StateArray};

use super::*;
use crate::config::{Request, resolve};
use crate::environments::Environments;

fn environments(set: &[&str]) -> Environments {
    let request = Request {
        // Nothing is normalised by default.
        algo: Some("dpmd-reference".into()),
        env: Some("Pendulum-v1".into()),
        set: set.iter().map(ToString::to_string).collect(),
        ..Request::default()
    };
    let config = resolve(&request).expect("valid");
    Environments::new(&config).expect("a task without MuJoCo")
}

const BOTH: &[&str] = &[
    "normalize_observation=true",
    "normalize_reward=true",
    "num_envs=3",
    "evaluation.episodes=1",
];

#[test]
fn divisors_of_rewards_are_those_of_an_independent_implementation() {
    // Computed in double precision by a program in NumPy: gamma 0.98, returns of at most 5, and
    // an episode that ends with the eighth reward.
    let steps = [
        (-1.130_875_6, 0.226_175_117),
        (1.375_178, 0.698_922_713),
        (1.211_031_7, 1.063_832_436),
        (3.104_700_6, 2.094_884_541),
        (2.921_942_2, 3.073_169_138),
        (2.174_260_9, 3.805_244_443),
        (-1.282_377_5, 3.827_872_519),
        (1.673_245_4, 3.969_596_361),
        (3.262_578_2, 3.778_457_531),
        (-1.725_660_8, 3.715_606_136),
        (-1.218_465_3, 3.741_144_068),
        (-2.737_841_8, 4.012_649_943),
    ];
    let mut normalizer = RewardNormalizer::new(1, 0.98, 5.0);
    for (index, (reward, divisor)) in steps.into_iter().enumerate() {
        normalizer.learn(0, reward, index == 7);
        let found = normalizer.divisor();
        assert!((found - divisor).abs() < 1e-6, "{index}: {found}");
    }
    let mut rewards = [2.0, -1.0];
    normalizer.apply(&mut rewards);
    for (found, raw) in rewards.iter().zip([2.0, -1.0]) {
        assert!((found * 4.012_65 - raw).abs() < 1e-6, "{rewards:?}");
    }
}

#[test]
fn a_bound_on_returns_divides_by_more() {
    let divisor = |bound| {
        let mut normalizer = RewardNormalizer::new(1, 0.5, bound);
        for _ in 0..1000 {
            normalizer.learn(0, 4.0, false);
        }
        normalizer.divisor()
    };
    // The return comes to 8 and stays there, so that its deviation is small.
    assert!((divisor(2.0) - 4.0).abs() < 1e-6);
    assert!(divisor(f64::INFINITY) < 0.2);
}

#[test]
fn every_observation_is_learned_from_once() {
    let mut envs = environments(BOTH);
    let mut expected = RunningStatistics::new(3);
    let learn = |statistics: &mut RunningStatistics, rows: &[f32]| {
        for row in rows.chunks_exact(3) {
            statistics.update(row.iter().map(|x| f64::from(*x)));
        }
    };
    learn(&mut expected, envs.training.observations());
    // Episodes of 200 steps.
    for i in 0..450 {
        let actions = [0.1, -0.4, 0.9].map(|a| a * (i as f32 * 0.3).cos());
        let step = envs.training.step(&actions).expect("valid actions").clone();
        envs.normalizers.learn(&step, envs.training.observations());
        for env in 0..3 {
            let row = env * 3..env * 3 + 3;
            learn(&mut expected, &step.next_observations[row.clone()]);
            if step.finished[env].is_some() {
                learn(&mut expected, &envs.training.observations()[row]);
            }
        }
    }
    let found = envs.normalizers.observation().expect("asked for");
    assert_eq!(found.statistics, expected);

    // What was stored before is seen with the statistics of now.
    let stored = Transitions {
        observations: envs.training.observations().to_vec(),
        actions: vec![0.5; 3],
        rewards: vec![-1.0, -2.0, -3.0],
        next_observations: envs.training.last_step().next_observations.clone(),
        terminated: vec![0.0; 3],
    };
    let mut batch = stored.clone();
    envs.normalizers.apply(&mut batch);
    for (row, raw) in batch
        .observations
        .iter()
        .zip(&stored.observations)
        .enumerate()
    {
        let normalised = expected.normalize(row % 3, (*raw.1).into());
        assert!((f64::from(*raw.0) - normalised).abs() < 1e-6);
    }
    assert_ne!(batch.next_observations, stored.next_observations);
    assert_eq!(batch.actions, stored.actions);
    let divisor = envs.normalizers.reward().expect("asked for").divisor();
    assert!(divisor > 1.0, "{divisor}");
    for (reward, raw) in batch.rewards.iter().zip(&stored.rewards) {
        assert!((f64::from(*reward) - f64::from(*raw) / divisor).abs() < 1e-6);
    }
}

#[test]
fn nothing_is_normalised_unless_asked_for() {
    let envs = environments(&["evaluation.episodes=1"]);
    let stored = Transitions {
        observations: vec![5.0; 3],
        rewards: vec![7.0],
        ..Transitions::default()
    };
    let mut batch = stored.clone();
    envs.normalizers.apply(&mut batch);
    assert_eq!(batch, stored);
    assert_eq!(envs.normalizers.state(), EnvState::new());
}

#[test]
fn a_step_that_the_simulator_warned_of_is_not_learned_from() {
    let mut envs = environments(BOTH);
    let before = envs.normalizers.clone();
    let mut step = VecStep {
        rewards: vec![1e30, 1.0, f32::MAX],
        terminated: vec![false; 3],
        truncated: vec![true, false, true],
        next_observations: vec![1e30; 9],
        warnings: vec![1, 2, 1],
        finished: vec![Some(Episode::default()); 3],
        info: vec![Vec::new(); 3],
    };
    envs.normalizers.learn(&step, envs.training.observations());
    let (now, then) = (envs.normalizers.reward(), before.reward());
    assert_eq!(now.expect("asked for"), then.expect("asked for"));
    // The episodes that begin after it count, as any.
    let mut expected = before.observation().expect("asked for").clone();
    for row in envs.training.observations().chunks_exact(3) {
        expected.learn(row);
    }
    assert_eq!(envs.normalizers.observation(), Some(&expected));
    // An observation that is not finite ends the run; until then it changes nothing.
    step.warnings = vec![0; 3];
    step.finished = vec![None; 3];
    step.next_observations = vec![f32::NAN; 9];
    envs.normalizers.learn(&step, envs.training.observations());
    assert_eq!(envs.normalizers.observation(), Some(&expected));
}

#[test]
fn what_was_learned_is_part_of_the_state() {
    let mut envs = environments(BOTH);
    for _ in 0..7 {
        let step = envs
            .training
            .step(&[0.5, 0.1, -0.3])
            .expect("valid")
            .clone();
        envs.normalizers.learn(&step, envs.training.observations());
    }
    let state = envs.state().expect("it can be saved");
    let mut others = environments(BOTH);
    others.restore(&state).expect("of the same form");
    assert_eq!(others.normalizers, envs.normalizers);
    for (name, value) in [("returns", f64::NAN), ("largest", -1.0)] {
        let mut damaged = state.clone();
        let length = if name == "returns" { 3 } else { 1 };
        let values = StateArray::F64(vec![value; length]);
        damaged.insert(format!("normalizers.reward.{name}"), values);
        let error = others.restore(&damaged).expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
    }
    let error = environments(&["num_envs=3", "evaluation.episodes=1"])
        .restore(&state)
        .expect_err("nothing is normalised");
    assert!(error.to_string().contains("normalizers."), "{error}");
}
