//! The run folder of a configuration.

use std::path::Path;

use rescore_store::run_folder::{NewRun, RunFolder, Start};

use crate::RunError;
use crate::config::Config;
#[cfg(feature = "mujoco")]
use crate::model_copy;

/// What the manifest says of this process, which computes on the device called `device`. The
/// program adds its commit.
pub fn start(config: &Config, device: String) -> Start {
    Start::now(&config.backend, device, rayon::current_num_threads())
}

/// Creates the folder `out` with its parents, or a fresh one below `runs/`, and writes
/// `config.toml`, `manifest.json` and a copy of a model of the user's own.
///
/// # Errors
/// When `out` is not empty, held by another process, or cannot be written.
pub fn create(out: Option<&Path>, config: &Config, start: Start) -> Result<RunFolder, RunError> {
    let folder = RunFolder::create(out, &new_run(config, start))?;
    copy_model(&folder, config)?;
    Ok(folder)
}

/// The folder of a run that is to go on, or to begin if the folder `path` is empty or missing; and
/// whether the run had begun. See [`RunFolder::enter`].
///
/// # Errors
/// When the folder holds something else than a run, is held by another process, or cannot be
/// written.
pub fn enter(path: &Path, config: &Config, start: Start) -> Result<(RunFolder, bool), RunError> {
    let (folder, begun) = RunFolder::enter(path, &new_run(config, start))?;
    if !begun {
        copy_model(&folder, config)?;
    }
    Ok((folder, begun))
}

fn new_run(config: &Config, start: Start) -> NewRun {
    NewRun {
        name: format!("{}-{}-s{}", config.algo, config.env, config.seed),
        config: config.to_toml(),
        start,
    }
}

#[cfg(feature = "mujoco")]
fn copy_model(folder: &RunFolder, config: &Config) -> Result<(), RunError> {
    model_copy::save(folder.path(), config)
}

#[cfg(not(feature = "mujoco"))]
#[expect(clippy::unnecessary_wraps, reason = "with MuJoCo it can fail")]
fn copy_model(_: &RunFolder, _: &Config) -> Result<(), RunError> {
    Ok(())
}
