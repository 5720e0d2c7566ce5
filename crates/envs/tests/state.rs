//! A saved environment goes on to the bit, in a fresh or in a used one of its kind, and no other.

mod common;

use common::Countdown;
use rescore_envs::{
    Env, EnvError, EnvState, StateArray, StateError, TaskSettings, VecEnv, list, make,
};

fn available() -> Vec<&'static str> {
    list()
        .iter()
        .filter(|entry| cfg!(feature = "mujoco") || !entry.needs_mujoco)
        .map(|entry| entry.name)
        .collect()
}

fn fresh(name: &str) -> Box<dyn Env> {
    make(name, &TaskSettings::default()).expect("a registered task can be made")
}

/// Bits of observations, rewards and flags of `steps` steps from step `start` on, with resets
/// where episodes end.
fn play(env: &mut dyn Env, start: usize, steps: usize) -> Vec<u64> {
    let mut trace = Vec::new();
    for i in start..start + steps {
        let dim = env.action_space().dim();
        let action: Vec<f32> = (0..dim)
            .map(|j| 1.2 * ((i * 7 + j * 3) as f32 * 0.31).sin())
            .collect();
        let step = env.step(&action).expect("a valid action");
        trace.extend([
            step.reward.to_bits(),
            step.terminated.into(),
            step.truncated.into(),
        ]);
        trace.extend(env.observation().iter().map(|x| x.to_bits()));
        if step.done() {
            env.reset(None).expect("tasks can be reset");
            trace.extend(env.observation().iter().map(|x| x.to_bits()));
        }
    }
    trace
}

/// Plays to several moments, saves, and goes on in a fresh and in a used environment.
fn check(name: &str) {
    // In an episode, at its very start, and across the time limits of the short tasks.
    for (seed, moment) in [(1, 0), (2, 33), (3, 155)] {
        let mut env = fresh(name);
        env.reset(Some(seed)).expect("tasks can be reset");
        play(&mut *env, 0, moment);
        let observation = env.observation().to_vec();
        let state = env.save().expect("tasks can be saved");
        let expected = play(&mut *env, moment, 200);
        let after = env.save().expect("tasks can be saved");

        let mut never_reset = fresh(name);
        let mut used = fresh(name);
        used.reset(Some(99)).expect("tasks can be reset");
        play(&mut *used, 5, 41);
        for (kind, other) in [
            ("fresh", &mut never_reset),
            ("used", &mut used),
            ("its own", &mut env),
        ] {
            other.restore(&state).expect("a state of its kind");
            assert_eq!(other.observation(), observation, "{name}, {kind}");
            assert!(
                play(&mut **other, moment, 200) == expected,
                "{name} at {moment}, {kind}"
            );
            assert_eq!(other.save().expect("it can be saved"), after);
        }
    }
}

#[test]
fn every_task_goes_on_to_the_bit() {
    for name in available() {
        check(name);
    }
}

#[test]
fn a_finished_episode_stays_finished() {
    let mut env = Countdown::env(2, 10);
    env.reset(None).expect("it can be reset");
    for _ in 0..2 {
        env.step(&[1.0]).expect("the episode runs");
    }
    let state = env.save().expect("it can be saved");
    let mut other = Countdown::env(2, 10);
    other.reset(None).expect("it can be reset");
    other.restore(&state).expect("a state of its kind");
    assert!(matches!(
        other.step(&[1.0]),
        Err(EnvError::ResetNeeded { .. })
    ));
}

#[test]
fn a_vector_environment_goes_on_to_the_bit() {
    for name in available() {
        let new = |seed| VecEnv::new(name, 3, seed).expect("a registered task");
        let actions = |i: usize, dim: usize| -> Vec<f32> {
            (0..3 * dim)
                .map(|j| ((i * 5 + j) as f32 * 0.61).cos())
                .collect()
        };
        let mut envs = new(4);
        let dim = envs.action_dim();
        for i in 0..37 {
            envs.step(&actions(i, dim)).expect("valid actions");
        }
        let state = envs.state().expect("tasks can be saved");
        // As a file would hold it.
        let read: EnvState = state
            .arrays()
            .map(|(name, array)| (name.to_owned(), array.clone()))
            .collect();
        let observations = envs.observations().to_vec();
        let mut others = [new(4), new(8)];
        others[1].step(&actions(1, dim)).expect("valid actions");
        for other in &mut others {
            other.restore(&read).expect("a state of its kind");
            assert_eq!(other.observations(), observations, "{name}");
            assert!(other.last_step().rewards.iter().all(|r| *r == 0.0));
        }
        for i in 37..250 {
            let expected = envs.step(&actions(i, dim)).expect("valid actions").clone();
            for other in &mut others {
                let got = other.step(&actions(i, dim)).expect("valid actions");
                assert!(got == &expected, "{name}, step {i}");
                assert_eq!(other.observations(), envs.observations(), "{name}");
            }
        }
    }
}

