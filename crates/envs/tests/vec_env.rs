//! The vector environment is nothing but its environments, stepped together.

mod common;

use common::{BROKEN, Countdown};
use rescore_envs::{EnvError, Episode, TaskSettings, VecEnv, VecStep, derive_seed, list, make};

const COUNT: usize = 5;

/// Actions that differ by step, environment and column, and exceed the bounds.
fn actions(step: usize, action_dim: usize) -> Vec<f32> {
    let value = |i: usize| 1.3 * ((step * 31 + i) as f32 * 0.37).sin();
    (0..COUNT * action_dim).map(value).collect()
}

/// Everything that `steps` steps of a vector environment gave.
fn run(name: &str, steps: usize, parallel: bool) -> Vec<(VecStep, Vec<f32>)> {
    let mut envs = VecEnv::new(name, COUNT, 9).expect("a registered task");
    envs.set_parallel(parallel);
    (0..steps)
        .map(|step| {
            let actions = actions(step, envs.action_dim());
            let result = envs.step(&actions).expect("valid actions").clone();
            (result, envs.observations().to_vec())
        })
        .collect()
}

/// The same from single environments, stepped in turn and reset by hand.
fn run_serially(name: &str, steps: usize) -> Vec<(VecStep, Vec<f32>)> {
    let mut envs: Vec<_> = (0..COUNT)
        .map(|i| {
            let mut env = make(name, &TaskSettings::default()).expect("a registered task");
            env.reset(Some(derive_seed(9, i)))
                .expect("tasks can be reset");
            env
        })
        .collect();
    let mut running = [Episode {
        total_reward: 0.0,
        length: 0,
    }; COUNT];
    let mut trace = Vec::new();
    for step in 0..steps {
        let mut result = VecStep::default();
        let mut observations = Vec::new();
        let action_dim = envs[0].action_space().dim();
        let actions = actions(step, action_dim);
        for (i, env) in envs.iter_mut().enumerate() {
            let action = &actions[i * action_dim..(i + 1) * action_dim];
            let step = env.step(action).expect("valid actions");
            running[i].total_reward += step.reward;
            running[i].length += 1;
            result.rewards.push(step.reward as f32);
            result.terminated.push(step.terminated);
            result.truncated.push(step.truncated);
            result.warnings.push(step.warnings);
            // Of the step, also where a reset follows.
            result.info.push(env.info().to_vec());
            result
                .next_observations
                .extend(env.observation().iter().map(|x| *x as f32));
            result.finished.push(step.done().then_some(running[i]));
            if step.done() {
                running[i] = Episode {
                    total_reward: 0.0,
                    length: 0,
                };
                env.reset(None).expect("tasks can be reset");
            }
            observations.extend(env.observation().iter().map(|x| *x as f32));
        }
        trace.push((result, observations));
    }
    trace
}

#[test]
fn any_number_of_threads_gives_the_bits_of_single_environments() {
    for entry in list() {
        if entry.needs_mujoco && !cfg!(feature = "mujoco") {
            continue;
        }
        // More steps than the pendulum's time limit, so that it is reset too.
        let steps = 210;
        let expected = run_serially(entry.name, steps);
        assert_eq!(
            run(entry.name, steps, false),
            expected,
            "{} in turn",
            entry.name
        );
        for threads in [1, 2, 4] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let got = pool
                .expect("a pool")
                .install(|| run(entry.name, steps, true));
            assert_eq!(got, expected, "{} with {threads} threads", entry.name);
        }
    }
}

