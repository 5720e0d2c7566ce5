//! The numbered list of the runs of a sweep.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rescore_store::StoreError;
use rescore_store::durable::{
    create_folder, parent, read_limited, read_text, remove, rename, sha256_hex, sync_folder,
    write_json, write_synced,
};
use rescore_store::run_folder::CONFIG_LIMIT;
use serde::{Deserialize, Serialize};

use super::file::SweepFile;
use crate::RunError;
use crate::config::{Config, ConfigError, Request, resolve};

/// The folder of the plan, in that of the sweep.
const PLAN: &str = "plan";
/// The same, while it is written.
const UNFINISHED: &str = ".plan.tmp";
/// The list.
const LIST: &str = "plan.json";
/// A copy of the file of the sweep.
const FILE: &str = "sweep.toml";
/// Of the list. Programs refuse another.
const FORMAT: u64 = 1;
/// A list of the most runs is shorter.
const LIST_LIMIT: u64 = 256 << 20;

/// The runs of a sweep, in the folder that it was planned into.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The folder of the sweep.
    #[serde(skip)]
    folder: PathBuf,
    /// Format of the list.
    format: u64,
    /// Version of the program that planned it.
    pub version: String,
    /// Hash over numbers, folders and configurations of all runs.
    pub hash: String,
    /// By number.
    pub runs: Vec<PlannedRun>,
}

/// One run of a sweep.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlannedRun {
    /// Its number, from 0.
    pub index: usize,
    /// Name of its run folder, in the folder of the sweep.
    pub folder: String,
    /// Name of the algorithm.
    pub algorithm: String,
    /// Name of the task.
    pub task: String,
    /// Seed.
    pub seed: u64,
    /// Environment steps.
    pub steps: u64,
    /// Its values of the keys of which `[set]` of the sweep has several.
    pub settings: BTreeMap<String, toml::Value>,
    /// SHA-256 of its `config.toml`.
    pub hash: String,
}

impl PlannedRun {
    /// What the run is, in words.
    pub fn describe(&self) -> String {
        let settings = self.settings.iter();
        let settings = settings.map(|(key, value)| format!(", {key}={value}"));
        let (algorithm, task, seed) = (&self.algorithm, &self.task, self.seed);
        format!("{algorithm} on {task}, seed {seed}") + &settings.collect::<String>()
    }

    fn folder_name(&self) -> String {
        let (index, algorithm, task, seed) = (self.index, &self.algorithm, &self.task, self.seed);
        format!("{index:04}-{algorithm}-{task}-s{seed}")
    }
}

/// The runs that the sweep file called `name` with this `text` stands for, each with its resolved
/// configuration: by algorithm, task, settings and seed, of which the seed changes fastest. `below` is
/// a request for the defaults on this machine.
///
/// # Errors
/// When the file is wrong, a configuration cannot be resolved, or two runs are the same.
pub fn plan(
    name: &str,
    text: &str,
    below: &Request,
) -> Result<Vec<(PlannedRun, Config)>, RunError> {
    let file = SweepFile::parse(name, text)?;
    let mut runs: Vec<(PlannedRun, Config)> = Vec::new();
    let mut indices: BTreeMap<String, usize> = BTreeMap::new();
    for algorithm in &file.algorithms {
        let combinations = file.combinations(algorithm);
        for task in &file.tasks {
            for settings in &combinations {
                let config = resolved(&file, algorithm, task, settings, below)?;
                for &seed in &file.seeds {
                    let config = Config {
                        seed,
                        ..config.clone()
                    };
                    let run = planned(runs.len(), &config, &file.varied(algorithm, settings));
                    if let Some(same) = indices.insert(run.hash.clone(), run.index) {
                        return Err(twice(&file, &runs[same].0, &run).into());
                    }
                    runs.push((run, config));
                }
            }
        }
    }
    Ok(runs)
}

fn planned(index: usize, config: &Config, settings: &[(&str, &toml::Value)]) -> PlannedRun {
    let settings = settings.iter();
    let mut run = PlannedRun {
        index,
        folder: String::new(),
        algorithm: config.algo.clone(),
        task: config.env.clone(),
        seed: config.seed,
        steps: config.steps,
        settings: settings
            .map(|(key, value)| ((*key).to_owned(), (*value).clone()))
            .collect(),
        hash: sha256_hex(config.to_toml().as_bytes()),
    };
    run.folder = run.folder_name();
    run
}

fn twice(file: &SweepFile, first: &PlannedRun, second: &PlannedRun) -> ConfigError {
    let message = format!(
        "runs {} and {} are the same: {}",
        first.index,
        second.index,
        second.describe()
    );
    ConfigError {
        hint: Some(
            "a value stands twice in a list, or a setting has no effect on this run".to_owned(),
        ),
        ..file.error(file.repeated(&second.algorithm).as_deref(), message)
    }
}

