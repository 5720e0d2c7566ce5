//! Which settings of a run may change when it goes on, and why the others may not.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::Config;
use super::layers::parse_assignment;
use super::training::ABSENT_BEFORE;
use crate::RunError;

/// Keys that may have another value from a checkpoint on: nothing that a checkpoint holds was made
/// with them. Every change is recorded in `manifest.json`.
pub const CHANGEABLE: &[&str] = &[
    "steps",
    "device",
    "agent.critic.learning_rate",
    "agent.actor.learning_rate",
    "agent.value.learning_rate",
    "agent.critic.final_fraction",
    "agent.actor.final_fraction",
    "agent.value.final_fraction",
    "agent.actor.decay_begin",
    "agent.actor.decay_end",
    "agent.temperature.learning_rate",
    "evaluation.every",
    "evaluation.episodes",
    "evaluation.max_steps",
    "evaluation.best_of",
    "training.checkpoint_every",
    "training.log_every",
    "training.tensorboard",
];

/// May change as well, where the user accepts that the bits of the results do.
const BACKEND: &str = "backend";

/// A key whose value differs between two configurations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Dotted path.
    pub key: String,
    /// The value of the run so far; nothing where its configuration has no such key.
    pub from: Option<toml::Value>,
    /// The value from now on.
    pub to: Option<toml::Value>,
}

impl Change {
    fn is_allowed(&self, different_bits: bool) -> bool {
        CHANGEABLE.contains(&self.key.as_str()) || (different_bits && self.key == BACKEND)
    }

    /// Why the key must keep its value.
    fn reason(&self) -> &'static str {
        match self.key.split('.').next().unwrap_or_default() {
            "algo" => "the checkpoints hold the networks of that algorithm",
            "env" | "task" => "the replay buffer and the returns are those of that task",
            "seed" => "every random number of the run follows from it",
            BACKEND => "the last bits of the results would differ",
            _ => "its networks and its replay buffer depend on it",
        }
    }

    fn describe(&self) -> String {
        let text = |value: &Option<toml::Value>| {
            (value.as_ref()).map_or_else(|| "absent".to_owned(), ToString::to_string)
        };
        let (key, from, to) = (&self.key, text(&self.from), text(&self.to));
        format!("`{key}` is {from} in the run, but {to} here")
    }
}

/// The keys in which two configurations differ, in alphabetical order.
pub fn differences(from: &Config, to: &Config) -> Vec<Change> {
    let (from, to) = (flat(from), flat(to));
    let keys: std::collections::BTreeSet<_> = from.keys().chain(to.keys()).collect();
    keys.into_iter()
        .filter(|key| from.get(*key) != to.get(*key))
        .map(|key| Change {
            key: key.clone(),
            from: from.get(key).cloned(),
            to: to.get(key).cloned(),
        })
        .collect()
}

/// Assignments of `--set` to keys that decide which other keys there are. A configuration cannot
/// be resolved with another value of these, so they are compared before.
///
/// # Errors
/// When an assignment is none.
pub fn of_names(run: &Config, set: &[String]) -> Result<Vec<Change>, RunError> {
    let run = flat(run);
    let mut changes = Vec::new();
    for assignment in set {
        let setting = parse_assignment(assignment)?;
        let from = run.get(&setting.key).cloned();
        if ["algo", "env"].contains(&setting.key.as_str()) && from.as_ref() != Some(&setting.value)
        {
            changes.push(Change {
                key: setting.key,
                from,
                to: Some(setting.value),
            });
        }
    }
    Ok(changes)
}

/// Requires that the run in the folder `run` can go on with all of `changes`; `different_bits`
/// allows another backend.
///
/// # Errors
/// Names every key that must keep its value, both values and the reason.
pub fn require_allowed(
    changes: &[Change],
    different_bits: bool,
    run: &Path,
) -> Result<(), RunError> {
    let refused: Vec<_> = changes
        .iter()
        .filter(|change| !change.is_allowed(different_bits))
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = refused
        .iter()
        .map(|change| format!("\n  {} ({})", change.describe(), change.reason()))
        .collect();
    let message = format!(
        "the run in {} cannot go on with other settings:{}",
        run.display(),
        lines.concat()
    );
    let hint = if refused.iter().all(|change| change.key == BACKEND) {
        "--allow-different-bits goes on with the other backend".to_owned()
    } else {
        format!(
            "start a new run in another folder; what can be changed: {}",
            CHANGEABLE.join(", ")
        )
    };
    Err(RunError::usage(message, hint))
}

/// The settings that must stay as they are, as text: equal for two configurations if and only if
/// one can go on with the checkpoints of the other.
pub fn fixed_text(config: &Config) -> String {
    let lines: Vec<_> = flat(config)
        .into_iter()
        .filter(|(key, _)| key != BACKEND && !CHANGEABLE.contains(&key.as_str()))
        // What held before there was this key, so that older checkpoints fit.
        .filter(|(key, value)| !ABSENT_BEFORE.contains(&(key.as_str(), value.to_string().as_str())))
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    lines.join("\n")
}

