//! Tests of the layers as a whole.

mod defaults;
mod layers;
mod mistakes;

use std::path::PathBuf;

use super::{Config, Request, resolve};
use crate::RunError;

/// A configuration file in a temporary folder, which must outlive its use.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("my.toml");
    std::fs::write(&path, text).expect("writable");
    (folder, path)
}

fn with_file(text: &str) -> Result<Config, RunError> {
    let (_folder, path) = file(text);
    resolve(&Request {
        config_file: Some(path),
        ..Request::default()
    })
}

fn with_set(set: &[&str]) -> Result<Config, RunError> {
    resolve(&Request {
        // A task without a file of its own.
        env: Some("HalfCheetah-v4".into()),
        set: set.iter().map(ToString::to_string).collect(),
        ..Request::default()
    })
}

/// The value at a dotted path of a resolved configuration.
fn value(config: &Config, path: &str) -> toml::Value {
    let table: toml::Table = toml::from_str(&config.to_toml()).expect("our own output");
    path.split('.')
        .try_fold(toml::Value::Table(table), |value, key| {
            value.get(key).cloned()
        })
        .unwrap_or_else(|| panic!("no {path} in the configuration"))
}

fn error(result: Result<Config, RunError>) -> (String, String) {
    let error = result.expect_err("a mistake");
    assert_eq!(error.exit_code(), 2, "{error}");
    (error.to_string(), error.hint().unwrap_or_default())
}
