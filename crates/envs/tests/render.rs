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

/// The models themselves ask for no more than 640x480. What lies outside of the buffer would be
/// black; as it is, a large frame is the small one in more detail.
#[test]
fn large_frames_are_drawn_to_their_edges() {
    let state = env("Hopper-v4").save().expect("it can be saved");
    let draw = |width, height| {
        let renderer = Renderer::new("Hopper-v4", &BTreeMap::new(), (width, height), None);
        let mut renderer = renderer.expect("EGL is there");
        renderer.frame(&state).expect("its own state").to_vec()
    };
    for (width, height, factor) in [(320, 180, 4), (100, 250, 4), (256, 256, 16)] {
        let small = draw(width, height);
        let large = draw(factor * width, factor * height);
        let (width, factor) = (width as usize, factor as usize);
        // From the middle of each block of pixels.
        let place =
            |x, y| 3 * ((factor * y + factor / 2) * factor * width + factor * x + factor / 2);
        let differs = |pixel: &usize| {
            let (x, y) = (pixel % width, pixel / width);
            (0..3).any(|i| large[place(x, y) + i].abs_diff(small[3 * pixel + i]) > 40)
        };
        let count = small.len() / 3;
        let differing = (0..count).filter(differs).count();
        // The floor's squares blur far away. Outside of 640x480 would be two thirds of the frame.
        assert!(differing * 4 < count, "{width}: {differing} of {count}");
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
    for size in [(0, 10), (10, 0), (4097, 10), (10, 100_000)] {
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