/// A learning rate below those of `config`, in the words of `--set`.
pub fn smaller_learning_rate(config: &Config) -> String {
    let settings = flat(config);
    let rate = |key: &str| settings.get(key).and_then(toml::Value::as_float);
    let largest = ["agent.critic.learning_rate", "agent.actor.learning_rate"]
        .into_iter()
        .filter_map(rate)
        .fold(0.0, f64::max);
    // The next smaller power of ten, below rates at which hardly anything converges.
    let exponent = ((largest.log10() - 1e-9).floor() as i32).min(-4);
    format!("lr=1e{exponent}")
}

/// All settings by their dotted paths.
fn flat(config: &Config) -> BTreeMap<String, toml::Value> {
    fn collect(table: toml::Table, prefix: &str, into: &mut BTreeMap<String, toml::Value>) {
        for (name, value) in table {
            match value {
                toml::Value::Table(inner) => collect(inner, &format!("{prefix}{name}."), into),
                value => {
                    into.insert(format!("{prefix}{name}"), value);
                }
            }
        }
    }
    // As in `Config::to_toml`: TOML can express whatever a configuration holds.
    let table = toml::Table::try_from(config).expect("a configuration is expressible as TOML");
    let mut settings = BTreeMap::new();
    collect(table, "", &mut settings);
    settings
}

#[cfg(test)]
mod tests {
    use rescore_agents::Algorithm;

    use super::*;
    use crate::config::{Request, resolve};

    fn config(algo: &str, set: &[&str]) -> Config {
        resolve(&Request {
            algo: Some(algo.into()),
            env: Some("Pendulum-v1".into()),
            set: set.iter().map(ToString::to_string).collect(),
            ..Request::default()
        })
        .expect("valid")
    }

    #[test]
    fn every_changeable_key_exists_and_leaves_the_fixed_settings_alone() {
        let keys = |algo: &'static Algorithm| flat(&config(algo.name, &[]));
        let known: BTreeMap<_, _> = Algorithm::all().into_iter().flat_map(keys).collect();
        for key in CHANGEABLE {
            assert!(known.contains_key(*key), "{key}");
        }
        let before = config("dpmd-reference", &[]);
        for set in [
            "steps=7000",
            "device=\"0\"",
            "lr=0.5",
            "actor.final_fraction=1e-3",
            "decay_begin=0.1",
            "decay_end=0.8",
            "temperature.learning_rate=0.5",
            "evaluation.every=7",
            "episodes=7",
            "best_of=7",
            "checkpoint_every=7",
            "log_every=7",
            "tensorboard=true",
        ] {
            let after = config("dpmd-reference", &[set]);
            let changes = differences(&before, &after);
            assert!(!changes.is_empty(), "{set}");
            assert!(require_allowed(&changes, false, Path::new("run")).is_ok());
            assert_eq!(fixed_text(&before), fixed_text(&after), "{set}");
        }
    }

    #[test]
    fn every_other_key_is_refused_with_both_values_and_the_reason() {
        let before = config("dpmd", &[]);
        for (set, words) in [
            (
                "gamma=0.5",
                "`agent.gamma` is 0.99 in the run, but 0.5 here",
            ),
            ("seed=3", "every random number"),
            ("num_envs=3", "`training.num_envs` is 5"),
            (
                "normalize_observation=false",
                "`training.normalize_observation`",
            ),
            ("critic.members=3", "`agent.critic.members` is 2"),
        ] {
            let after = config("dpmd", &[set]);
            let changes = differences(&before, &after);
            let error = require_allowed(&changes, true, Path::new("run")).expect_err(set);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(words), "{set}: {error}");
            assert_ne!(fixed_text(&before), fixed_text(&after), "{set}");
        }
        let changes = of_names(&before, &["algo=sac".into(), "env=Pendulum-v1".into()]);
        let changes = changes.expect("assignments");
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert!(require_allowed(&changes, true, Path::new("run")).is_err());
    }

    #[test]
    fn another_backend_is_allowed_where_other_bits_are() {
        let (before, after) = (config("sac", &[]), config("sac", &["backend=ndarray"]));
        let changes = differences(&before, &after);
        let refused = require_allowed(&changes, false, Path::new("run")).expect_err("other bits");
        let hint = refused.hint().unwrap_or_default();
        assert!(hint.contains("--allow-different-bits"), "{hint}");
        assert!(require_allowed(&changes, true, Path::new("run")).is_ok());
        assert_eq!(fixed_text(&before), fixed_text(&after));
    }

    #[test]
    fn the_learning_rate_that_is_proposed_is_smaller() {
        for (rate, proposed) in [
            ("lr=1e30", "lr=1e-4"),
            ("lr=3e-4", "lr=1e-4"),
            ("lr=1e-4", "lr=1e-5"),
            ("lr=3e-5", "lr=1e-5"),
        ] {
            assert_eq!(smaller_learning_rate(&config("sac", &[rate])), proposed);
        }
    }
}
