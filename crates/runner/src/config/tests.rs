//! Tests of the layers as a whole.

use std::path::PathBuf;

use rescore_agents::Algorithm;

use super::embedded::{TASK_FILES, preset_file};
use super::{Config, Request, resolve};
use crate::RunError;

/// A configuration file in a temporary folder, which must outlive its use.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("my.toml");
    std::fs::write(&path, text).expect("writable");
    (folder, path)
}

fn with_file(text: &str) -> Result<Config, RunError> {
    let (_folder, path) = file(text);
    resolve(&Request {
        config_file: Some(path),
        ..Request::default()
    })
}

fn with_set(set: &[&str]) -> Result<Config, RunError> {
    resolve(&Request {
        // A task without a file of its own.
        env: Some("HalfCheetah-v4".into()),
        set: set.iter().map(ToString::to_string).collect(),
        ..Request::default()
    })
}

/// The value at a dotted path of a resolved configuration.
fn value(config: &Config, path: &str) -> toml::Value {
    let table: toml::Table = toml::from_str(&config.to_toml()).expect("our own output");
    path.split('.')
        .try_fold(toml::Value::Table(table), |value, key| {
            value.get(key).cloned()
        })
        .unwrap_or_else(|| panic!("no {path} in the configuration"))
}

fn error(result: Result<Config, RunError>) -> (String, String) {
    let error = result.expect_err("a mistake");
    assert_eq!(error.exit_code(), 2, "{error}");
    (error.to_string(), error.hint().unwrap_or_default())
}

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
    assert!(!super::fixed_text(&read).contains("count_warmup"));
    let counted = super::fixed_text(&with_set(&["count_warmup=true"]).expect("valid"));
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
    assert_eq!(super::fixed_text(&read), super::fixed_text(&with));
}

#[test]
fn the_option_for_a_preset_is_the_setting() {
    let config = |preset: &str, set: &[&str]| {
        resolve(&Request {
            algo: Some("sac".into()),
            preset: Some(preset.into()),
            set: set.iter().map(ToString::to_string).collect(),
            ..Request::default()
        })
    };
    let set = |name: &str| {
        resolve(&Request {
            algo: Some("sac".into()),
            set: vec![format!("agent.preset={name}")],
            ..Request::default()
        })
    };
    for preset in ["textbook", "reference"] {
        assert_eq!(
            config(preset, &[]).expect("valid"),
            set(preset).expect("valid")
        );
    }
    let over = config("textbook", &["preset=reference"]).expect("valid");
    assert_eq!(over, set("reference").expect("valid"), "--set wins");
    let (message, hint) = error(config("refrence", &[]));
    assert!(
        message.contains("--preset refrence: unknown preset `refrence`"),
        "{message}"
    );
    assert!(
        hint.contains("`reference`") && hint.contains("textbook"),
        "{hint}"
    );
    let (message, _) = error(resolve(&Request {
        algo: Some("dpmd-reference".into()),
        preset: Some("small".into()),
        ..Request::default()
    }));
    assert!(
        message.contains("`dpmd-reference` has no presets"),
        "{message}"
    );
}

#[test]
fn a_resolved_configuration_resolves_to_itself() {
    for algorithm in Algorithm::all() {
        let config = resolve(&Request {
            algo: Some(algorithm.name.into()),
            seed: Some(7),
            set: vec![
                "lr=1e-3".into(),
                "hidden_dims=[8]".into(),
                "critic.members=3".into(),
            ],
            ..Request::default()
        })
        .expect("valid");
        assert_eq!(with_file(&config.to_toml()).expect("valid"), config);
    }
}

#[test]
fn higher_layers_win() {
    let (_folder, path) =
        file("seed = 1\n[agent]\ngamma = 0.5\nacting.noise = 0.5\n[training]\nnum_envs = 3\n");
    let config = resolve(&Request {
        config_file: Some(path),
        env: Some("Pendulum-v1".into()),
        seed: Some(2),
        set: vec![
            "gamma=0.6".into(),
            "training.num_envs=4".into(),
            "gamma=0.7".into(),
        ],
        ..Request::default()
    })
    .expect("valid");
    assert_eq!(config.seed, 2, "an option wins over the file");
    assert_eq!(
        value(&config, "agent.gamma"),
        0.7.into(),
        "the last --set wins"
    );
    assert_eq!(
        value(&config, "agent.acting.noise"),
        0.5.into(),
        "the file wins over the defaults"
    );
    assert_eq!(config.training.num_envs, 4);
    assert_ne!(
        config.training.warmup_steps,
        super::TrainingConfig::default().warmup_steps,
        "the task's file wins over the defaults"
    );
}

