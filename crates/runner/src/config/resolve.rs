//! From layers of settings to one complete, checked configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rescore_agents::{Algorithm, PolicyKind, RangeError};
use rescore_envs::{OptionValue, TaskEntry};
use rescore_store::durable::{read_stream, read_text};
use rescore_store::{names, run_folder};

use super::layers::{last_text, parse_assignment, parse_toml};
use super::preset::{Choice, Circumstances, OnProcessor, choose};
use super::schema::{Schema, unknown_name};
use super::training::COUNT_WARMUP;
use super::{
    Agent, Config, ConfigError, EvaluationConfig, Origin, ReplayConfig, Setting, TrainingConfig,
    embedded, model_file, moved, task, training,
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
    /// `--preset NAME`.
    pub preset: Option<String>,
    /// The preset where nobody names one, of a run that is gone on with.
    pub begun: Option<String>,
    /// How to find out whether a device of a GPU backend computes on the processor, on which the
    /// default preset depends.
    pub on_processor: Option<OnProcessor>,
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
            if layer.iter().all(|setting| setting.key != COUNT_WARMUP) {
                // Begun when there was no choice.
                settings.push(Setting::option(
                    COUNT_WARMUP,
                    false,
                    path.display().to_string(),
                ));
            }
            settings.extend(kinds_first(layer));
        }
        if let Some(path) = &self.config_file {
            let text = read_stream(path, run_folder::CONFIG_LIMIT)?;
            let layer = parse_toml(&path.display().to_string(), &text)?;
            settings.extend(kinds_first(layer));
        }
        let texts = [
            ("algo", "algo", &self.algo),
            ("preset", "agent.preset", &self.preset),
            ("env", "env", &self.env),
            ("backend", "backend", &self.backend),
            ("device", "device", &self.device),
        ];
        for (option, key, value) in texts {
            if let Some(value) = value {
                let option = format!("--{option} {value}");
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
pub fn resolve(request: &Request) -> Result<Config, RunError> {
    resolve_with_reason(request).map(|(config, _)| config)
}

/// [`resolve`], and in words which preset was taken and why, where the algorithm has several.
///
/// # Errors
/// As [`resolve`].
///
/// # Panics
/// Never: every configuration can be written as TOML.
pub fn resolve_with_reason(request: &Request) -> Result<(Config, Option<String>), RunError> {
    let user = request.settings()?;
    let algorithm = algorithm(&user)?;
    let env = environment(&user)?;
    let circumstances = Circumstances {
        begun: request.begun.as_deref(),
        backend: backend(&user)?,
        device: last_text(&user, &["device"])?.map_or(AUTO, |(name, _)| name),
        on_processor: request.on_processor,
    };
    let choice = choose(algorithm, &user, &circumstances)?;
    let preset = choice.as_ref().map(|choice| choice.name);
    let defaults = defaults(algorithm, preset, &env);
    let schema = Schema::of(&defaults);
    let mut layers = Layers::default();
    let of_preset = preset.or_else(|| algorithm.presets().first().copied());
    if let Some((name, text)) =
        of_preset.and_then(|name| embedded::preset_file(algorithm.name, name))
    {
        layers.own.extend(parse_toml(name, text)?);
    }
    if let Some((name, text)) = embedded::task_file(env.name) {
        let task = parse_toml(name, text)?.into_iter();
        let known = task.filter(|setting| schema.contains(&setting.key));
        layers.own.extend(known);
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
        layers.user.push(setting);
    }

    let mut table = toml::Table::try_from(&defaults).expect("TOML can express a configuration");
    let mut origins = BTreeMap::new();
    for (setting, must_fit) in layers.in_order() {
        let mut fits = false;
        let mut wrong = None;
        for key in schema.expand(&setting.key) {
            let mut changed = table.clone();
            put(&mut changed, &key, setting.value.clone());
            match from_table(algorithm, preset, &env, changed.clone()) {
                Ok(_) => {
                    (table, fits) = (changed, true);
                    origins.insert(key, setting.origin.clone());
                }
                Err(message) => wrong = Some(format!("`{key}`: {message}")),
            }
        }
        if let (Some(message), true, false) = (wrong, must_fit, fits) {
            return Err(ConfigError::new(&setting, message).into());
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
    let reason = choice.map(|Choice { name, why }| format!("preset `{name}`, {why}"));
    Ok((config, reason))
}

fn algorithm(settings: &[Setting]) -> Result<&'static Algorithm, ConfigError> {
    let Some((name, setting)) = last_text(settings, &["algo"])? else {
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
    let Some((name, setting)) = last_text(settings, &["env"])? else {
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

fn backend(settings: &[Setting]) -> Result<&str, ConfigError> {
    match last_text(settings, &["backend"])? {
        Some((name, setting)) if !KNOWN.contains(&name) => {
            Err(unknown_name(setting, "backend", name, KNOWN))
        }
        Some((name, _)) => Ok(name),
        None => Ok(DEFAULT_BACKEND),
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
    if error
        .hint
        .as_ref()
        .is_some_and(|hint| hint.starts_with("say which"))
    {
        return error;
    }
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

/// Settings, lowest first: those that come with the program, and the user's.
#[derive(Default)]
struct Layers {
    own: Vec<Setting>,
    user: Vec<Setting>,
}

impl Layers {
    /// Each with whether it must fit. Files of tasks serve all algorithms: keys of networks, targets
    /// or temperatures of another kind are passed over.
    fn in_order(self) -> impl Iterator<Item = (Setting, bool)> {
        let own = self.own.into_iter();
        let own = own.map(|setting| (!setting.key.starts_with("agent."), setting));
        let user = self.user.into_iter().map(|setting| (true, setting));
        own.chain(user)
            .map(|(must_fit, setting)| (setting, must_fit))
    }
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
        })?;
    let sizes = config.agent.settings.outline().sizes;
    let deterministic = sizes.is_some_and(|sizes| sizes.policy == PolicyKind::Deterministic);
    if deterministic && config.evaluation.best_of > 0 {
        let expected = format!("0 for `{}`, whose policy is deterministic", config.algo);
        let value = config.evaluation.best_of.to_string();
        return Err(of("evaluation.best_of", value, &expected));
    }
    require_steps_to_learn(config, origins)
}

/// Requires that steps are left beside those of a warm-up that counts.
fn require_steps_to_learn(
    config: &Config,
    origins: &BTreeMap<String, Origin>,
) -> Result<(), ConfigError> {
    let (steps, warmup) = (config.steps, config.training.warmup_end());
    if steps > warmup {
        return Ok(());
    }
    let set = |key: &&str| match origin_of(origins, key) {
        Origin::Default => false,
        Origin::File { name, .. } => !embedded::is_file(&name),
        Origin::Option(_) => true,
    };
    let culprit = ["steps", "training.warmup_steps"].into_iter().find(set);
    Err(ConfigError {
        origin: origin_of(origins, culprit.unwrap_or("steps")),
        message: format!(
            "`steps` is {steps}, but the first {warmup} of them are warm-up \
             (`training.warmup_steps`), so that nothing would be learned"
        ),
        hint: Some(
            "more steps (--steps N), a shorter warm-up (--set warmup_steps=N), or steps counted \
             from the end of warm-up (--set count_warmup=false)"
                .to_owned(),
        ),
    })
}
