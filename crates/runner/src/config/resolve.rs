//! From layers of settings to one complete, checked configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rescore_agents::{AgentConfig, Algorithm, RangeError};
use rescore_envs::{OptionValue, TaskEntry};
use rescore_store::durable::{read_stream, read_text};
use rescore_store::{names, run_folder};

use super::layers::{parse_assignment, parse_toml};
use super::schema::{ALIAS, Schema};
use super::{
    Config, ConfigError, Origin, Setting, TrainingConfig, embedded, model_file, nearest_name, task,
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
            settings.extend(parse_toml(&path.display().to_string(), &text)?);
        }
        if let Some(path) = &self.config_file {
            let text = read_stream(path, run_folder::CONFIG_LIMIT)?;
            settings.extend(parse_toml(&path.display().to_string(), &text)?);
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
        for assignment in &self.set {
            settings.push(parse_assignment(assignment)?);
        }
        Ok(settings)
    }
}

/// Resolves all layers into one configuration.
///
/// # Errors
/// On unreadable files, text that is not TOML, unknown keys, values of a wrong kind and values out
/// of their range; nothing has been created or built then.
pub fn resolve(request: &Request) -> Result<Config, RunError> {
    let user = request.settings()?;
    let algorithm = algorithm(&user)?;
    let env = environment(&user)?;
    backend(&user)?;

    let (name, text) = embedded::algorithm_file(algorithm);
    let mut settings = parse_toml(name, text)?;
    if let Some((name, text)) = embedded::task_file(env.name) {
        let task = parse_toml(name, text)?;
        settings.extend(task.into_iter().filter(|s| applies_to(algorithm, &s.key)));
    }
    settings.extend(user);
    for setting in &mut settings {
        move_key(setting)?;
    }

    let mut schema = Schema::of(&defaults(algorithm, default_preset(algorithm), &env));
    let preset = find_preset(algorithm, &mut settings, &schema)?;
    let defaults = defaults(algorithm, &preset, &env);
    schema = Schema::of(&defaults);
    for setting in &settings {
        schema
            .check_key(setting)
            .map_err(|error| elsewhere(algorithm, setting, error))?;
        schema.check_kind(setting)?;
    }

    let mut table = defaults.clone();
    let mut origins = BTreeMap::new();
    for setting in settings {
        for part in expand(setting) {
            let mut alone = defaults.clone();
            put(&mut alone, &part.key, part.value.clone());
            from_table(algorithm, &env, alone)
                .map_err(|message| ConfigError::new(&part, format!("`{}`: {message}", part.key)))?;
            put(&mut table, &part.key, part.value);
            origins.insert(part.key, part.origin);
        }
    }
    let mut config = from_table(algorithm, &env, table).map_err(|message| ConfigError {
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

/// Was in the table of the task while observations were normalised before they were stored.
const MOVED: (&str, &str) = (
    "task.normalize_observation",
    "training.normalize_observation",
);

/// Takes a key that has moved where it asks for nothing, as in the `config.toml` of a run that
/// normalised nothing: that run can go on. One that did cannot, so that it must not seem to.
fn move_key(setting: &mut Setting) -> Result<(), ConfigError> {
    if setting.key != MOVED.0 {
        return Ok(());
    }
    if setting.value.as_bool() == Some(false) {
        MOVED.1.clone_into(&mut setting.key);
        return Ok(());
    }
    let mut error = ConfigError::new(setting, format!("`{}` is now `{}`", MOVED.0, MOVED.1));
    error.hint = Some(
        "observations are stored raw and normalised when they are drawn; a run begun with the old \
         key cannot go on, start it again with the new one"
            .to_owned(),
    );
    Err(error)
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

fn algorithm(settings: &[Setting]) -> Result<Algorithm, ConfigError> {
    let Some((name, setting)) = last_text(settings, "algo")? else {
        return Ok(Algorithm::Dpmd);
    };
    Algorithm::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Algorithm::ALL.iter().map(|a| a.name()).collect();
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

fn default_preset(algorithm: Algorithm) -> &'static str {
    AgentConfig::presets(algorithm)[0]
}

/// Completes short keys, then finds the preset that the highest layer names.
fn find_preset(
    algorithm: Algorithm,
    settings: &mut [Setting],
    schema: &Schema,
) -> Result<String, ConfigError> {
    for setting in settings.iter_mut() {
        if matches!(setting.origin, Origin::Option(_)) {
            setting.key = schema.complete(&setting.key);
        }
    }
    let Some((name, setting)) = last_text(settings, "agent.preset")? else {
        return Ok(default_preset(algorithm).to_owned());
    };
    let valid = AgentConfig::presets(algorithm);
    if valid.contains(&name) {
        Ok(name.to_owned())
    } else {
        Err(unknown_name(setting, "preset", name, valid))
    }
}

/// A complete configuration of a task under a preset that exists.
fn defaults(algorithm: Algorithm, preset: &str, env: &TaskEntry) -> toml::Table {
    let config = Config {
        algo: algorithm,
        env: env.name.to_owned(),
        seed: 0,
        steps: DEFAULT_STEPS,
        backend: DEFAULT_BACKEND.to_owned(),
        device: AUTO.to_owned(),
        agent: AgentConfig::preset(algorithm, preset).expect("callers pass names of presets only"),
        training: TrainingConfig::default(),
        task: task::defaults(env),
    };
    toml::Table::try_from(config).expect("a configuration is expressible as TOML")
}

/// Whether `key` is a full path of the configuration of `algorithm`.
fn knows(algorithm: Algorithm, key: &str) -> bool {
    Schema::of(&defaults(
        algorithm,
        default_preset(algorithm),
        &default_env(),
    ))
    .contains(key)
}

/// Task files serve all algorithms: a key of `[agent]` that only others have is passed over.
fn applies_to(algorithm: Algorithm, key: &str) -> bool {
    knows(algorithm, key) || !Algorithm::ALL.iter().any(|other| knows(*other, key))
}

/// Says so when the unknown key of `setting` is a key of other algorithms.
fn elsewhere(algorithm: Algorithm, setting: &Setting, mut error: ConfigError) -> ConfigError {
    let name = setting.key.strip_prefix("agent.").unwrap_or(&setting.key);
    let key = format!("agent.{name}");
    let owners: Vec<_> = Algorithm::ALL
        .iter()
        .filter(|other| knows(**other, &key))
        .map(|other| other.name())
        .collect();
    if !owners.is_empty() && !knows(algorithm, &key) {
        error.hint = Some(format!(
            "`{key}` is a key of {}, not of {}",
            owners.join(" and "),
            algorithm.name()
        ));
    }
    error
}

/// Replaces the alias by the keys that it stands for.
fn expand(setting: Setting) -> Vec<Setting> {
    if setting.key != ALIAS.0 {
        return vec![setting];
    }
    ALIAS
        .1
        .iter()
        .map(|key| Setting {
            key: (*key).to_owned(),
            ..setting.clone()
        })
        .collect()
}

/// Puts `value` at the dotted path `key`, which the schema has approved.
fn put(table: &mut toml::Table, key: &str, value: toml::Value) {
    match key.split_once('.') {
        Some((head, rest)) => {
            if let Some(toml::Value::Table(inner)) = table.get_mut(head) {
                inner.insert(rest.to_owned(), value);
            }
        }
        None => {
            table.insert(key.to_owned(), value);
        }
    }
}

/// Reads a complete table. The error is the message alone.
fn from_table(
    algorithm: Algorithm,
    env: &TaskEntry,
    mut table: toml::Table,
) -> Result<Config, String> {
    let mut take = |key: &str| {
        table
            .remove(key)
            .ok_or_else(|| format!("`{key}` is missing"))
    };
    let message = |error: toml::de::Error| error.message().trim().to_owned();
    Ok(Config {
        algo: algorithm,
        env: take("env")?.try_into().map_err(message)?,
        seed: take("seed")?.try_into().map_err(message)?,
        steps: take("steps")?.try_into().map_err(message)?,
        backend: take("backend")?.try_into().map_err(message)?,
        device: take("device")?.try_into().map_err(message)?,
        agent: AgentConfig::from_table(algorithm, take("agent")?).map_err(message)?,
        training: take("training")?.try_into().map_err(message)?,
        task: task::from_table(env, take("task")?)?,
    })
}

fn origin_of(origins: &BTreeMap<String, Origin>, path: &str) -> Origin {
    origins.get(path).cloned().unwrap_or(Origin::Default)
}

/// Checks all ranges and says where a value out of its range was set.
fn validate(config: &Config, origins: &BTreeMap<String, Origin>) -> Result<(), ConfigError> {
    let place = |path: String, error: RangeError| ConfigError {
        origin: origin_of(origins, &path),
        message: format!(
            "`{path}` is {}, but must be {}",
            error.value, error.expected
        ),
        hint: None,
    };
    if config.steps == 0 {
        let error = RangeError {
            key: "steps",
            value: "0".into(),
            expected: "a whole number of at least 1",
        };
        return Err(place("steps".into(), error));
    }
    if config.device != AUTO && config.device.parse::<u16>().is_err() {
        let error = RangeError {
            key: "device",
            value: format!("\"{}\"", config.device),
            expected: "\"auto\" or the number of a device (`rescore devices` lists them)",
        };
        return Err(place("device".into(), error));
    }
    config
        .training
        .validate()
        .map_err(|error| place(format!("training.{}", error.key), error))?;
    config
        .agent
        .validate()
        .map_err(|error| place(format!("agent.{}", error.key), error))
}
