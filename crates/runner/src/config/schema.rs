//! Which keys exist, what they are for, and which of them a misspelt key may have meant.

use schemars::{JsonSchema, Schema as JsonSchemaOf, SchemaGenerator};
use serde_json::Value;

use super::{Config, ConfigError, EvaluationConfig, ReplayConfig, Setting, TrainingConfig};

/// A key of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Dotted path.
    pub path: String,
    /// What it is for.
    pub about: String,
    /// The value under the settings that the schema was made of; none for a key of another kind of
    /// network or value.
    pub default: Option<toml::Value>,
}

/// All keys of a configuration.
#[derive(Debug, Clone)]
pub struct Schema {
    /// In alphabetical order of their paths within a table.
    pub keys: Vec<Key>,
}

/// Short keys that stand for several, as far as the algorithm has them.
pub const ALIASES: &[(&str, &[&str])] = &[
    (
        "agent.lr",
        &[
            "agent.critic.learning_rate",
            "agent.actor.learning_rate",
            "agent.value.learning_rate",
        ],
    ),
    (
        "agent.hidden_dims",
        &[
            "agent.critic.network.hidden_dims",
            "agent.actor.network.hidden_dims",
            "agent.value.network.hidden_dims",
        ],
    ),
];

/// The top-level keys, which belong to no table.
const TOP: &[(&str, &str)] = &[
    (
        "algo",
        "Name of the algorithm (`rescore config --help` lists them).",
    ),
    ("env", "Name of the task (`rescore envs` lists them)."),
    ("seed", "Seed of all random streams, 0 to 2^63 - 1."),
    (
        "steps",
        "Environment steps to train for; those of warm-up count where `training.count_warmup` says \
         so, and at least one must be left beside them.",
    ),
    (
        "backend",
        "Name of the tensor backend (`rescore devices` lists those of a program).",
    ),
    (
        "device",
        "Which of the backend's devices: its number, or \"auto\" for the first GPU.",
    ),
];

impl Schema {
    /// The schema of a complete configuration.
    pub fn of(config: &Config) -> Self {
        let defaults = toml::Table::try_from(config).expect("TOML can express a configuration");
        let mut keys: Vec<Key> = TOP
            .iter()
            .map(|(path, about)| Key {
                path: (*path).to_owned(),
                about: (*about).to_owned(),
                default: defaults.get(*path).cloned(),
            })
            .collect();
        let agent = config.agent.settings.algorithm.schema();
        if config.agent.preset.is_some() {
            let presets = config.agent.settings.algorithm.presets().join("\", \"");
            keys.push(Key {
                path: "agent.preset".to_owned(),
                about: format!("The preset that fills in what is not stated: \"{presets}\"."),
                default: config.agent.preset.map(Into::into),
            });
        }
        collect(&agent, "agent", &defaults, &mut keys);
        collect(&of::<TrainingConfig>(), "training", &defaults, &mut keys);
        collect(&of::<ReplayConfig>(), "replay", &defaults, &mut keys);
        collect(
            &of::<EvaluationConfig>(),
            "evaluation",
            &defaults,
            &mut keys,
        );
        if let Some(toml::Value::Table(task)) = defaults.get("task") {
            keys.extend(task.iter().map(|(name, value)| Key {
                path: format!("task.{name}"),
                about: String::new(),
                default: Some(value.clone()),
            }));
        }
        Self { keys }
    }

    /// Whether `key` is a full path of this schema or an alias of one.
    pub fn contains(&self, key: &str) -> bool {
        self.paths().any(|path| path == key)
    }

    /// The value of a full path in the settings that the schema was made of.
    pub fn default_of(&self, key: &str) -> Option<&toml::Value> {
        let found = self.keys.iter().find(|known| known.path == key);
        found.and_then(|key| key.default.as_ref())
    }

    /// The full paths that `key` stands for: itself, or those of the alias that there are.
    pub fn expand(&self, key: &str) -> Vec<String> {
        match ALIASES.iter().find(|(alias, _)| *alias == key) {
            Some((_, paths)) => {
                let known = |path: &&&str| self.keys.iter().any(|key| key.path == **path);
                paths
                    .iter()
                    .filter(known)
                    .map(ToString::to_string)
                    .collect()
            }
            None => vec![key.to_owned()],
        }
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        let aliases = ALIASES.iter().map(|(alias, _)| *alias);
        self.keys
            .iter()
            .map(|key| key.path.as_str())
            .chain(aliases.filter(|alias| !self.expand(alias).is_empty()))
    }

    /// The full paths that end in `name`, a last name or several with dots between. An alias hides
    /// what it stands for.
    fn ending_in(&self, name: &str) -> Vec<&str> {
        let ends = |path: &&str| {
            let rest = path.strip_suffix(name);
            rest.is_some_and(|rest| rest.ends_with('.'))
        };
        let found: Vec<&str> = self.paths().filter(ends).collect();
        let alias = found
            .iter()
            .find(|path| ALIASES.iter().any(|(alias, _)| alias == *path));
        alias.map_or(found.clone(), |alias| vec![alias])
    }

