//! From layers of settings to one complete, checked configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rescore_agents::{Algorithm, RangeError};
use rescore_envs::{OptionValue, TaskEntry};
use rescore_store::durable::{read_stream, read_text};
use rescore_store::{names, run_folder};

use super::layers::{parse_assignment, parse_toml};
use super::schema::Schema;
use super::{
    Agent, Config, ConfigError, EvaluationConfig, Origin, ReplayConfig, Setting, TrainingConfig,
    embedded, model_file, moved, nearest_name, task, training,
};
use crate::RunError;
use crate::backend::{AUTO, KNOWN};

/// Values of the keys that belong to no table.
const DEFAULT_ENV: &str = "InvertedPendulum-v4";
const DEFAULT_STEPS: u64 = 1_000_000;
const DEFAULT_BACKEND: &str = "flex";

/// What the user asked for: options of the command line, all of them optional.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `--config FILE`; a pipe will do.
    pub config_file: Option<PathBuf>,
    /// The run folder whose `config.toml` is the lowest of these layers.
    pub run: Option<PathBuf>,
    /// `--algo NAME`.
    pub algo: Option<String>,
    /// `--env NAME`.
    pub env: Option<String>,
    /// `--seed N`.
    pub seed: Option<u64>,
    /// `--steps N`.
    pub steps: Option<u64>,
    /// `--backend NAME`.
    pub backend: Option<String>,
    /// `--device N`.
    pub device: Option<String>,
    /// `--set KEY=VALUE`, in the order given.
    pub set: Vec<String>,
}

impl Request {
    /// A request for the configuration of the run in the folder `run`.
    pub fn of_run(run: &Path) -> Self {
        Self {
            run: Some(run.to_owned()),
            ..Self::default()
        }
    }

    /// The user's settings, lowest layer first.
    fn settings(&self) -> Result<Vec<Setting>, RunError> {
        let mut settings = Vec::new();
        if let Some(run) = &self.run {
            let path = run.join(names::CONFIG);
            let text = read_text(&path, run_folder::CONFIG_LIMIT)?;
            let layer = parse_toml(&path.display().to_string(), &text)?;
            require_nested(run, &layer)?;
            settings.extend(kinds_first(layer));
        }
        if let Some(path) = &self.config_file {
            let text = read_stream(path, run_folder::CONFIG_LIMIT)?;
            let layer = parse_toml(&path.display().to_string(), &text)?;
            settings.extend(kinds_first(layer));
        }
        let texts = [
            ("algo", &self.algo),
            ("env", &self.env),
            ("backend", &self.backend),
            ("device", &self.device),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                let option = format!("--{key} {value}");
                settings.push(Setting::option(key, value.as_str(), option));
            }
        }
        for (key, value) in [("seed", self.seed), ("steps", self.steps)] {
            if let Some(value) = value {
                let option = format!("--{key} {value}");
                let value = i64::try_from(value).map_err(|_| ConfigError {
                    origin: Origin::Option(option.clone()),
                    message: format!("`{key}` is {value}, but must be below 2^63"),
                    hint: None,
                })?;
                settings.push(Setting::option(key, value, option));
            }
        }
        let set = self.set.iter().map(|text| parse_assignment(text));
        settings.extend(kinds_first(set.collect::<Result<_, _>>()?));
        Ok(settings)
    }
}

/// A layer with the keys that decide which other keys there are before these.
fn kinds_first(mut layer: Vec<Setting>) -> Vec<Setting> {
    layer.sort_by_key(|setting| !is_kind(&setting.key));
    layer
}

fn is_kind(key: &str) -> bool {
    key.rsplit('.').next() == Some("kind")
}

/// Refuses the run folder of a version whose settings were one flat table.
fn require_nested(run: &Path, settings: &[Setting]) -> Result<(), RunError> {
    let flat = |setting: &Setting| setting.key == "training.replay_capacity";
    if !settings.iter().any(flat) {
        return Ok(());
    }
    Err(RunError::usage(
        format!(
            "the run in {} was begun by an older program: its settings and the arrays of its \
             checkpoints are laid out otherwise",
            run.display()
        ),
        "the program that began it, whose commit its manifest.json names, goes on with it and plays \
         it; this one needs a new run",
    ))
}

