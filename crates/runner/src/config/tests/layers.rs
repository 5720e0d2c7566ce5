//! Which layer wins.

use rescore_agents::Algorithm;

use super::{error, file, value, with_file, with_set};
use crate::config::{Request, TrainingConfig, differences, resolve};

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
        TrainingConfig::default().warmup_steps,
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
            for change in differences(&of(algo), &of("sac")) {
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