#[test]
fn an_alias_sets_all_its_keys_unless_a_key_above_says_otherwise() {
    let set = [
        "lr=1e-3",
        "critic.learning_rate=2e-3",
        "critic.network.kind=mlp",
        "hidden_dims=[8, 8]",
    ];
    let config = with_set(&set).expect("valid");
    assert_eq!(value(&config, "agent.critic.learning_rate"), 2e-3.into());
    assert_eq!(value(&config, "agent.actor.learning_rate"), 1e-3.into());
    for table in ["critic", "actor"] {
        let widths = value(&config, &format!("agent.{table}.network.hidden_dims"));
        assert_eq!(widths, vec![8, 8].into());
    }
    let config = with_file("[agent]\nlr = 0.5\n").expect("valid");
    assert_eq!(value(&config, "agent.critic.learning_rate"), 0.5.into());
}

#[test]
fn an_explicit_key_in_any_layer_wins_over_the_preset() {
    let (_folder, path) = file("[agent]\nlog_std_max = 1.5\n");
    let config = resolve(&Request {
        algo: Some("sac".into()),
        config_file: Some(path),
        set: vec!["preset=reference".into()],
        ..Request::default()
    })
    .expect("valid");
    assert_eq!(value(&config, "agent.preset"), "reference".into());
    assert_eq!(value(&config, "agent.log_std_max"), 1.5.into(), "stated");
    let scale = value(&config, "agent.reward_scale");
    assert_eq!(scale, 0.2.into(), "from the preset");
}

#[test]
fn a_preset_that_is_gone_names_what_there_is_instead() {
    for (algo, preset, instead) in [
        ("dpmd", "corrected", "q_normalization=standardize"),
        ("sdac", "corrected", "q_scale=1.0"),
        ("dpmd", "reference", "`dpmd-reference`"),
        ("sdac-reference", "fast", "`--algo sdac`"),
    ] {
        let (message, hint) = error(resolve(&Request {
            algo: Some(algo.into()),
            set: vec![format!("preset={preset}")],
            ..Request::default()
        }));
        assert!(
            message.contains(&format!("`{preset}` is gone")),
            "{message}"
        );
        assert!(hint.contains(instead), "{hint}");
    }
    let (message, hint) = error(with_set(&["preset=quick"]));
    assert!(message.contains("unknown preset `quick`"), "{message}");
    assert!(hint.contains("small, full"), "{hint}");
}

/// The presets that compare `dpmd` with `sac` differ in the actor, and in what only one of them has.
#[test]
fn the_control_has_the_same_critics_targets_and_loop() {
    for preset in ["small", "full"] {
        let of = |algo: &str| {
            resolve(&Request {
                algo: Some(algo.into()),
                env: Some("HalfCheetah-v4".into()),
                set: vec![format!("preset={preset}")],
                ..Request::default()
            })
            .expect("valid")
        };
        for algo in ["dpmd", "sdac"] {
            for change in super::differences(&of(algo), &of("sac")) {
                let key = change.key.as_str();
                let shared = [
                    "agent.critic",
                    "agent.target",
                    "agent.gamma",
                    "training",
                    "evaluation",
                ];
                let differs = shared.iter().find(|table| key.starts_with(**table));
                assert_eq!(differs, None, "{algo}, {preset}: {change:?}");
            }
        }
    }
}

#[test]
fn keys_that_moved_or_are_gone_say_so() {
    for (set, words) in [
        ("critic_lr=1e-3", "`agent.critic.learning_rate`"),
        ("agent.policy_lr=1e-3", "`agent.actor.learning_rate`"),
        ("policy_lr_begin=7", "a fraction of the run"),
        ("eval_every=7", "`evaluation.every`"),
        ("training.replay_capacity=7", "`replay.capacity`"),
        (
            "task.normalize_observation=true",
            "`training.normalize_observation`",
        ),
        ("clip_exploration=true", "is gone"),
        ("skip_unused=false", "is gone"),
    ] {
        match with_set(&[set]) {
            Ok(_) => assert_eq!(words, "", "{set} was taken"),
            Err(error) => {
                let message = error.to_string();
                assert!(!words.is_empty() && message.contains(words), "{message}");
                assert!(message.starts_with(&format!("--set {set}: ")), "{message}");
            }
        }
    }
    let (message, _) = error(with_file("[agent]\ntarget_delay = 2\n"));
    let expected = "my.toml:2:1: `agent.target_delay` is now `agent.target.every`";
    assert!(message.contains(expected), "{message}");
}

