//! The MuJoCo tasks as a user meets them. That they are Gymnasium's is what the golden test shows.

use rescore_envs::mujoco::MujocoTask;
use rescore_envs::{EnvError, Task, TaskSettings, list, make, seeded_rng};

fn mujoco_tasks() -> Vec<MujocoTask> {
    let entries = list().into_iter().filter(|entry| entry.needs_mujoco);
    entries
        .map(|entry| MujocoTask::new(entry.name).expect("a registered task"))
        .collect()
}

#[test]
fn the_core_steps_past_termination_and_the_environment_refuses_to() {
    let mut core = MujocoTask::new("InvertedPendulum-v4").expect("a registered task");
    core.set_state(&[0.0, 0.5], &[0.0, 0.0])
        .expect("two positions and velocities");
    for _ in 0..3 {
        assert!(core.step(&[0.0]).expect("the core goes on").terminated);
    }

    let settings = TaskSettings::default();
    let mut env = make("InvertedPendulum-v4", &settings).expect("a registered task");
    env.reset(Some(0)).expect("it can be reset");
    let steps = (0..1000)
        .take_while(|_| !env.step(&[1.0]).expect("it runs").terminated)
        .count();
    assert!(
        steps < 100,
        "full force to one side tips the pole, but it stood {steps} steps"
    );
    assert!(matches!(
        env.step(&[1.0]),
        Err(EnvError::ResetNeeded { .. })
    ));
}

#[test]
fn a_state_set_twice_gives_the_same_trajectory() {
    for mut task in mujoco_tasks() {
        let name = task.name().to_owned();
        task.reset(&mut seeded_rng(5)).expect("it can be reset");
        let (qpos, qvel) = (task.qpos().to_vec(), task.qvel().to_vec());
        let action = vec![0.3; task.action_space().dim()];
        let mut run = || {
            task.set_state(&qpos, &qvel).expect("a state of its own");
            let rewards = (0..50).map(|_| task.step(&action).expect("it runs").reward.to_bits());
            let rewards: Vec<_> = rewards.collect();
            (
                rewards,
                task.qpos().iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(run(), run(), "{name}");
    }
}

#[test]
fn a_state_of_another_model_is_refused() {
    for mut task in mujoco_tasks() {
        let before = task.observation().to_vec();
        let (nq, nv) = (task.qpos().len(), task.qvel().len());
        for (q, v, what) in [(nq + 1, nv, "qpos"), (nq, nv - 1, "qvel")] {
            let error = task
                .set_state(&vec![0.0; q], &vec![0.0; v])
                .expect_err("wrong length");
            assert!(
                matches!(&error, EnvError::StateLength { what: part, .. } if *part == what),
                "{error}"
            );
        }
        assert_eq!(task.observation(), before);
    }
}

#[test]
fn actions_beyond_the_bounds_act_as_the_bound_but_cost_what_they_are() {
    let mut task = MujocoTask::new("HalfCheetah-v4").expect("a registered task");
    let (qpos, qvel) = (task.qpos().to_vec(), task.qvel().to_vec());
    let mut step = |value: f32| {
        task.set_state(&qpos, &qvel).expect("a state of its own");
        let reward = task.step(&[value; 6]).expect("it runs").reward;
        (reward, task.observation().to_vec())
    };
    let (at_bound, observation) = step(1.0);
    let (beyond, same) = step(2.0);
    assert_eq!(observation, same, "actuators clamp");
    // The cost is 0.1 times the sum of squares: 0.6 and 2.4, in single precision.
    assert!(
        (at_bound - beyond - 1.8).abs() < 1e-6,
        "{at_bound} and {beyond}"
    );
}

#[test]
fn the_terms_of_the_reward_are_told() {
    let mut task = MujocoTask::new("HalfCheetah-v4").expect("a registered task");
    let reward = task.step(&[0.5; 6]).expect("it runs").reward;
    let term = |name| {
        task.info()
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    };
    let sum = term("reward_run").expect("a term") + term("reward_ctrl").expect("a term");
    assert!((reward - sum).abs() < 1e-12);
}

#[test]
fn a_task_that_is_not_of_mujoco_has_no_core() {
    assert!(matches!(
        MujocoTask::new("Pendulum-v1"),
        Err(EnvError::UnknownTask { .. })
    ));
}
