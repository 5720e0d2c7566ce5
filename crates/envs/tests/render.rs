//! Frames show the task. Needs EGL, as drawing does.

use rescore_envs::mujoco::Renderer;
use rescore_envs::{Env, EnvError, TaskSettings, list, make};
use std::collections::{BTreeMap, HashSet};

const SIZE: (u32, u32) = (64, 48);

fn env(name: &str) -> Box<dyn Env> {
    let mut env = make(name, &TaskSettings::default()).expect("a registered task");
    env.reset(Some(0)).expect("it can be reset");
    env
}

#[test]
fn every_family_is_drawn_and_moves() {
    for entry in list().iter().filter(|entry| entry.name.ends_with("-v5")) {
        let mut env = env(entry.name);
        let mut renderer =
            Renderer::new(entry.name, &BTreeMap::new(), SIZE, None).expect("EGL is there");
        let draw = |renderer: &mut Renderer, env: &dyn Env| {
            let state = env.save().expect("it can be saved");
            renderer.frame(&state).expect("its own state").to_vec()
        };
        let first = draw(&mut renderer, &*env);
        assert_eq!(first.len(), 64 * 48 * 3);
        let colours: HashSet<&[u8]> = first.chunks(3).collect();
        assert!(
            colours.len() > 20,
            "{}: {} colours",
            entry.name,
            colours.len()
        );
        assert_eq!(draw(&mut renderer, &*env), first, "{}", entry.name);
        let before = env.save().expect("it can be saved");
        let action = vec![1.0; env.action_space().dim()];
        for _ in 0..8 {
            if env.step(&action).expect("it runs").done() {
                break;
            }
        }
        assert_ne!(draw(&mut renderer, &*env), first, "{}", entry.name);
        env.restore(&before).expect("its own state");
        assert_eq!(draw(&mut renderer, &*env), first, "{}", entry.name);
    }
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let new = |name, size, camera| Renderer::new(name, &BTreeMap::new(), size, camera);
    let message =
        |result: Result<Renderer, EnvError>| result.err().expect("must be refused").to_string();
    let error = message(new("Hopper-v4", SIZE, Some("front")));
    assert!(
        error.contains("no camera `front`; there are: track"),
        "{error}"
    );
    let error = message(new("Pusher-v5", SIZE, Some("front")));
    assert!(error.contains("the model has none"), "{error}");
    for size in [(0, 10), (10, 0), (100_000, 10)] {
        let error = message(new("Hopper-v4", size, None));
        assert!(error.contains("cannot be drawn"), "{error}");
    }
    assert!(matches!(
        new("Pendulum-v1", SIZE, None),
        Err(EnvError::UnknownTask { .. })
    ));

    let mut renderer = new("Hopper-v4", SIZE, Some("track")).expect("EGL is there");
    let foreign = [
        env("HalfCheetah-v4"),
        make("Pendulum-v1", &TaskSettings::default()).expect("ok"),
    ];
    for other in foreign {
        let state = other.save().expect("it can be saved");
        assert!(matches!(
            renderer.frame(&state),
            Err(EnvError::InvalidState(_))
        ));
    }
}