/// Another kind of network has keys of its own, in whatever order they are given.
#[test]
fn a_kind_decides_which_keys_there_are() {
    let kinds = ["network.kind=mlp", "network.activation=relu"];
    for set in [kinds, [kinds[1], kinds[0]]] {
        let set = set.map(|text| format!("agent.critic.{text}"));
        let set: Vec<_> = set.iter().map(String::as_str).collect();
        let config = with_set(&set).expect("valid");
        let activation = value(&config, "agent.critic.network.activation");
        assert_eq!(activation, "relu".into());
    }
    let (message, _) = error(with_set(&["agent.critic.network.kind=tree"]));
    assert!(
        message.contains("tree") && message.contains("mlp"),
        "{message}"
    );
    let inline = "[agent.critic]\nnetwork = { kind = \"mlp\", hidden_dims = [3] }\n";
    let config = with_file(inline).expect("valid");
    let widths = value(&config, "agent.critic.network.hidden_dims");
    assert_eq!(widths, vec![3].into());
}

#[test]
fn mistakes_in_a_file_name_file_line_and_key() {
    for (text, place, key, hint) in [
        (
            "[agent]\ngama = 0.9\n",
            "my.toml:2:1",
            "agent.gama",
            "agent.gamma",
        ),
        ("\n\ngamma = 0.9\n", "my.toml:3:1", "gamma", "agent.gamma"),
        (
            "[trainin]\nnum_envs = 1\n",
            "my.toml:2:1",
            "trainin.num_envs",
            "training.num_envs",
        ),
        ("[agent]\ngamma = 1.5\n", "my.toml:2:1", "agent.gamma", ""),
        ("[agent]\ngamma = nan\n", "my.toml:2:1", "agent.gamma", ""),
        (
            "[agent]\nlr = -1.0\n",
            "my.toml:2:1",
            "agent.critic.learning_rate",
            "",
        ),
        (
            "[agent.critic]\nmembers = 0\n",
            "my.toml:2:1",
            "agent.critic.members",
            "",
        ),
        (
            "[agent.actor]\nschedule = \"cosin\"\n",
            "my.toml:2:1",
            "agent.actor.schedule",
            "",
        ),
        (
            "[agent]\nhidden_dims = [64, \"x\"]\n",
            "my.toml:2:1",
            "hidden_dims",
            "",
        ),
        (
            "[training]\nnum_envs = \"five\"\n",
            "my.toml:2:1",
            "training.num_envs",
            "",
        ),
        ("steps = 0\n", "my.toml:1:1", "steps", ""),
        ("steps = -3\n", "my.toml:1:1", "steps", ""),
        ("algo = \"dpdm\"\n", "my.toml:1:1", "dpdm", "dpmd"),
        (
            "env = \"Hoper-v4\"\n",
            "my.toml:1:1",
            "Hoper-v4",
            "Hopper-v4",
        ),
        ("backend = \"flexx\"\n", "my.toml:1:1", "flexx", "flex"),
        (
            "algo = \"sac\"\n[agent]\npreset = \"referenc\"\n",
            "my.toml:3:1",
            "referenc",
            "reference",
        ),
        ("agent = 3\n", "my.toml:1:1", "agent", ""),
        ("seed = 1\nseed = 2\n", "my.toml:2:1", "TOML", ""),
    ] {
        let (message, found) = error(with_file(text));
        assert!(message.contains(place), "{text:?} gives: {message}");
        assert!(message.contains(key), "{text:?} gives: {message}");
        assert!(found.contains(hint), "{text:?} hints: {found}");
    }
}