    /// Replaces the end of a path by the full path where that is unique.
    pub fn complete(&self, key: &str) -> String {
        match (self.contains(key), self.ending_in(key).as_slice()) {
            (false, [path]) => (*path).to_owned(),
            _ => key.to_owned(),
        }
    }

    /// Requires that the key of `setting` exists.
    ///
    /// # Errors
    /// When it does not; the hint names the nearest key, or all that it may mean.
    pub fn check_key(&self, setting: &Setting) -> Result<(), ConfigError> {
        let key = &setting.key;
        if self.contains(key) {
            return Ok(());
        }
        let ambiguous = self.ending_in(key);
        if !key.contains('.') && ambiguous.len() > 1 {
            let error = ConfigError::new(setting, format!("`{key}` is the name of several keys"));
            return Err(error.with_hint(format!("say which: `{}`", ambiguous.join("`, `"))));
        }
        let mut error = ConfigError::new(setting, format!("unknown key `{key}`"));
        error.hint = self
            .nearest(key)
            .map(|key| format!("did you mean `{key}`?"));
        Err(error)
    }

    /// The known key nearest to `key`, by its last name or by the whole path.
    fn nearest(&self, key: &str) -> Option<&str> {
        let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
        let name = last(key);
        nearest_by(self.paths(), |path| {
            let by_name = strsim::normalized_damerau_levenshtein(&name, &last(path));
            let by_path = strsim::normalized_damerau_levenshtein(key, path);
            by_name.max(by_path)
        })
    }

    /// Requires that the value of `setting` is of the kind of the default, where there is one.
    ///
    /// # Errors
    /// When it is of another kind; the message says which is right.
    pub fn check_kind(&self, setting: &Setting) -> Result<(), ConfigError> {
        use toml::Value::{Array, Boolean, Float, Integer, String, Table};
        let key = &setting.key;
        let expected = match (self.default_of(key), &setting.value) {
            // Which texts can be given as a number the task decides.
            (Some(String(_)), Integer(_)) if key.starts_with("task.") => return Ok(()),
            (Some(Float(_)), Float(_) | Integer(_))
            | (Some(String(_)), String(_))
            | (Some(Boolean(_)), Boolean(_))
            | (Some(Table(_)), Table(_))
            | (Some(Array(_)), Array(_)) => return Ok(()),
            (Some(Integer(_)), Integer(value)) if *value >= 0 => return Ok(()),
            (Some(Float(_)), _) => "a number",
            (Some(String(_)), _) => "a text",
            (Some(Boolean(_)), _) => "true or false",
            (Some(Array(_)), _) if key.starts_with("task.") => "an array of two numbers",
            (Some(Array(_)), _) => "an array",
            (Some(Integer(_)), _) => "a whole number of at least 0",
            _ => return Ok(()),
        };
        let value = &setting.value;
        let message = format!("`{key}` is {value}, but must be {expected}");
        Err(ConfigError::new(setting, message))
    }
}

/// The JSON schema of a table.
fn of<T: JsonSchema>() -> JsonSchemaOf {
    SchemaGenerator::default().into_root_schema_for::<T>()
}

/// Appends the keys of the table at `path` that `schema` describes.
fn collect(schema: &JsonSchemaOf, path: &str, defaults: &toml::Table, keys: &mut Vec<Key>) {
    let root = schema.as_value();
    properties(root, root, path, defaults, keys);
}

/// Appends the keys of the object that `node`, a part of `root`, describes. An object of several
/// kinds has the keys of all of them.
fn properties(root: &Value, node: &Value, path: &str, defaults: &toml::Table, keys: &mut Vec<Key>) {
    for (name, property) in node["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let target = resolved(root, property);
        if target["properties"].is_object() {
            properties(root, target, &path, defaults, keys);
        } else if let Some(kinds) = kinds(target) {
            let mut about = text(property, target);
            let default = at(defaults, &format!("{path}.kind"));
            let names: Vec<_> = kinds.iter().filter_map(|kind| kind_of(kind)).collect();
            about = format!("{about}\nOne of \"{}\".", names.join("\", \""));
            keys.push(Key {
                path: format!("{path}.kind"),
                about,
                default: default.cloned(),
            });
            for kind in kinds {
                let mut of_kind = Vec::new();
                properties(root, kind, &path, defaults, &mut of_kind);
                let new = |key: &Key| keys.iter().all(|known| known.path != key.path);
                of_kind.retain(new);
                keys.extend(of_kind);
            }
        } else {
            keys.push(Key {
                about: text(property, target),
                default: at(defaults, &path).cloned(),
                path,
            });
        }
    }
}

/// The kinds of a tagged object, each an object schema with a constant `kind`.
fn kinds(node: &Value) -> Option<&Vec<Value>> {
    let kinds = node["oneOf"].as_array()?;
    kinds
        .iter()
        .all(|kind| kind_of(kind).is_some())
        .then_some(kinds)
}

fn kind_of(kind: &Value) -> Option<&str> {
    kind["properties"]["kind"]["const"].as_str()
}

