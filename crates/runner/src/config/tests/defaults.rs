//! Defaults of algorithms, presets and task files, and of runs that were begun before a key was there.

use rescore_agents::Algorithm;

use super::{error, with_file, with_set};
use crate::config::embedded::{TASK_FILES, preset_file};
use crate::config::{Request, fixed_text, resolve};

#[test]
fn task_files_are_valid_for_every_algorithm_and_name_real_tasks() {
    for (env, _) in TASK_FILES {
        for algorithm in Algorithm::all() {
            resolve(&Request {
                algo: Some(algorithm.name.into()),
                env: Some((*env).into()),
                ..Request::default()
            })
            .unwrap_or_else(|error| panic!("{env} with {}: {error}", algorithm.name));
        }
    }
}

/// What presets bring for the training loop is a configuration file of every algorithm.
#[test]
fn loop_settings_of_presets_are_valid_and_lie_below_task_files() {
    for (preset, steps, ratio, every) in [
        ("small", 200_000, 0.25, 10_000),
        ("full", 1_000_000, 1.0, 25_000),
    ] {
        let (name, text) = preset_file("dpmd", preset).expect("a file");
        assert_eq!(name, format!("configs/presets/{preset}.toml"));
        let config = with_file(&format!("env = \"HalfCheetah-v4\"\n{text}")).expect("valid");
        let training = &config.training;
        assert_eq!((config.steps, training.updates_per_step), (steps, ratio));
        assert_eq!((training.num_envs, training.warmup_steps), (4, 5000));
        assert!(training.normalize_observation && training.normalize_reward);
        assert!(training.count_warmup);
        assert_eq!(config.evaluation.every, every);
        assert_eq!(config.updates(), (ratio * (steps - 5000) as f64) as u64);
    }
    for algorithm in Algorithm::all() {
        for preset in algorithm.presets() {
            let of = |env: &str| {
                let named = (algorithm.presets().len() > 1).then(|| preset.to_owned());
                resolve(&Request {
                    algo: Some(algorithm.name.into()),
                    preset: named,
                    env: Some(env.into()),
                    ..Request::default()
                })
                .unwrap_or_else(|error| panic!("{} {preset}: {error}", algorithm.name))
            };
            let large = of("HalfCheetah-v4");
            let normalizes = ["small", "full"].contains(&preset);
            assert_eq!(large.training.normalize_reward, normalizes, "{preset}");
            assert_eq!(large.training.num_envs, if normalizes { 4 } else { 5 });
            let published = algorithm.name.ends_with("-reference");
            assert_eq!(
                large.training.count_warmup, !published,
                "{}",
                algorithm.name
            );
            for (env, _) in TASK_FILES {
                let small = of(env).training;
                assert_eq!(small.num_envs, 5, "{env}");
                // Values of probes are compared with exact ones.
                let as_it_is = env.starts_with("Probe") || !normalizes;
                assert_eq!(small.normalize_reward, !as_it_is, "{env}");
                assert!(small.warmup_steps <= 1000, "{env}");
            }
        }
    }
}

#[test]
fn the_published_algorithms_count_from_the_end_of_warm_up() {
    let config = |algo: &str, set: &[&str]| {
        let config = resolve(&Request {
            algo: Some(algo.into()),
            env: Some("HalfCheetah-v4".into()),
            set: set.iter().map(ToString::to_string).collect(),
            ..Request::default()
        });
        config.expect("valid")
    };
    for algo in ["dpmd-reference", "sdac-reference"] {
        let published = config(algo, &[]);
        assert_eq!(published.agent.preset, None, "one preset is none to name");
        assert_eq!(published.training.warmup_end(), 0);
        assert_eq!(published.updates(), 200_000);
        let other = config(algo, &["count_warmup=true"]);
        assert_eq!(other.updates(), 194_000, "a setting wins over the preset");
    }
    // A preset of the same name.
    let sac = config("sac", &["preset=reference"]);
    assert_eq!(sac.training.warmup_end(), 30_000);
}

#[test]
fn a_run_of_warm_up_alone_is_refused() {
    for (set, origin) in [
        (&["steps=1000", "warmup_steps=1001"][..], "--set steps=1000"),
        (&["warmup_steps=1000000"], "--set warmup_steps=1000000"),
        (
            &["steps=1004", "warmup_steps=1001", "num_envs=4"],
            "--set steps=1004",
        ),
    ] {
        let (message, hint) = error(with_set(set));
        assert!(
            message.starts_with(&format!("{origin}: `steps` is ")),
            "{message}"
        );
        assert!(
            message.contains("are warm-up (`training.warmup_steps`)"),
            "{message}"
        );
        for way in ["--steps N", "warmup_steps=N", "count_warmup=false"] {
            assert!(hint.contains(way), "{hint}");
        }
        let with = [set, &["count_warmup=false"]].concat();
        with_set(&with).expect("steps of their own");
    }
    let (message, _) = error(with_file(
        "steps = 7\n[training]\nwarmup_steps = 9\nnum_envs = 5\n",
    ));
    let numbers = "my.toml:1:1: `steps` is 7, but the first 10 of them are warm-up";
    assert!(message.contains(numbers), "{message}");
    with_set(&["steps=1005", "warmup_steps=1001", "num_envs=4"]).expect("one step is left");
    let (message, _) = error(with_set(&["count_warmup=1"]));
    assert!(message.contains("true or false"), "{message}");
}

/// Runs that were begun before warm-up could count go on as they were.
#[test]
fn a_run_without_the_key_does_not_count_its_warm_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = with_set(&["count_warmup=false"]).expect("valid");
    let text = config.to_toml().replace("count_warmup = false\n", "");
    assert!(!text.contains("count_warmup"));
    std::fs::write(folder.path().join("config.toml"), text).expect("writable");
    let read = resolve(&Request::of_run(folder.path())).expect("valid");
    assert_eq!(read, config);
    assert!(!fixed_text(&read).contains("count_warmup"));
    let counted = fixed_text(&with_set(&["count_warmup=true"]).expect("valid"));
    assert!(counted.contains("training.count_warmup = true"));
}

/// Runs that were begun before there were event files go on without them, or with them from then on.
#[test]
fn a_run_without_the_key_writes_no_event_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = with_set(&[]).expect("valid");
    let text = config.to_toml().replace("tensorboard = false\n", "");
    assert!(!text.contains("tensorboard ="), "{text}");
    std::fs::write(folder.path().join("config.toml"), text).expect("writable");
    let read = resolve(&Request::of_run(folder.path())).expect("valid");
    assert_eq!(read, config);
    let with = with_set(&["tensorboard=true"]).expect("valid");
    assert_eq!(fixed_text(&read), fixed_text(&with));
}
