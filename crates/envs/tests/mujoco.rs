//! The MuJoCo tasks as a user meets them. That they are Gymnasium's is what the golden test shows.

use rand::RngExt;
use rescore_envs::mujoco::MujocoTask;
use rescore_envs::{
    Env, EnvError, OptionValue, StateArray, Task, TaskSettings, VecEnv, list, make, seeded_rng,
};

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

#[test]
fn a_diverged_simulation_is_a_truncated_episode() {
    // What somebody else left behind; none is there as a rule.
    let _ = std::fs::remove_file("MUJOCO_LOG.TXT");
    for name in ["HalfCheetah-v4", "Ant-v5", "InvertedPendulum-v4"] {
        let mut env = make(name, &TaskSettings::default()).expect("a registered task");
        env.reset(Some(0)).expect("it can be reset");
        let dim = env.action_space().dim();
        assert_eq!(env.step(&vec![0.1; dim]).expect("it runs").warnings, 0);
        // Beyond what MuJoCo calls bad (1e10), so that it warns and resets itself.
        let task = MujocoTask::new(name).expect("a registered task");
        let first_velocity = 1 + task.qpos().len();
        let diverge = |env: &mut dyn Env| {
            let mut state = env.save().expect("it can be saved");
            let (array, mut values) = state
                .arrays()
                .find_map(|(array, values)| match values {
                    StateArray::F64(values) if array.ends_with("integration") => {
                        Some((array.to_owned(), values.clone()))
                    }
                    _ => None,
                })
                .expect("MuJoCo's state is saved");
            values[first_velocity] = 1e11;
            state.insert(array, StateArray::F64(values));
            env.restore(&state).expect("a state of its form");
        };
        diverge(&mut *env);
        let step = env.step(&vec![0.1; dim]).expect("it runs");
        assert!(step.warnings > 0, "{name}");
        assert!(step.truncated && !step.terminated, "{name}: {step:?}");
        assert!(step.reward.abs() < f64::MIN_POSITIVE, "{name}: {step:?}");
        assert!(matches!(
            env.step(&vec![0.1; dim]),
            Err(EnvError::ResetNeeded { .. })
        ));
        env.reset(None).expect("it can be reset");
        assert_eq!(
            env.step(&vec![0.1; dim]).expect("it runs").warnings,
            0,
            "counted once"
        );

        // Within a vector environment the warning is told, and the next episode begins.
        diverge(&mut *env);
        let mut envs = VecEnv::from_envs(vec![env], 0).expect("one environment");
        let mut state = envs.state().expect("it can be saved");
        for (array, values) in envs.state().expect("it can be saved").arrays() {
            if let (true, StateArray::F64(values)) = (array.ends_with("integration"), values) {
                let mut values = values.clone();
                values[first_velocity] = 1e11;
                state.insert(array, StateArray::F64(values));
            }
        }
        envs.restore(&state).expect("a state of its form");
        let step = envs.step(&vec![0.1; dim]).expect("it runs");
        assert!(step.warnings[0] > 0 && step.truncated[0] && step.finished[0].is_some());
        let step = envs.step(&vec![0.1; dim]).expect("it runs");
        assert_eq!((step.warnings[0], step.finished[0]), (0, None));
    }
    assert!(!std::path::Path::new("MUJOCO_LOG.TXT").exists());
}

/// How many of 300 episodes with random actions, each held for 20 steps, move the object by more
/// than 5 cm.
fn episodes_that_move_the_object(settings: &TaskSettings) -> usize {
    let mut env = make("Pusher-v4", settings).expect("a registered task");
    let mut rng = seeded_rng(1);
    (0..300)
        .filter(|seed| {
            env.reset(Some(*seed)).expect("it can be reset");
            let object = |env: &dyn Env| [env.observation()[17], env.observation()[18]];
            let start = object(&*env);
            let mut action = [0.0; 7];
            for step in 0..100 {
                if step % 20 == 0 {
                    action = std::array::from_fn(|_| rng.random_range(-1.0..1.0));
                }
                env.step(&action).expect("it runs");
            }
            let end = object(&*env);
            (end[0] - start[0]).hypot(end[1] - start[1]) > 0.05
        })
        .count()
}

#[test]
fn the_pusher_pushes_only_when_repaired() {
    assert_eq!(episodes_that_move_the_object(&TaskSettings::default()), 0);
    let repaired = TaskSettings {
        options: [("repair_object".to_owned(), OptionValue::Flag(true))].into(),
        ..TaskSettings::default()
    };
    // On MuJoCo 2.3.7, unrepaired, 27 of 300 did: within three standard deviations of that.
    let moved = episodes_that_move_the_object(&repaired);
    assert!((12..=42).contains(&moved), "{moved}");
}

#[test]
fn wrong_options_are_refused() {
    let with = |task: &str, name: &str, value| {
        let settings = TaskSettings {
            options: [(name.to_owned(), value)].into(),
            ..TaskSettings::default()
        };
        make(task, &settings)
    };
    let message =
        |result: Result<Box<dyn Env>, EnvError>| result.err().expect("must be refused").to_string();
    let error = message(with(
        "Ant-v5",
        "main_body",
        OptionValue::Text("tail".into()),
    ));
    assert!(error.contains("no body called `tail`"), "{error}");
    let error = message(with(
        "Ant-v5",
        "main_body",
        OptionValue::Text("a\0b".into()),
    ));
    assert!(error.contains("no body"), "{error}");
    let error = message(with(
        "Hopper-v4",
        "xml_file",
        OptionValue::Text("a.xml".into()),
    ));
    assert!(
        error.contains("`Hopper-v4` has no option `xml_file`"),
        "{error}"
    );
    let error = message(with(
        "Hopper-v5",
        "xml_file",
        OptionValue::Text("a.xml".into()),
    ));
    assert!(
        error.contains("\"a.xml\"") && error.contains("hopper.xml"),
        "{error}"
    );
    let error = message(with(
        "Hopper-v5",
        "xml_file",
        OptionValue::Text("./a.xml".into()),
    ));
    assert!(error.contains("./a.xml cannot be used"), "{error}");
    let error = message(with(
        "Hopper-v5",
        "xml_file",
        OptionValue::Text("./a\0".into()),
    ));
    assert!(error.contains("NUL"), "{error}");
    // A model of another task.
    let file = OptionValue::Text("inverted_pendulum.xml".into());
    for task in [
        "HalfCheetah-v5",
        "Ant-v5",
        "Humanoid-v5",
        "Pusher-v5",
        "Reacher-v5",
    ] {
        let error = message(with(task, "xml_file", file.clone()));
        let sizes = "2 positions, 2 velocities and 1 actuators [0 (`slide`)], but the task needs";
        assert!(error.contains(sizes), "{task}: {error}");
    }
    assert!(matches!(
        with("Pendulum-v1", "reset_noise_scale", OptionValue::Number(0.1)),
        Err(EnvError::UnknownOption { .. })
    ));
}
