//! Tasks that a user registers are as good as those that are built in.

mod common;

use std::collections::BTreeMap;

use common::Countdown;
use rescore_envs::{
    EnvError, NewTask, OptionDefault, OptionValue, Pendulum, TaskEnv, TaskOption, TaskSettings,
    VecEnv, find, list, make, register,
};

/// Four steps, if no time limit comes first.
fn countdown(name: &'static str) -> NewTask {
    NewTask::new(name, |_| Ok(Countdown::env(4, 1000)))
}

#[test]
fn it_is_found_listed_made_and_stepped_by_its_name() {
    let before = list().len();
    let task = countdown("Countdown-v0").description("count").time_limit(3);
    let entry = register(task).expect("a new name");
    assert_eq!((entry.observation_dim, entry.action_dim), (2, 1));
    assert_eq!((entry.action_low, entry.action_high), (0.0, 4.0));
    assert_eq!((entry.time_limit, entry.description), (Some(3), "count"));
    assert_eq!(find("Countdown-v0"), Ok(entry));
    assert!(list()[before..].contains(&entry));

    // Actions are in units of [-1, 1], of which 0.5 is 3 of the task's.
    let mut envs = VecEnv::new("Countdown-v0", 2, 0).expect("it is registered");
    for _ in 0..3 {
        envs.step(&[0.5, -1.0]).expect("good actions");
    }
    assert_eq!(envs.last_step().rewards, [3.0, 0.0]);
    assert_eq!(envs.last_step().truncated, [true, true]);

    let settings = TaskSettings {
        rescale_action: false,
        time_limit: Some(10),
        ..TaskSettings::default()
    };
    let mut env = make("Countdown-v0", &settings).expect("it is registered");
    env.reset(None).expect("it always can be");
    let ends: Vec<bool> = (0..4)
        .map(|_| env.step(&[3.0]).expect("a good action").terminated)
        .collect();
    assert_eq!(ends, [false, false, false, true]);
}

#[test]
fn a_name_is_registered_once() {
    register(countdown("Twice-v0")).expect("a new name");
    let tasks = list().len();
    for name in ["Twice-v0", "Pendulum-v1", "Hopper-v4"] {
        let error = register(countdown(name)).expect_err("taken");
        let message = error.to_string();
        assert!(
            message.contains(name) && message.contains("registered already"),
            "{message}"
        );
    }
    let own = |name: &str| list().iter().filter(|task| task.name == name).count();
    assert_eq!([own("Twice-v0"), own("Pendulum-v1")], [1, 1]);
    assert!(list().len() >= tasks);
}

#[test]
fn what_cannot_be_is_refused_and_not_registered() {
    for name in ["", "a/b", "a b", "ü"] {
        let error = register(countdown(name)).expect_err("no name").to_string();
        assert!(error.contains("names consist of"), "{error}");
        find(name).expect_err("not registered");
    }
    let error = register(countdown("Endless-v0").time_limit(0)).expect_err("no steps");
    assert!(error.to_string().contains("at least 1 step"), "{error}");
    let broken = NewTask::new("Broken-v0", |_| -> Result<TaskEnv<Pendulum>, _> {
        Err(EnvError::InvalidArgument("no device".to_owned()))
    });
    let error = register(broken).expect_err("its own error").to_string();
    assert_eq!(error, "no device");
    let error = find("Broken-v0").expect_err("not registered").to_string();
    assert!(error.contains("unknown task `Broken-v0`"), "{error}");
}

#[test]
fn its_options_have_defaults_and_are_checked() {
    const OPTIONS: &[TaskOption] = &[
        TaskOption::new("angle", OptionDefault::Number(0.5)),
        TaskOption::new("turns", OptionDefault::Integer(0)),
        TaskOption::new("velocity", OptionDefault::Number(0.25)).fixed(),
    ];
    let upright = NewTask::new("Upright-v0", |options| {
        let mut pendulum = Pendulum::new()?;
        let angle = options.number("angle") + options.integer("turns") as f64;
        pendulum.set_state(angle, options.number("velocity"));
        Ok(TaskEnv::new(pendulum))
    });
    register(upright.options(OPTIONS)).expect("a new name");
    let cosine = |options: &[(&str, OptionValue)]| {
        let options = options.iter().cloned();
        let settings = TaskSettings {
            options: options
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            ..TaskSettings::default()
        };
        make("Upright-v0", &settings).map(|env| env.observation()[0] as f32)
    };
    assert_eq!(cosine(&[]), Ok(0.5_f64.cos() as f32));
    let angle = ("angle", OptionValue::Integer(2));
    let turns = ("turns", OptionValue::Integer(-3));
    assert_eq!(cosine(&[angle, turns]), Ok((-1.0_f64).cos() as f32));
    let error = cosine(&[("agnle", OptionValue::Number(1.0))]).expect_err("misspelt");
    assert!(
        error.to_string().contains("did you mean `angle`?"),
        "{error}"
    );
    let error = cosine(&[("velocity", OptionValue::Number(1.0))]).expect_err("fixed");
    assert!(
        error.to_string().contains("no option `velocity`"),
        "{error}"
    );
    let resolved = find("Upright-v0").and_then(|entry| entry.resolve_options(&BTreeMap::new()));
    let names: Vec<_> = resolved.expect("defaults").into_keys().collect();
    assert_eq!(names, ["angle", "turns"]);
}

#[test]
fn a_task_may_be_made_of_another() {
    // The registry is not locked while a task is made.
    let slow = NewTask::new("Slow-v0", |_| make("Pendulum-v1", &TaskSettings::default()));
    register(slow.sequential()).expect("a new name");
    let entry = find("Slow-v0").expect("registered");
    assert_eq!((entry.action_low, entry.parallel), (-1.0, false));
    VecEnv::new("Slow-v0", 3, 1).expect("it can be made");
}

#[test]
fn the_nearest_name_may_be_a_task_of_ones_own() {
    register(countdown("Zzyzx-v0")).expect("a new name");
    let error = find("zzyzx-v1").expect_err("misspelt").to_string();
    assert_eq!(error, "unknown task `zzyzx-v1`; did you mean `Zzyzx-v0`?");
}
