//! Keys that are wrong, moved or of another kind, and values that are refused.

use super::{error, value, with_file, with_set};
use crate::config::{Request, resolve};

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