/// The configuration of one combination with the first seed, resolved as `train` resolves it.
fn resolved(
    file: &SweepFile,
    algorithm: &str,
    task: &str,
    settings: &[(&str, &toml::Value)],
    below: &Request,
) -> Result<Config, RunError> {
    let request = |settings: &[(&str, &toml::Value)]| Request {
        algo: Some(algorithm.to_owned()),
        preset: file.preset.clone(),
        env: Some(task.to_owned()),
        seed: file.seeds.first().copied(),
        steps: Some(file.steps),
        set: settings
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect(),
        ..below.clone()
    };
    let error = match resolve(&request(settings)) {
        Ok(config) => return Ok(config),
        Err(RunError::Config(error)) => error,
        Err(other) => return Err(other),
    };
    let key = file.key_of(algorithm, &error.origin);
    let varied = file.varied(algorithm, settings);
    let words = varied.iter().map(|(key, value)| format!(", {key}={value}"));
    let words: Vec<_> = words.collect();
    let message = format!(
        "{} (in the run of {algorithm} on {task}{})",
        error.message,
        words.concat()
    );
    let mut placed = file.error(key.as_deref(), message);
    placed.hint = error.hint;
    let is_common = key.is_some_and(|key| key.starts_with("set."));
    if is_common && file.algorithms.len() > 1 && error.message.contains("unknown key") {
        let hint = placed.hint.map_or_else(String::new, |hint| hint + "; ");
        placed.hint = Some(hint + "a table [algorithm.NAME] sets keys of one algorithm");
    }
    // A key whose value is a list itself: each element of the list was taken for a value.
    for choice in file.choices(algorithm) {
        let Some(list) = choice.as_one_value() else {
            continue;
        };
        let whole = settings.iter().map(|&(key, value)| {
            let is_it = key == choice.key;
            (key, if is_it { &list } else { value })
        });
        if resolve(&request(&whole.collect::<Vec<_>>())).is_ok() {
            placed.hint = Some(format!(
                "`{}` is a list itself, and a sweep takes a list of values: write [{list}]",
                choice.key
            ));
        }
    }
    Err(placed.into())
}

impl Plan {
    /// Writes the plan of `runs`, whose sweep file has this `text`, into `folder`. The same plan may be
    /// there already.
    ///
    /// # Errors
    /// When another sweep or anything else is in the folder, or it cannot be written.
    pub fn write(
        folder: &Path,
        text: &str,
        runs: Vec<(PlannedRun, Config)>,
    ) -> Result<Self, RunError> {
        let (runs, configs): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
        let plan = Self {
            folder: folder.to_owned(),
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hash: hash(&runs),
            runs,
        };
        create_folder(folder)?;
        if fs::symlink_metadata(folder.join(PLAN)).is_ok() {
            return plan.same_as_before();
        }
        require_free(folder)?;
        let unfinished = folder.join(UNFINISHED);
        remove(&unfinished)?;
        create_folder(&unfinished)?;
        for (run, config) in plan.runs.iter().zip(&configs) {
            let path = unfinished.join(config_name(run.index));
            write_synced(&path, config.to_toml().as_bytes())?;
        }
        write_synced(&unfinished.join(FILE), text.as_bytes())?;
        write_json(&unfinished.join(LIST), &plan)?;
        // As a whole or not at all; and of two processes that plan at once one succeeds.
        rename(&unfinished, &folder.join(PLAN))?;
        sync_folder(folder)?;
        sync_folder(parent(folder))?;
        Ok(plan)
    }

    fn same_as_before(self) -> Result<Self, RunError> {
        let before = Self::read(&self.folder)?;
        if before.hash == self.hash && before.version == self.version {
            return Ok(before);
        }
        Err(RunError::usage(
            format!(
                "{} holds another sweep, of {} runs, planned by version {}",
                self.folder.display(),
                before.runs.len(),
                before.version
            ),
            "a plan does not change: plan this sweep into another folder",
        ))
    }

    /// Reads the plan in `folder`.
    ///
    /// # Errors
    /// When there is none, it is of another format, or it was changed after it was written.
    pub fn read(folder: &Path) -> Result<Self, RunError> {
        Self::find(folder)?.ok_or_else(|| {
            RunError::usage(
                format!("{} holds no sweep", folder.display()),
                "`sweep plan SWEEP.toml --out DIR` plans one",
            )
        })
    }

