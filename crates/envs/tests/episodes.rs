//! What every environment promises: episodes, seeds, errors, time limits, action units.
#![expect(clippy::float_cmp, reason = "determinism is about equal bits")]

mod common;

use common::Countdown;
use rescore_envs::{Env, EnvError, RescaleAction, Step, TaskSettings, list, make};

/// All tasks that this build can make.
fn available() -> Vec<Box<dyn Env>> {
    let settings = TaskSettings::default();
    list()
        .iter()
        .filter(|entry| cfg!(feature = "mujoco") || !entry.needs_mujoco)
        .map(|entry| make(entry.name, &settings).expect("a registered task can be made"))
        .collect()
}

/// Observations and rewards of 60 steps, with resets where episodes end.
fn trace(env: &mut dyn Env, seed: Option<u64>) -> Vec<f64> {
    env.reset(seed).expect("tasks can be reset");
    let mut trace = env.observation().to_vec();
    for i in 0..60u8 {
        let action = vec![(f32::from(i) * 0.7).sin(); env.action_space().dim()];
        let step = env.step(&action).expect("a valid action");
        trace.push(step.reward);
        trace.extend(env.observation());
        if step.done() {
            env.reset(None).expect("tasks can be reset");
            trace.extend(env.observation());
        }
    }
    trace
}

#[test]
fn a_seed_fixes_everything_and_no_seed_goes_on() {
    for mut env in available() {
        let first = trace(&mut env, Some(11));
        let second = trace(&mut env, None);
        assert_eq!(trace(&mut env, Some(11)), first, "{}", env.name());
        assert_eq!(trace(&mut env, None), second, "{}", env.name());
        let always_the_same_start = [
            "Probe-ConstantReward-v0",
            "Probe-Discounting-v0",
            "Probe-ActionReward-v0",
        ];
        if !always_the_same_start.contains(&env.name()) {
            assert_ne!(first, second, "{}", env.name());
        }
    }
}

#[test]
fn without_a_seed_the_stream_begins_as_seeded_with_zero() {
    for (mut env, mut other) in available().into_iter().zip(available()) {
        assert_eq!(
            trace(&mut env, None),
            trace(&mut other, Some(0)),
            "{}",
            env.name()
        );
    }
}

#[test]
fn observations_lie_in_their_space() {
    for mut env in available() {
        for seed in 0..20 {
            env.reset(Some(seed)).expect("tasks can be reset");
            assert!(
                env.observation_space().contains(env.observation()),
                "{}",
                env.name()
            );
            for _ in 0..20 {
                let action = vec![2.5; env.action_space().dim()];
                let step = env.step(&action).expect("a valid action");
                assert!(
                    env.observation_space().contains(env.observation()),
                    "{}",
                    env.name()
                );
                if step.done() {
                    break;
                }
            }
        }
    }
}

#[test]
fn stepping_without_an_episode_is_refused() {
    for mut env in available() {
        let action = vec![0.0; env.action_space().dim()];
        let before = env.step(&action).expect_err("not reset yet");
        assert!(matches!(before, EnvError::ResetNeeded { .. }), "{before}");

        env.reset(Some(0)).expect("tasks can be reset");
        while !env.step(&action).expect("the episode runs").done() {}
        let last = env.observation().to_vec();
        let after = env.step(&action).expect_err("the episode is over");
        assert!(after.to_string().contains("call `reset`"), "{after}");
        assert_eq!(env.observation(), last, "a refused step changes nothing");

        env.reset(None).expect("tasks can be reset");
        env.step(&action).expect("a new episode runs");
    }
}

#[test]
fn senseless_actions_are_refused_and_change_nothing() {
    for mut env in available() {
        env.reset(Some(0)).expect("tasks can be reset");
        let start = env.observation().to_vec();
        let dim = env.action_space().dim();
        for wrong in [dim - 1, dim + 1] {
            let error = env.step(&vec![0.0; wrong]).expect_err("wrong length");
            assert!(
                matches!(&error, EnvError::ActionLength { expected, got, .. }
                    if *expected == dim && *got == wrong),
                "{error}"
            );
        }
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut action = vec![0.0; dim];
            action[dim - 1] = value;
            let error = env.step(&action).expect_err("not finite");
            assert!(
                matches!(&error, EnvError::ActionNotFinite { index, .. } if *index == dim - 1),
                "{error}"
            );
        }
        assert_eq!(env.observation(), start, "{}", env.name());
        env.step(&vec![0.0; dim]).expect("the episode still runs");
    }
}

/// The steps of one episode.
fn episode(mut env: Box<dyn Env>) -> Vec<Step> {
    env.reset(None).expect("it can be reset");
    let mut steps = Vec::new();
    while steps.last().is_none_or(|step: &Step| !step.done()) {
        steps.push(env.step(&[0.0]).expect("the episode runs"));
    }
    steps
}

#[test]
fn termination_and_truncation_are_told_apart() {
    let flags = |end, limit| {
        let steps = episode(Countdown::env(end, limit));
        let last = *steps.last().expect("at least one step");
        (steps.len(), last.terminated, last.truncated)
    };
    assert_eq!(flags(3, 5), (3, true, false));
    assert_eq!(flags(5, 3), (3, false, true));
    // As in Gymnasium, both are true when they coincide.
    assert_eq!(flags(3, 3), (3, true, true));
}

#[test]
fn the_time_limit_starts_anew_with_each_episode() {
    let mut env = Countdown::env(10, 4);
    for _ in 0..2 {
        env.reset(None).expect("it can be reset");
        for step in 1..=4 {
            assert_eq!(
                env.step(&[0.0]).expect("the episode runs").truncated,
                step == 4
            );
        }
        assert!(env.step(&[0.0]).is_err(), "the episode is over");
    }
}

#[test]
fn a_setting_replaces_the_registered_time_limit() {
    let settings = TaskSettings {
        time_limit: Some(7),
        ..TaskSettings::default()
    };
    let steps = episode(make("Pendulum-v1", &settings).expect("a registered task"));
    assert_eq!(steps.len(), 7);
    let steps = episode(make("Pendulum-v1", &TaskSettings::default()).expect("a registered task"));
    assert_eq!(steps.len(), 200);
}

#[test]
fn actions_are_rescaled_affinely_and_not_clipped() {
    // The bounds 0 and 4: -1 becomes 0, 1 becomes 4, 2 becomes 6.
    let mut env = RescaleAction::new(Countdown::env(10, 10)).expect("finite bounds");
    assert_eq!(env.action_space().low(), [-1.0]);
    assert_eq!(env.action_space().high(), [1.0]);
    env.reset(None).expect("it can be reset");
    for (action, inner) in [
        (-1.0, 0.0),
        (0.0, 2.0),
        (1.0, 4.0),
        (2.0, 6.0),
        (-2.0, -2.0),
    ] {
        assert_eq!(env.step(&[action]).expect("the episode runs").reward, inner);
    }
}

#[test]
fn raw_units_on_request() {
    let raw = TaskSettings {
        rescale_action: false,
        ..TaskSettings::default()
    };
    let mut raw = make("Pendulum-v1", &raw).expect("a registered task");
    let mut scaled = make("Pendulum-v1", &TaskSettings::default()).expect("a registered task");
    assert_eq!(raw.action_space().high(), [2.0]);
    raw.reset(Some(1)).expect("it can be reset");
    scaled.reset(Some(1)).expect("it can be reset");
    assert_eq!(raw.step(&[1.5]), scaled.step(&[0.75]));
    assert_eq!(raw.observation(), scaled.observation());
}
