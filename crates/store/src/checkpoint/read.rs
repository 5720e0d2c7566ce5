//! Reading a checkpoint, which may be anything.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use super::description::VersionOnly;
use super::{
    AGENT_FILE, CheckpointFile, DESCRIPTION_FILE, Description, ENVIRONMENTS_FILE, FORMAT_VERSION,
    SUMS_FILE,
};
use crate::StoreError;
use crate::arrays::{Arrays, decode};
use crate::durable::{parse_json, read_limited, sha256_hex};

/// A description has a few hundred bytes, and a hundred and fifty a segment of the replay buffer.
const DESCRIPTION_LIMIT: u64 = 4 << 20;
const SUMS_LIMIT: u64 = 1024;
/// Where the sizes of the run are not known.
const FILE_LIMIT: u64 = 1 << 34;
/// What the header of a file of tensors says about one of them is shorter.
const HEADER_LIMIT: u64 = 1024;

/// How long the files of a checkpoint of a run can be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    agent: u64,
    environments: u64,
}

impl Limits {
    /// From arrays of the same form.
    pub fn new(agent: &Arrays, environments: &Arrays) -> Self {
        let limit = |arrays: &Arrays| {
            let each = arrays.values().map(|array| array.bytes() + HEADER_LIMIT);
            HEADER_LIMIT + each.sum::<u64>()
        };
        Self {
            agent: limit(agent),
            environments: limit(environments),
        }
    }
}

/// A checkpoint that has been read.
#[derive(Debug)]
pub struct Loaded {
    /// What `checkpoint.json` says.
    pub file: CheckpointFile,
    /// The environments' state.
    pub environments: Arrays,
}

/// Reads the checkpoint in the folder `path`, which must fit `run`, and hands the agent's state to
/// `take`, which may have changed the agent when this fails.
///
/// # Errors
/// When a file is missing, damaged, or does not fit; the message names it.
pub fn load<E: Display>(
    path: &Path,
    run: &Description,
    limits: Limits,
    take: impl FnOnce(Arrays) -> Result<(), E>,
) -> Result<Loaded, StoreError> {
    let sums = sums(path)?;
    let file = load_with(path, run, limits, &sums, take)?;
    let environments = verified(path, ENVIRONMENTS_FILE, limits.environments, &sums, decode)?;
    Ok(Loaded { file, environments })
}

/// Reads no more of a checkpoint than the agent; otherwise as [`load`].
///
/// # Errors
/// As [`load`].
pub fn load_agent<E: Display>(
    path: &Path,
    run: &Description,
    limits: Limits,
    take: impl FnOnce(Arrays) -> Result<(), E>,
) -> Result<Description, StoreError> {
    let file = load_with(path, run, limits, &sums(path)?, take)?;
    Ok(file.checkpoint)
}

fn load_with<E: Display>(
    path: &Path,
    run: &Description,
    limits: Limits,
    sums: &Sums,
    take: impl FnOnce(Arrays) -> Result<(), E>,
) -> Result<CheckpointFile, StoreError> {
    let file = described(path, sums)?;
    let mismatch = |name: &str, message| StoreError::mismatch(&path.join(name), message);
    if let Some(message) = file.checkpoint.difference(run) {
        return Err(mismatch(DESCRIPTION_FILE, message));
    }
    let mut taken = Ok(());
    let read = verified(path, AGENT_FILE, limits.agent, sums, |bytes| {
        taken = take(decode(bytes)?);
        Ok(())
    });
    // That its tensors do not fit tells more than that its hash is another.
    taken.map_err(|error| match &read {
        Ok(()) => mismatch(AGENT_FILE, error.to_string()),
        Err(hash) => mismatch(AGENT_FILE, format!("{error} ({hash})")),
    })?;
    read?;
    Ok(file)
}

/// Requires that every file of the checkpoint in the folder `path` is as it was written.
///
/// # Errors
/// When one is missing or damaged.
pub fn verify(path: &Path) -> Result<(), StoreError> {
    let sums = sums(path)?;
    description(path)?;
    for (name, expected) in &sums {
        let file = path.join(name);
        let found = sha256_hex(&read_limited(&file, FILE_LIMIT)?);
        if found != *expected {
            return Err(StoreError::corrupt(&file, wrong_hash(&found, expected)));
        }
    }
    Ok(())
}

fn wrong_hash(found: &str, expected: &str) -> String {
    format!("its SHA-256 hash is {found}, but {SUMS_FILE} expects {expected}")
}

/// What `checkpoint.json` in the folder `path` says, if it is as it was written.
///
/// # Errors
/// When it is missing or damaged.
pub fn description(path: &Path) -> Result<CheckpointFile, StoreError> {
    described(path, &sums(path)?)
}

fn described(path: &Path, sums: &Sums) -> Result<CheckpointFile, StoreError> {
    let file = path.join(DESCRIPTION_FILE);
    let description = verified(path, DESCRIPTION_FILE, DESCRIPTION_LIMIT, sums, |bytes| {
        let version: VersionOnly =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let found = version.format_version;
        if found != FORMAT_VERSION {
            return Err(format!(
                "its format version is {found}, but this program reads only {FORMAT_VERSION}: go \
                 on with the program that wrote it, whose version and commit manifest.json in the \
                 run folder names, or train again with the settings of config.toml"
            ));
        }
        parse_json::<CheckpointFile>(&file, bytes).map_err(|error| error.to_string())
    })?;
    let step = description.checkpoint.step.to_string();
    if path.file_name().is_none_or(|name| *name != *step) {
        let message = format!("it is of step {step}, which its folder is not named after");
        return Err(StoreError::corrupt(&file, message));
    }
    Ok(description)
}

/// The hashes that `SHA256SUMS` records.
type Sums = BTreeMap<String, String>;

fn sums(path: &Path) -> Result<Sums, StoreError> {
    let file = path.join(SUMS_FILE);
    let bytes = read_limited(&file, SUMS_LIMIT)?;
    let text = String::from_utf8_lossy(&bytes);
    let sums: Option<Sums> = text
        .strip_suffix('\n')
        .unwrap_or("?")
        .split('\n')
        .map(|line| {
            let (hash, name) = line.split_once("  ")?;
            Some((name.to_owned(), hash.to_owned()))
        })
        .collect();
    let names = [AGENT_FILE, DESCRIPTION_FILE, ENVIRONMENTS_FILE];
    sums.filter(|sums| sums.keys().eq(names)).ok_or_else(|| {
        let message = format!("it does not hold the hashes of {}", names.join(", "));
        StoreError::corrupt(&file, message)
    })
}

/// Reads the file `name` and understands it. Where its hash is not the recorded one, whatever
/// `understand` says only explains.
fn verified<T>(
    path: &Path,
    name: &str,
    limit: u64,
    sums: &Sums,
    understand: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T, StoreError> {
    let file = path.join(name);
    let bytes = read_limited(&file, limit)?;
    let found = sha256_hex(&bytes);
    let understood = understand(&bytes);
    let expected = sums.get(name).map(String::as_str).unwrap_or_default();
    if found == expected {
        return understood.map_err(|message| StoreError::corrupt(&file, message));
    }
    let mut message = wrong_hash(&found, expected);
    if let Err(reason) = understood {
        message = format!("{message}; {reason}");
    }
    Err(StoreError::corrupt(&file, message))
}