/// What `node` refers to, or itself.
fn resolved<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    let reference = node["$ref"].as_str();
    let pointer = reference.and_then(|reference| reference.strip_prefix('#'));
    pointer
        .and_then(|pointer| root.pointer(pointer))
        .unwrap_or(node)
}

/// The description of a property, or of its type where it has none.
fn text(property: &Value, target: &Value) -> String {
    let own = property["description"].as_str();
    let text = own.or_else(|| target["description"].as_str());
    text.unwrap_or_default().to_owned()
}

/// The value at a dotted path.
fn at<'a>(table: &'a toml::Table, path: &str) -> Option<&'a toml::Value> {
    match path.split_once('.') {
        Some((head, rest)) => at(table.get(head)?.as_table()?, rest),
        None => table.get(path),
    }
}

/// The candidate with the highest `similarity`, if that is convincing.
fn nearest_by<'a>(
    candidates: impl Iterator<Item = &'a str>,
    similarity: impl Fn(&str) -> f64,
) -> Option<&'a str> {
    candidates
        .map(|candidate| (similarity(candidate), candidate))
        .filter(|(score, _)| *score > 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The error "unknown NOUN `name`" with the valid names and the nearest.
pub(crate) fn unknown_name(
    setting: &Setting,
    noun: &str,
    name: &str,
    valid: &[&str],
) -> ConfigError {
    let mut error = ConfigError::new(setting, format!("unknown {noun} `{name}`"));
    let list = valid.join(", ");
    error.hint = Some(match nearest_name(name, valid.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`? There are: {list}"),
        None => format!("there are: {list}"),
    });
    error
}

/// The candidate that `text` was probably meant to be (letter case does not count).
pub fn nearest_name<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let text = text.to_lowercase();
    nearest_by(candidates.into_iter(), |candidate| {
        strsim::jaro_winkler(&text, &candidate.to_lowercase()) - 0.25
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Origin, Request, resolve};

    fn schema() -> Schema {
        Schema::of(&resolve(&Request::default()).expect("the defaults are valid"))
    }

    fn setting(key: &str, value: impl Into<toml::Value>) -> Setting {
        Setting {
            key: key.into(),
            value: value.into(),
            origin: Origin::Default,
        }
    }

    #[test]
    fn a_unique_end_of_a_path_becomes_the_path() {
        for (end, path) in [
            ("gamma", "agent.gamma"),
            ("lr", "agent.lr"),
            ("hidden_dims", "agent.hidden_dims"),
            ("critic.learning_rate", "agent.critic.learning_rate"),
            ("loss_clip", "agent.regression.loss_clip"),
            ("seed", "seed"),
            ("training.num_envs", "training.num_envs"),
            ("every", "every"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(schema().complete(end), path);
        }
    }

    #[test]
    fn misspelt_and_misplaced_keys_are_refused_with_the_nearest() {
        for (wrong, right) in [
            ("agent.gama", "agent.gamma"),
            ("gamma", "agent.gamma"),
            ("agent.num_envs", "training.num_envs"),
            ("sed", "seed"),
            (
                "agent.critic.network.hiden_dims",
                "agent.critic.network.hidden_dims",
            ),
        ] {
            let error = schema()
                .check_key(&setting(wrong, 1))
                .expect_err("unknown key");
            assert_eq!(error.hint, Some(format!("did you mean `{right}`?")));
        }
        let error = schema().check_key(&setting("zzz", 1)).expect_err("unknown");
        assert_eq!(error.hint, None, "nothing is near");
        let error = schema().check_key(&setting("every", 1)).expect_err("three");
        let hint = error.hint.unwrap_or_default();
        assert!(hint.contains("`evaluation.every`"), "{hint}");
    }

    #[test]
    fn kinds_are_checked_and_whole_numbers_are_numbers() {
        let schema = schema();
        assert!(schema.check_kind(&setting("agent.gamma", 1)).is_ok());
        for (key, value) in [
            ("agent.critic.learning_rate", toml::Value::from("fast")),
            ("training.num_envs", 1.5.into()),
            ("training.num_envs", (-1).into()),
            ("agent.actor.network.hidden_dims", 64.into()),
        ] {
            assert!(schema.check_kind(&setting(key, value)).is_err(), "{key}");
        }
    }

    #[test]
    fn names_are_suggested_regardless_of_case() {
        assert_eq!(nearest_name("DPMD", ["dpmd", "sac"]), Some("dpmd"));
        assert_eq!(
            nearest_name("halfcheetah", ["Hopper-v4", "HalfCheetah-v4"]),
            Some("HalfCheetah-v4")
        );
        assert_eq!(nearest_name("qqq", ["dpmd", "sac"]), None);
    }

    /// Every key of every algorithm says what it is for, but those of the task, which the task's
    /// source documents.
    #[test]
    fn every_key_is_documented() {
        for algorithm in rescore_agents::Algorithm::all() {
            let config = resolve(&Request {
                algo: Some(algorithm.name.into()),
                ..Request::default()
            });
            for key in Schema::of(&config.expect("the defaults are valid")).keys {
                let documented = !key.about.is_empty() || key.path.starts_with("task.");
                assert!(documented, "{}: `{}`", algorithm.name, key.path);
            }
        }
    }
}
