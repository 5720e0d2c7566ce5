//! Tests of the layers as a whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rescore_agents::{AgentConfig, Algorithm};

use super::embedded::{TASK_FILES, algorithm_file};
use super::layers::parse_toml;
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

/// The keys of `[agent]` in which the presets of an algorithm differ.
fn governed_keys(algorithm: Algorithm) -> BTreeSet<String> {
    let tables: Vec<_> = AgentConfig::presets(algorithm)
        .iter()
        .map(|name| {
            let preset = AgentConfig::preset(algorithm, name).expect("a listed preset exists");
            toml::Table::try_from(preset).expect("plain keys")
        })
        .collect();
    tables[0]
        .iter()
        .filter(|(key, value)| {
            *key != "preset" && tables.iter().any(|table| table.get(*key) != Some(*value))
        })
        .map(|(key, _)| key.clone())
        .collect()
}

/// `configs/<algo>.toml` states every default with its true value; keys that the preset governs
/// stand there as comments, also with their true value.
#[test]
fn algorithm_files_state_the_defaults() {
    for algorithm in Algorithm::ALL {
        let (name, text) = algorithm_file(algorithm);
        let defaults = resolve(&Request {
            algo: Some(algorithm.name().into()),
            env: Some("HalfCheetah-v4".into()),
            ..Request::default()
        })
        .expect("the defaults are valid");
        let mut defaults: toml::Table = toml::from_str(&defaults.to_toml()).expect("TOML");
        defaults.insert("env".into(), "InvertedPendulum-v4".into());
        // Differs from task to task, so the file has it as a comment.
        defaults.remove("task").expect("every configuration has it");

        let governed = governed_keys(algorithm);
        for setting in parse_toml(name, text).expect("valid TOML") {
            let key = setting.key.strip_prefix("agent.");
            assert!(
                !key.is_some_and(|key| governed.contains(key)),
                "{name} states {}, which the preset governs",
                setting.key
            );
        }
        // With the commented values filled in, the file is the complete configuration.
        let uncommented: String = text
            .lines()
            .map(|line| {
                let key = line
                    .strip_prefix("# ")
                    .and_then(|rest| rest.split_once(" = "));
                match key {
                    Some((key, value)) if governed.contains(key) => format!("{key} = {value}\n"),
                    _ => format!("{line}\n"),
                }
            })
            .collect();
        let stated: toml::Table = toml::from_str(&uncommented).expect("valid TOML");
        assert_eq!(stated, defaults, "{name} against the defaults");

        // The struct defaults themselves, without any file.
        let preset = AgentConfig::presets(algorithm)[0];
        let preset = AgentConfig::preset(algorithm, preset).expect("a listed preset exists");
        let preset = toml::Value::try_from(preset).expect("plain keys");
        assert_eq!(
            stated.get("agent"),
            Some(&preset),
            "{name} against the preset"
        );
        let training = toml::Value::try_from(super::TrainingConfig::default()).expect("plain keys");
        assert_eq!(
            stated.get("training"),
            Some(&training),
            "{name}, [training]"
        );
    }
}

/// `configs/<algo>-reference.toml` is the preset `reference`, key for key, for every task.
#[test]
fn reference_files_are_the_published_settings() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    for (algorithm, name) in [
        (Algorithm::Dpmd, "dpmd-reference.toml"),
        (Algorithm::Sdac, "sdac-reference.toml"),
    ] {
        let path = configs.join(name);
        let text = std::fs::read_to_string(&path).expect("a file of the repository");
        let stated: toml::Table = toml::from_str(&text).expect("valid TOML");
        let published = AgentConfig::preset(algorithm, "reference").expect("a listed preset");
        let table = toml::Value::try_from(&published).expect("plain keys");
        assert_eq!(stated.get("agent"), Some(&table), "{name}");
        for env in ["HalfCheetah-v4", "InvertedPendulum-v4"] {
            let config = resolve(&Request {
                config_file: Some(path.clone()),
                env: Some(env.into()),
                ..Request::default()
            })
            .expect("valid");
            assert_eq!(config.agent, published, "{name} with {env}");
        }
    }
}