#[test]
fn the_final_observation_survives_the_reset() {
    // Environment 0 terminates after 2 steps, environment 1 is truncated after 3, and
    // environment 2 ends both ways at once after 3.
    let envs = vec![
        Countdown::env(2, 10),
        Countdown::env(10, 3),
        Countdown::env(3, 3),
    ];
    let mut envs = VecEnv::from_envs(envs, 0).expect("equal dimensions");
    assert_eq!(envs.observations(), [0.0; 6]);

    let step = envs.step(&[1.0, 2.0, 3.0]).expect("valid actions");
    assert_eq!(step.rewards, [1.0, 2.0, 3.0]);
    assert_eq!(step.next_observations, [1.0, 1.0, 1.0, 2.0, 1.0, 3.0]);
    assert_eq!(step.finished, [None; 3]);

    let step = envs.step(&[1.0, 2.0, 3.0]).expect("valid actions");
    assert_eq!(step.terminated, [true, false, false]);
    assert_eq!(step.truncated, [false; 3]);
    assert_eq!(
        step.next_observations,
        [2.0, 2.0, 2.0, 4.0, 2.0, 6.0],
        "not the reset's"
    );
    assert_eq!(
        step.finished,
        [
            Some(Episode {
                total_reward: 2.0,
                length: 2
            }),
            None,
            None
        ]
    );
    assert_eq!(
        envs.observations(),
        [0.0, 0.0, 2.0, 4.0, 2.0, 6.0],
        "the reset's"
    );

    let step = envs.step(&[1.0, 2.0, 3.0]).expect("valid actions");
    assert_eq!(step.terminated, [false, false, true]);
    assert_eq!(step.truncated, [false, true, true]);
    assert_eq!(step.next_observations, [1.0, 1.0, 3.0, 6.0, 3.0, 9.0]);
    let ended = |total_reward| {
        Some(Episode {
            total_reward,
            length: 3,
        })
    };
    assert_eq!(step.finished, [None, ended(6.0), ended(9.0)]);
    assert_eq!(envs.observations(), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn reset_drops_episodes_and_reseed_starts_over() {
    let mut envs = VecEnv::new("Pendulum-v1", COUNT, 3).expect("a registered task");
    let first = envs.observations().to_vec();
    let distinct: std::collections::HashSet<_> = first
        .chunks(3)
        .map(|row| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        .collect();
    assert_eq!(distinct.len(), COUNT, "each environment has its own stream");

    for _ in 0..150 {
        envs.step(&[0.0; COUNT]).expect("valid actions");
    }
    let second = envs.reset().expect("tasks can be reset").to_vec();
    assert_ne!(second, first, "random streams go on");
    for step in 1..=200 {
        let result = envs.step(&[0.0; COUNT]).expect("valid actions");
        assert_eq!(
            result.truncated,
            [step == 200; COUNT],
            "the time limit starts anew"
        );
    }
    let lengths = envs
        .last_step()
        .finished
        .iter()
        .map(|e| e.map(|e| e.length));
    assert!(
        lengths.eq([Some(200); COUNT]),
        "statistics do not span a reset"
    );

    assert_eq!(envs.reseed(3).expect("tasks can be reset"), first);
    assert_ne!(envs.reseed(4).expect("tasks can be reset"), first);
}

#[test]
fn bad_actions_are_refused_before_anything_is_stepped() {
    let envs = (0..3).map(|_| Countdown::env(10, 10)).collect();
    let mut envs = VecEnv::from_envs(envs, 0).expect("equal dimensions");
    let error = envs.step(&[0.0; 2]).expect_err("a row is missing");
    assert!(
        matches!(
            error,
            EnvError::ActionLength {
                expected: 3,
                got: 2,
                ..
            }
        ),
        "{error}"
    );
    let error = envs.step(&[0.0, 0.0, f32::NAN]).expect_err("not finite");
    assert!(
        matches!(error, EnvError::ActionNotFinite { index: 2, .. }),
        "{error}"
    );
    let step = envs.step(&[0.0; 3]).expect("valid actions");
    assert_eq!(
        step.next_observations,
        [1.0, 0.0, 1.0, 0.0, 1.0, 0.0],
        "the first step of all"
    );
}

#[test]
fn a_failing_environment_is_named() {
    let envs = (0..3).map(|_| Countdown::env(10, 10)).collect();
    let mut envs = VecEnv::from_envs(envs, 0).expect("equal dimensions");
    let error = envs.step(&[0.0, BROKEN, BROKEN]).expect_err("it breaks");
    assert_eq!(
        error.to_string(),
        "environment 1 of the vector environment: broken"
    );
    envs.reset().expect("it can be reset");
    envs.step(&[0.0; 3]).expect("it goes on after a reset");
}

#[test]
fn what_cannot_be_stepped_together_is_refused() {
    assert!(matches!(
        VecEnv::new("Pendulum-v1", 0, 0),
        Err(EnvError::InvalidArgument(_))
    ));
    assert!(matches!(
        VecEnv::new("Pendulum", 1, 0),
        Err(EnvError::UnknownTask { .. })
    ));
    let settings = TaskSettings::default();
    let envs = ["Pendulum-v1", "MultiGoal-v0"]
        .map(|name| make(name, &settings).expect("a registered task"))
        .into();
    let error = VecEnv::from_envs(envs, 0)
        .err()
        .expect("other dimensions")
        .to_string();
    assert!(
        error.contains("MultiGoal-v0") && error.contains("Pendulum-v1"),
        "{error}"
    );
}

#[test]
fn environments_are_looked_at_between_steps() {
    let envs = vec![Countdown::env(9, 9), Countdown::env(9, 9)];
    let mut envs = VecEnv::from_envs(envs, 0).expect("equal dimensions");
    envs.step(&[1.0, 2.0]).expect("valid actions");
    let looked: Vec<_> = envs.envs().map(|env| env.observation().to_vec()).collect();
    let given: Vec<Vec<f64>> = envs
        .observations()
        .chunks(2)
        .map(|row| row.iter().map(|x| f64::from(*x)).collect())
        .collect();
    assert_eq!(looked, given);
}