    /// Reads the plan in `folder`; nothing where there is none.
    ///
    /// # Errors
    /// When it is of another format, or it was changed after it was written.
    pub fn find(folder: &Path) -> Result<Option<Self>, RunError> {
        let path = folder.join(PLAN).join(LIST);
        if fs::symlink_metadata(&path).is_err() {
            return Ok(None);
        }
        let corrupt = |message: String| StoreError::corrupt(&path, message);
        let bytes = read_limited(&path, LIST_LIMIT)?;
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        if format != Some(FORMAT) {
            let format = format.map_or_else(|| "none".to_owned(), |format| format.to_string());
            return Err(RunError::usage(
                format!("{} has the format {format}, not {FORMAT}", path.display()),
                "the program that planned the sweep goes on with it",
            ));
        }
        let plan: Self =
            serde_json::from_value(value).map_err(|error| corrupt(error.to_string()))?;
        let mut numbered = plan.runs.iter().enumerate();
        let in_order = numbered.all(|(n, run)| run.index == n && run.folder == run.folder_name());
        // A name must not lead out of the folder.
        let plain = |run: &PlannedRun| !run.folder.contains(['/', '\\']);
        if !in_order || !plan.runs.iter().all(plain) || plan.hash != hash(&plan.runs) {
            return Err(corrupt("it was changed after it was written".to_owned()).into());
        }
        Ok(Some(Self {
            folder: folder.to_owned(),
            ..plan
        }))
    }

    /// The folder of the sweep.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The run with the number `index`.
    ///
    /// # Errors
    /// When there is none.
    pub fn run(&self, index: usize) -> Result<&PlannedRun, RunError> {
        self.runs.get(index).ok_or_else(|| {
            RunError::usage(
                format!("there is no run {index} in {}", self.folder.display()),
                format!("the sweep has the runs 0 to {}", self.runs.len() - 1),
            )
        })
    }

    /// The folder of a run.
    pub fn path(&self, run: &PlannedRun) -> PathBuf {
        self.folder.join(&run.folder)
    }

    /// The file with the configuration of a run.
    pub fn config_file(&self, run: &PlannedRun) -> PathBuf {
        self.folder.join(PLAN).join(config_name(run.index))
    }

    /// The configuration of a run, as it was planned.
    ///
    /// # Errors
    /// When its file was changed, or this program understands it otherwise than the one that planned
    /// the sweep.
    pub fn config(&self, run: &PlannedRun) -> Result<Config, RunError> {
        let file = self.config_file(run);
        let text = read_text(&file, CONFIG_LIMIT)?;
        let found = sha256_hex(text.as_bytes());
        if found != run.hash {
            let message = format!("its SHA-256 is {found}, not {} as planned", run.hash);
            return Err(StoreError::corrupt(&file, message).into());
        }
        let config = resolve(&Request {
            config_file: Some(file),
            ..Request::default()
        })?;
        if config.to_toml() == text {
            return Ok(config);
        }
        Err(self.of_another_version(format!(
            "run {} has other settings for this program than for the one that planned it",
            run.index
        )))
    }

    /// Requires that this program is of the version that planned the sweep, so that all runs are made
    /// alike.
    ///
    /// # Errors
    /// When it is of another.
    pub fn require_version(&self) -> Result<(), RunError> {
        let version = env!("CARGO_PKG_VERSION");
        if self.version == version {
            return Ok(());
        }
        let folder = self.folder.display();
        Err(self.of_another_version(format!(
            "the sweep in {folder} was planned by version {}, this is {version}",
            self.version
        )))
    }

    fn of_another_version(&self, message: String) -> RunError {
        let hint = format!(
            "go on with version {}, or plan the sweep anew into another folder",
            self.version
        );
        RunError::usage(message, hint)
    }
}

fn config_name(index: usize) -> String {
    format!("{index:04}.toml")
}

fn hash(runs: &[PlannedRun]) -> String {
    let lines = runs.iter();
    let lines = lines.map(|run| format!("{} {} {}\n", run.index, run.folder, run.hash));
    sha256_hex(lines.collect::<String>().as_bytes())
}

/// Requires that nothing is in `folder` but a plan that was not written to its end.
fn require_free(folder: &Path) -> Result<(), RunError> {
    let entries = fs::read_dir(folder).map_err(StoreError::io("read", folder))?;
    let mut names = entries.flatten().map(|entry| entry.file_name());
    match names.find(|name| name != UNFINISHED) {
        None => Ok(()),
        Some(name) => Err(RunError::usage(
            format!(
                "{} holds {}, which is no part of a sweep",
                folder.display(),
                name.display()
            ),
            "a sweep has a folder of its own, new or empty",
        )),
    }
}

#[cfg(test)]
mod tests;