#[test]
fn task_files_are_valid_for_every_algorithm_and_name_real_tasks() {
    for (env, _) in TASK_FILES {
        for algorithm in Algorithm::ALL {
            resolve(&Request {
                algo: Some(algorithm.name().into()),
                env: Some((*env).into()),
                ..Request::default()
            })
            .unwrap_or_else(|error| panic!("{env} with {}: {error}", algorithm.name()));
        }
    }
}

#[test]
fn a_resolved_configuration_resolves_to_itself() {
    for algorithm in Algorithm::ALL {
        let config = resolve(&Request {
            algo: Some(algorithm.name().into()),
            seed: Some(7),
            set: vec![
                "lr=1e-3".into(),
                "tau=0.01".into(),
                "hidden_dims=[8]".into(),
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
        file("seed = 1\n[agent]\ngamma = 0.5\ntau = 0.5\n[training]\nnum_envs = 3\n");
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
        value(&config, "agent.tau"),
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
fn lr_sets_both_learning_rates_unless_a_key_above_says_otherwise() {
    let config = with_set(&["lr=1e-3", "critic_lr=2e-3"]).expect("valid");
    assert_eq!(value(&config, "agent.critic_lr"), 2e-3.into());
    assert_eq!(value(&config, "agent.policy_lr"), 1e-3.into());
    let config = with_file("[agent]\nlr = 0.5\n").expect("valid");
    assert_eq!(value(&config, "agent.critic_lr"), 0.5.into());
}

#[test]
fn an_explicit_key_in_any_layer_wins_over_the_preset() {
    let (_folder, path) = file("[agent]\nclip_exploration = false\n");
    let config = resolve(&Request {
        config_file: Some(path),
        set: vec!["preset=corrected".into()],
        ..Request::default()
    })
    .expect("valid");
    assert_eq!(value(&config, "agent.preset"), "corrected".into());
    assert_eq!(
        value(&config, "agent.clip_exploration"),
        false.into(),
        "stated"
    );
    assert_eq!(
        value(&config, "agent.critic_steps"),
        1.into(),
        "from the preset"
    );
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
        ("[agent]\nlr = -1.0\n", "my.toml:2:1", "agent.critic_lr", ""),
        (
            "[agent]\nschedule = \"cosin\"\n",
            "my.toml:2:1",
            "agent.schedule",
            "",
        ),
        (
            "[agent]\nhidden_dims = [64, \"x\"]\n",
            "my.toml:2:1",
            "agent.hidden_dims",
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
            "[agent]\npreset = \"referenc\"\n",
            "my.toml:2:1",
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
        ("lr=-1", "agent.critic_lr"),
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
        hint.contains("a key of dpmd and sdac, not of sac"),
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
fn the_key_of_runs_that_stored_normalised_observations_names_the_new_one() {
    let config = with_set(&["normalize_observation=true", "observation_clip=inf"]).expect("valid");
    assert!(config.training.normalize_observation);
    assert_eq!(with_file(&config.to_toml()).expect("valid"), config);
    let old = |value| format!("[task]\nnormalize_observation = {value}\n");
    // As every run wrote it that normalised nothing: it goes on.
    let config = with_file(&old("false")).expect("asks for nothing");
    assert!(!config.training.normalize_observation);
    let (message, hint) = error(with_file(&old("true")));
    assert!(
        message.contains("my.toml:2:1")
            && message.ends_with("is now `training.normalize_observation`"),
        "{message}"
    );
    assert!(hint.contains("cannot go on"), "{hint}");
    for set in [
        "task.normalize_observation=true",
        "task.normalize_observation=1",
    ] {
        let (message, _) = error(with_set(&[set]));
        assert!(
            message.contains("training.normalize_observation"),
            "{message}"
        );
    }
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