fn invalid(result: Result<(), EnvError>) -> StateError {
    match result {
        Err(EnvError::InvalidState(error)) => error,
        Err(EnvError::InVector { source, .. }) => invalid(Err(*source)),
        other => panic!("expected an invalid state, got {other:?}"),
    }
}

#[test]
fn a_foreign_state_is_refused_and_changes_nothing() {
    let names = available();
    for (name, foreign) in names.iter().zip(names.iter().cycle().skip(1)) {
        let mut env = fresh(name);
        env.reset(Some(1)).expect("tasks can be reset");
        play(&mut *env, 0, 3);
        let state = fresh(foreign).save().expect("tasks can be saved");
        let before = env.save().expect("tasks can be saved");
        let error = invalid(env.restore(&state));
        assert!(!error.to_string().is_empty());
        assert_eq!(env.save().expect("tasks can be saved"), before, "{name}");
    }
    let mut hopping = fresh("Probe-ActionReward-v0");
    let state = fresh("Probe-ConstantReward-v0")
        .save()
        .expect("it can be saved");
    assert_eq!(
        invalid(hopping.restore(&state)).to_string(),
        "it is of task `Probe-ConstantReward-v0`, not of `Probe-ActionReward-v0`"
    );
}

/// The state with one array changed.
fn with(state: &EnvState, name: &str, array: StateArray) -> EnvState {
    let mut changed = state.clone();
    changed.insert(name, array);
    changed
}

#[test]
fn a_damaged_state_is_refused_and_changes_nothing() {
    for name in available() {
        let mut envs = VecEnv::new(name, 2, 0).expect("a registered task");
        let actions = vec![0.2; 2 * envs.action_dim()];
        envs.step(&actions).expect("valid actions");
        let state = envs.state().expect("it can be saved");
        let other = VecEnv::new(name, 2, 5).expect("a registered task");
        let other = other.state().expect("it can be saved");
        for (array, values) in other.arrays() {
            // The second environment is damaged after the first has been restored.
            let longer = match values.clone() {
                StateArray::F64(mut values) => {
                    values.push(0.0);
                    StateArray::F64(values)
                }
                StateArray::U64(mut values) => {
                    values.push(0);
                    StateArray::U64(values)
                }
                StateArray::Bytes(mut values) => {
                    values.push(0);
                    StateArray::Bytes(values)
                }
            };
            invalid(envs.restore(&with(&other, array, longer)));
            let missing: EnvState = other
                .arrays()
                .filter(|(name, _)| *name != array)
                .map(|(name, array)| (name.to_owned(), array.clone()))
                .collect();
            invalid(envs.restore(&missing));
        }
        for (array, value) in [
            ("format", StateArray::U64(vec![0])),
            ("count", StateArray::U64(vec![3])),
            ("episode_lengths", StateArray::U64(vec![0, u64::MAX])),
            ("env.1.extra", StateArray::F64(vec![])),
            ("extra", StateArray::F64(vec![])),
        ] {
            invalid(envs.restore(&with(&other, array, value)));
        }
        assert_eq!(envs.state().expect("it can be saved"), state, "{name}");
    }
}

#[test]
fn a_task_without_a_saved_state_says_so() {
    struct Forgetful(Box<dyn Env>);
    impl Env for Forgetful {
        fn name(&self) -> &'static str {
            "Forgetful"
        }
        fn observation_space(&self) -> &rescore_envs::Space {
            self.0.observation_space()
        }
        fn action_space(&self) -> &rescore_envs::Space {
            self.0.action_space()
        }
        fn reset(&mut self, seed: Option<u64>) -> Result<(), EnvError> {
            self.0.reset(seed)
        }
        fn step(&mut self, action: &[f32]) -> Result<rescore_envs::Step, EnvError> {
            self.0.step(action)
        }
        fn observation(&self) -> &[f64] {
            self.0.observation()
        }
    }
    let env = || -> Box<dyn Env> { Box::new(Forgetful(Countdown::env(3, 3))) };
    let mut envs = VecEnv::from_envs(vec![env()], 0).expect("one environment");
    let error = envs.state().expect_err("it has none").to_string();
    assert!(
        error.contains("`Forgetful` cannot be saved") && error.contains("implement `save`"),
        "{error}"
    );
    assert!(envs.restore(&EnvState::new()).is_err());
}