#[test]
fn mistakes_in_options_name_the_option() {
    for (set, key) in [
        ("gama=1", "gama"),
        ("agent.gamma=2", "agent.gamma"),
        ("gamma=nan", "agent.gamma"),
        ("lr=-1", "agent.critic.learning_rate"),
        ("num_envs=0", "training.num_envs"),
        ("updates_per_step=inf", "training.updates_per_step"),
        ("gamma", "KEY=VALUE"),
    ] {
        let (message, _) = error(with_set(&[set]));
        assert!(message.starts_with(&format!("--set {set}: ")), "{message}");
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn a_key_of_another_algorithm_is_explained() {
    let result = resolve(&Request {
        algo: Some("sac".into()),
        set: vec!["particles=4".into()],
        ..Request::default()
    });
    let (message, hint) = error(result);
    assert!(message.contains("unknown key `particles`"), "{message}");
    assert!(
        hint.contains("a key of sdac, dpmd-reference, sdac-reference, not of sac"),
        "{hint}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_an_input_error() {
    let request = Request {
        config_file: Some("no/such/file.toml".into()),
        ..Request::default()
    };
    let error = resolve(&request).expect_err("missing");
    assert_eq!(error.exit_code(), 74);
    assert!(error.to_string().contains("no/such/file.toml"), "{error}");
}

#[test]
fn options_of_the_task_are_settings_with_the_defaults_of_gymnasium() {
    let config = with_set(&[]).expect("valid");
    assert_eq!(value(&config, "task.time_limit"), 1000.into());
    assert_eq!(value(&config, "task.ctrl_cost_weight"), 0.1.into());
    let text = "env = \"Hopper-v5\"\n[task]\nhealthy_z_range = [0.5, inf]\nframe_skip = 2\ntime_limit = 300\n";
    let config = with_file(text).expect("valid");
    assert_eq!(config.task.time_limit, Some(300));
    assert_eq!(value(&config, "task.frame_skip"), 2.into());
    assert_eq!(
        value(&config, "task.healthy_z_range"),
        vec![0.5, f64::INFINITY].into()
    );
    assert_eq!(value(&config, "task.healthy_reward"), 1.0.into());
    assert_eq!(with_file(&config.to_toml()).expect("valid"), config);
    let config = with_set(&["ctrl_cost_weight=1"]).expect("valid");
    assert_eq!(value(&config, "task.ctrl_cost_weight"), 1.0.into());
}

#[test]
fn normalisation_has_settings_in_range() {
    let config = with_set(&["normalize_observation=true", "observation_clip=inf"]).expect("valid");
    assert!(config.training.normalize_observation);
    assert_eq!(with_file(&config.to_toml()).expect("valid"), config);
    for (set, wrong) in [
        ("observation_clip=0", "greater than 0"),
        ("observation_clip=nan", "greater than 0"),
        ("normalized_return_max=-5", "greater than 0"),
        ("normalize_reward=1", "true or false"),
    ] {
        let (message, _) = error(with_set(&[set]));
        assert!(message.contains(wrong), "{set}: {message}");
    }
}

#[test]
fn wrong_options_of_the_task_are_refused_where_they_stand() {
    let (message, hint) = error(with_file(
        "env = \"Hopper-v5\"\n[task]\nhealthy_z_rang = [0.5, 1.0]\n",
    ));
    assert!(
        message.contains("my.toml:3:1: unknown key `task.healthy_z_rang`"),
        "{message}"
    );
    assert!(hint.contains("task.healthy_z_range"), "{hint}");
    // An option of another task, and one that version 4 has fixed.
    for key in ["healthy_z_range=[1.0,2.0]", "task.frame_skip=3"] {
        let (message, _) = error(with_set(&[key]));
        assert!(message.contains("unknown key"), "{message}");
    }
    for (set, wrong) in [
        ("task.time_limit=0", "at least 1"),
        ("task.reset_noise_scale=-1.0", "at least 0"),
        ("task.ctrl_cost_weight=nan", "finite"),
        ("task.ctrl_cost_weight=high", "must be a number"),
    ] {
        let (message, _) = error(with_set(&[set]));
        assert!(message.contains(wrong), "{set}: {message}");
    }
    let (message, _) = error(with_file(
        "env = \"Hopper-v5\"\n[task]\nhealthy_z_range = [2.0, 1.0]\n",
    ));
    assert!(
        message.contains("my.toml:3:1") && message.contains("lower first"),
        "{message}"
    );
}
