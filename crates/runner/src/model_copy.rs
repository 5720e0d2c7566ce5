//! The model of the user's own (`task.xml_file`) in a run folder: a run, and whoever plays its
//! policy, uses the model that the run began with, whatever becomes of the file.
//!
//! ```text
//! model.mjb    the compiled model in MuJoCo's binary form, with all files that it includes
//! model.json   path and SHA-256 of the file that it comes from, SHA-256 of the copy
//! ```

use std::path::Path;

use rescore_envs::OptionValue;
use rescore_envs::mujoco::{PinnedModel, library_version, model_bytes, pin_model};
use serde::{Deserialize, Serialize};

use rescore_store::StoreError;
use rescore_store::durable::{parse_json, read_limited, sha256_hex, write_json, write_whole};

use crate::RunError;
use crate::config::{Config, model_file};

const COPY: &str = "model.mjb";
const DESCRIPTION: &str = "model.json";
const DESCRIPTION_LIMIT: u64 = 64 << 10;
/// Far more than a model with meshes and textures takes.
const MODEL_LIMIT: u64 = 1 << 30;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    /// `task.xml_file`.
    xml_file: String,
    /// SHA-256 of that file, without what it includes.
    xml_sha256: String,
    /// SHA-256 of the copy.
    sha256: String,
    /// Version of MuJoCo that wrote the copy, and has to read it.
    mujoco: String,
}

/// The model file, if `config` names one that is not one of the task models.
fn own_model(config: &Config) -> Option<&str> {
    match config.task.options.get(model_file::KEY) {
        Some(OptionValue::Text(file)) if model_file::is_path(file) => Some(file),
        _ => None,
    }
}

fn hash_of(xml_file: &str) -> Result<String, RunError> {
    let path = Path::new(xml_file);
    // Where it is a link, the file that this leads to.
    let path = path.canonicalize().map_err(StoreError::io("read", path))?;
    Ok(sha256_hex(&read_limited(&path, MODEL_LIMIT)?))
}

/// Copies the model of `config` into the folder `run`, if it is one of the user's own.
///
/// # Errors
/// When it cannot be read or the folder cannot be written.
pub fn save(run: &Path, config: &Config) -> Result<(), RunError> {
    let Some(xml_file) = own_model(config) else {
        return Ok(());
    };
    let bytes = model_bytes(Path::new(xml_file))?;
    write_whole(&run.join(COPY), &bytes)?;
    let description = Description {
        xml_file: xml_file.to_owned(),
        xml_sha256: hash_of(xml_file)?,
        sha256: sha256_hex(&bytes),
        mujoco: library_version(),
    };
    Ok(write_json(&run.join(DESCRIPTION), &description)?)
}

/// Lets the copy in the folder `run` stand for the model of `config`, for as long as the result
/// lives. Warns where the original has been changed since, and where there is no copy.
///
/// # Errors
/// When the copy is damaged or of another version of MuJoCo.
pub fn restore(run: &Path, config: &Config) -> Result<Option<PinnedModel>, RunError> {
    let Some(xml_file) = own_model(config) else {
        return Ok(None);
    };
    let path = run.join(DESCRIPTION);
    if !path.exists() {
        tracing::warn!(
            "{} holds no copy of the model, so {xml_file} is used as it is now",
            run.display()
        );
        return Ok(None);
    }
    let description: Description = parse_json(&path, &read_limited(&path, DESCRIPTION_LIMIT)?)?;
    if description.xml_file != xml_file {
        tracing::warn!(
            "the run began with the model {}, but {xml_file} is asked for",
            description.xml_file
        );
        return Ok(None);
    }
    let copy = run.join(COPY);
    let bytes = read_limited(&copy, MODEL_LIMIT)?;
    let found = sha256_hex(&bytes);
    if found != description.sha256 {
        let expected = description.sha256;
        let message = format!("its SHA-256 hash is {found}, but {DESCRIPTION} expects {expected}");
        return Err(StoreError::corrupt(&copy, message).into());
    }
    if description.mujoco != library_version() {
        let (theirs, ours) = (description.mujoco, library_version());
        let message = format!("MuJoCo {theirs} wrote it, but this program has {ours}");
        return Err(StoreError::mismatch(&copy, message).into());
    }
    match hash_of(xml_file) {
        Ok(hash) if hash == description.xml_sha256 => {}
        Ok(_) => tracing::warn!(
            "{xml_file} has been changed since the run began; the run's copy of it, {}, is used",
            copy.display()
        ),
        Err(error) => tracing::info!("{error}; the run's copy of it is used"),
    }
    Ok(Some(pin_model(Path::new(xml_file), &bytes)?))
}