/// Resolves all layers into one configuration.
///
/// # Errors
/// On unreadable files, text that is not TOML, unknown keys, values of a wrong kind and values out
/// of their range; nothing has been created or built then.
///
/// # Panics
/// Never: every configuration can be written as TOML.
pub fn resolve(request: &Request) -> Result<Config, RunError> {
    let user = request.settings()?;
    let algorithm = algorithm(&user)?;
    let env = environment(&user)?;
    backend(&user)?;

    let preset = find_preset(algorithm, &user)?;
    let defaults = defaults(algorithm, preset, &env);
    let schema = Schema::of(&defaults);
    let mut settings = Vec::new();
    if let Some((name, text)) = embedded::task_file(env.name) {
        // Task files serve all algorithms: a key of the agent that only others have is passed over.
        let task = parse_toml(name, text)?.into_iter();
        settings.extend(task.filter(|setting| schema.contains(&setting.key)));
    }
    for mut setting in user {
        if matches!(setting.origin, Origin::Option(_)) {
            setting.key = schema.complete(&setting.key);
        }
        if !schema.contains(&setting.key) {
            moved::check(&setting)?;
        }
        schema
            .check_key(&setting)
            .map_err(|error| elsewhere(algorithm, &setting, error))?;
        schema.check_kind(&setting)?;
        settings.push(setting);
    }

    let mut table = toml::Table::try_from(&defaults).expect("TOML can express a configuration");
    let mut origins = BTreeMap::new();
    for setting in settings {
        for key in schema.expand(&setting.key) {
            put(&mut table, &key, setting.value.clone());
            from_table(algorithm, preset, &env, table.clone())
                .map_err(|message| ConfigError::new(&setting, format!("`{key}`: {message}")))?;
            origins.insert(key, setting.origin.clone());
        }
    }
    let parsed = from_table(algorithm, preset, &env, table);
    let mut config = parsed.map_err(|message| ConfigError {
        origin: Origin::Default,
        message,
        hint: None,
    })?;
    if let Some(OptionValue::Text(file)) = config.task.options.get_mut(model_file::KEY) {
        *file = model_file::absolute(file).map_err(|message| ConfigError {
            origin: origin_of(&origins, &format!("task.{}", model_file::KEY)),
            message,
            hint: None,
        })?;
    }
    validate(&config, &origins)?;
    Ok(config)
}

/// The highest setting of the top-level key `key`, as text.
fn last_text<'a>(
    settings: &'a [Setting],
    key: &str,
) -> Result<Option<(&'a str, &'a Setting)>, ConfigError> {
    let Some(setting) = settings.iter().rfind(|setting| setting.key == key) else {
        return Ok(None);
    };
    match setting.value.as_str() {
        Some(text) => Ok(Some((text, setting))),
        None => Err(ConfigError::new(
            setting,
            format!("`{key}` is {}, but must be a text", setting.value),
        )),
    }
}

/// The error "unknown NOUN `name`" with the valid names and the nearest.
fn unknown_name(setting: &Setting, noun: &str, name: &str, valid: &[&str]) -> ConfigError {
    let mut error = ConfigError::new(setting, format!("unknown {noun} `{name}`"));
    let list = valid.join(", ");
    error.hint = Some(match nearest_name(name, valid.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`? There are: {list}"),
        None => format!("there are: {list}"),
    });
    error
}

fn algorithm(settings: &[Setting]) -> Result<&'static Algorithm, ConfigError> {
    let Some((name, setting)) = last_text(settings, "algo")? else {
        return Ok(Algorithm::all()[0]);
    };
    Algorithm::find(name).ok_or_else(|| {
        let names: Vec<_> = Algorithm::all().iter().map(|algo| algo.name).collect();
        unknown_name(setting, "algorithm", name, &names)
    })
}

fn environment(settings: &[Setting]) -> Result<TaskEntry, ConfigError> {
    let tasks = rescore_envs::list();
    let find = |name: &str| tasks.iter().find(|task| task.name == name).copied();
    let Some((name, setting)) = last_text(settings, "env")? else {
        return Ok(default_env());
    };
    find(name).ok_or_else(|| {
        let names: Vec<_> = tasks.iter().map(|task| task.name).collect();
        unknown_name(setting, "task", name, &names)
    })
}

fn default_env() -> TaskEntry {
    rescore_envs::find(DEFAULT_ENV).expect("the default is a registered task")
}

fn backend(settings: &[Setting]) -> Result<(), ConfigError> {
    match last_text(settings, "backend")? {
        Some((name, setting)) if !KNOWN.contains(&name) => {
            Err(unknown_name(setting, "backend", name, KNOWN))
        }
        _ => Ok(()),
    }
}

/// The preset that the highest layer names, or the default, of an algorithm that has several.
fn find_preset(
    algorithm: &'static Algorithm,
    settings: &[Setting],
) -> Result<Option<&'static str>, ConfigError> {
    let presets = algorithm.presets();
    let named = match last_text(settings, "agent.preset")? {
        Some(named) => Some(named),
        None => last_text(settings, "preset")?,
    };
    let Some((name, setting)) = named else {
        return Ok((presets.len() > 1).then(|| presets[0]));
    };
    if let Some(instead) = moved::preset(algorithm.name, name) {
        let error = ConfigError::new(setting, format!("the preset `{name}` is gone"));
        return Err(error.with_hint(instead));
    }
    let known = presets.iter().find(|preset| **preset == name);
    match known {
        Some(preset) if presets.len() > 1 => Ok(Some(preset)),
        _ if presets.len() > 1 => Err(unknown_name(setting, "preset", name, &presets)),
        _ => {
            let message = format!("`{}` has no presets", algorithm.name);
            Err(ConfigError::new(setting, message).with_hint("leave `preset` away"))
        }
    }
}

/// A complete configuration of a task under a preset that exists.
fn defaults(
    algorithm: &'static Algorithm,
    preset: Option<&'static str>,
    env: &TaskEntry,
) -> Config {
    let settings = preset.map_or_else(
        || algorithm.defaults(),
        |name| algorithm.preset(name).expect("a preset that was found"),
    );
    Config {
        algo: algorithm.name.to_owned(),
        env: env.name.to_owned(),
        seed: 0,
        steps: DEFAULT_STEPS,
        backend: DEFAULT_BACKEND.to_owned(),
        device: AUTO.to_owned(),
        agent: Agent { preset, settings },
        training: TrainingConfig::default(),
        replay: ReplayConfig::default(),
        evaluation: EvaluationConfig::default(),
        task: task::defaults(env),
    }
}

/// Says so when the unknown key of `setting` is a key of other algorithms.
fn elsewhere(
    algorithm: &'static Algorithm,
    setting: &Setting,
    mut error: ConfigError,
) -> ConfigError {
    let mut owners = Vec::new();
    let mut path = String::new();
    for other in Algorithm::all() {
        let presets = other.presets();
        let preset = (presets.len() > 1).then(|| presets[0]);
        let schema = Schema::of(&defaults(other, preset, &default_env()));
        let key = schema.complete(&setting.key);
        if key.starts_with("agent.") && schema.contains(&key) {
            owners.push(other.name);
            path = key;
        }
    }
    if !owners.is_empty() && !owners.contains(&algorithm.name) {
        error.hint = Some(format!(
            "`{path}` is a key of {}, not of {}",
            owners.join(", "),
            algorithm.name
        ));
    }
    error
}

/// Puts `value` at the dotted path `key`, which the schema has approved. Another kind replaces its
/// whole table: the other keys are those of the kind before.
fn put(table: &mut toml::Table, key: &str, value: toml::Value) {
    if let Some((head, rest)) = key.split_once('.') {
        let inner = table
            .entry(head)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let toml::Value::Table(inner) = inner {
            put(inner, rest, value);
        }
        return;
    }
    if key == "kind" && table.get(key) != Some(&value) {
        table.clear();
    }
    table.insert(key.to_owned(), value);
}

/// Reads a complete table. The error is the message alone.
fn from_table(
    algorithm: &'static Algorithm,
    preset: Option<&'static str>,
    env: &TaskEntry,
    mut table: toml::Table,
) -> Result<Config, String> {
    let mut take = |key: &str| {
        table
            .remove(key)
            .ok_or_else(|| format!("`{key}` is missing"))
    };
    let message = |error: toml::de::Error| error.message().trim().to_owned();
    let mut agent: toml::Table = take("agent")?.try_into().map_err(message)?;
    agent.remove("preset");
    let settings = algorithm.parse(agent).map_err(message)?;
    Ok(Config {
        algo: algorithm.name.to_owned(),
        env: take("env")?.try_into().map_err(message)?,
        seed: take("seed")?.try_into().map_err(message)?,
        steps: take("steps")?.try_into().map_err(message)?,
        backend: take("backend")?.try_into().map_err(message)?,
        device: take("device")?.try_into().map_err(message)?,
        agent: Agent { preset, settings },
        training: take("training")?.try_into().map_err(message)?,
        replay: take("replay")?.try_into().map_err(message)?,
        evaluation: take("evaluation")?.try_into().map_err(message)?,
        task: task::from_table(env, take("task")?)?,
    })
}

fn origin_of(origins: &BTreeMap<String, Origin>, path: &str) -> Origin {
    origins.get(path).cloned().unwrap_or(Origin::Default)
}

/// Checks all ranges and says where a value out of its range was set.
fn validate(config: &Config, origins: &BTreeMap<String, Origin>) -> Result<(), ConfigError> {
    let wrong = |error: RangeError| ConfigError {
        origin: origin_of(origins, &error.key),
        message: error.to_string(),
        hint: None,
    };
    let of = |key: &str, value: String, expected: &str| {
        wrong(RangeError {
            key: key.to_owned(),
            value,
            expected: expected.to_owned(),
        })
    };
    if config.steps == 0 {
        return Err(of("steps", "0".into(), "a whole number of at least 1"));
    }
    if config.device != AUTO && config.device.parse::<u16>().is_err() {
        let expected = "\"auto\" or the number of a device (`rescore devices` lists them)";
        return Err(of("device", format!("\"{}\"", config.device), expected));
    }
    training::validate(&config.training, &config.replay, &config.evaluation).map_err(wrong)?;
    config
        .agent
        .settings
        .validate(config.pace())
        .map_err(|mut error| {
            error.key.insert_str(0, "agent.");
            wrong(error)
        })
}
