//! Building `rescore` with the right features, and becoming it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result};
use crate::names::{DEFAULT_BACKEND, DEVELOPER};
use crate::setup::{self, Check, Effort, LINK_DIR, Store};

/// Environment variable by which `rescore` knows how the user has called it, to tell which command
/// goes on with a run.
const COMMAND: &str = "RESCORE_COMMAND";

/// How much a command wants MuJoCo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Physics {
    /// It cannot do without.
    Needed,
    /// It does without where there is none.
    Wanted,
}

/// Obtains MuJoCo. Returns whether it is there.
///
/// # Errors
/// If it is needed and cannot be obtained.
pub fn prepare(root: &Path, physics: Physics) -> Result<bool> {
    let effort = match physics {
        Physics::Needed => Effort::Full,
        Physics::Wanted => Effort::Brief,
    };
    match (setup::ensure(root, None, Check::Stamp, effort), physics) {
        (Ok(()), _) => Ok(true),
        (Err(failure), Physics::Needed) => Err(failure),
        (Err(failure), Physics::Wanted) => {
            eprintln!("warning: {failure}");
            eprintln!("warning: building without the MuJoCo tasks");
            Ok(false)
        }
    }
}

/// The cargo features of a program for others. Backends other than the default take minutes to build
/// and come where they are asked for, among `more`.
pub fn features(mujoco: bool, more: &[&str]) -> String {
    let mut features = vec![DEFAULT_BACKEND];
    if mujoco {
        features.push("mujoco");
        // Elsewhere the bindings draw through a window system only, so that there are no films.
        if cfg!(target_os = "linux") {
            features.push("render");
        }
    }
    features.extend(more);
    features.join(",")
}

/// A cargo command for this workspace, from anywhere.
pub fn cargo(root: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(root) // where .cargo/config.toml is found
        .env(LINK_DIR, Store::new(root).lib());
    if let Some(dir) = std::env::var_os("CARGO_TARGET_DIR")
        && let Ok(absolute) = std::path::absolute(dir)
    {
        // A relative one is relative to where the user stands.
        command.env("CARGO_TARGET_DIR", absolute);
    }
    forget_xtask(&mut command);
    find_library(root, &mut command);
    command
}

/// Lets a program and its children find the MuJoCo library where programs carry no search path.
fn find_library(root: &Path, command: &mut Command) {
    if cfg!(windows) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(Store::new(root).lib()).chain(std::env::split_paths(&path));
        // It fails only for a folder with a semicolon in its name.
        if let Ok(path) = std::env::join_paths(folders) {
            command.env("PATH", path);
        }
    }
}

/// Removes what `cargo run` told us about the package xtask: it is not true of the child.
fn forget_xtask(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
}

/// Runs `cargo ARGUMENTS` and returns the path of the program `rescore` that it built.
///
/// # Errors
/// If the build fails.
pub fn build(root: &Path, arguments: &[&str]) -> Result<PathBuf> {
    build_target(root, arguments, ["bin", "rescore"])
}

/// Runs `cargo ARGUMENTS` and returns the path of the target, a kind and a name, that it built.
///
/// # Errors
/// If the build fails.
pub fn build_target(root: &Path, arguments: &[&str], target: [&str; 2]) -> Result<PathBuf> {
    let output = cargo(root)
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| Failure::other(format!("cannot run cargo: {e}")))?;
    if !output.status.success() {
        return Err(
            Failure::other(format!("cannot build {} (see above)", target[1]))
                .hint("cargo xtask doctor checks the toolchain"),
        );
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|message| executable(message, target))
        .ok_or_else(|| Failure::other(format!("cargo built no program named {}", target[1])))
}

/// The target's path in one line of cargo's messages, if it is about the target.
fn executable(message: &str, [kind, name]: [&str; 2]) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_program = message["reason"] == "compiler-artifact"
        && message["target"]["name"] == name
        && message["target"]["kind"][0] == kind
        && message["profile"]["test"] == false;
    let path = message["executable"].as_str()?;
    is_program.then(|| path.into())
}

/// [`features`], and what `bench` and the tests need: `train`, `bench`, the tests and the examples
/// then share one build.
pub fn features_of_clone(mujoco: bool, more: &[&str]) -> String {
    features(mujoco, &[&[DEVELOPER], more].concat())
}

/// Builds the program with these features.
///
/// Only the program and what it depends on are compiled; `--workspace` is there because cargo
/// unites the features of the packages it is told about: the libraries are then the ones that the
/// tests use too, and burn is compiled once.
///
/// # Errors
/// If the build fails.
pub fn build_with(root: &Path, features: &str) -> Result<PathBuf> {
    let program = ["build", "--release", "--workspace", "--bin", "rescore"];
    build(root, &[&program[..], &["--features", features]].concat())
}

/// Becomes the program: it takes over this process, so that signals, the terminal and the exit
/// code are its own. Returns only if it cannot be started (or, where processes cannot be taken
/// over, its exit code).
///
/// # Errors
/// If it cannot be started.
pub fn become_program(root: &Path, program: &Path, arguments: &[OsString]) -> Result<u8> {
    let mut command = Command::new(program);
    command.args(arguments).env(COMMAND, "cargo xtask");
    take_over(root, command)
}

/// As [`become_program`], of any program.
///
/// # Errors
/// If it cannot be started.
pub fn take_over(root: &Path, mut command: Command) -> Result<u8> {
    forget_xtask(&mut command);
    find_library(root, &mut command);
    #[cfg(unix)]
    let error = {
        use std::os::unix::process::CommandExt as _;
        command.exec()
    };
    #[cfg(not(unix))]
    let error = match command.status() {
        Ok(status) => return Ok(status.code().map_or(1, |code| code as u8)),
        Err(error) => error,
    };
    Err(Failure::io("run", Path::new(command.get_program()), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_backend_is_in_every_build_and_the_rest_only_if_it_is_there_or_asked_for() {
        let films = if cfg!(target_os = "linux") {
            ",render"
        } else {
            ""
        };
        assert_eq!(features(true, &[]), format!("flex,mujoco{films}"));
        assert_eq!(features(false, &[]), "flex");
        assert_eq!(features(false, &["wgpu"]), "flex,wgpu");
        assert_eq!(features_of_clone(false, &["wgpu"]), "flex,developer,wgpu");
    }

    #[test]
    fn only_the_program_itself_is_taken_for_the_program() {
        let message = |name: &str, kind: &str, test: bool| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "target": {"name": name, "kind": [kind]},
                "profile": {"test": test},
                "executable": "/target/release/rescore",
            })
            .to_string()
        };
        let executable = |message: &str| executable(message, ["bin", "rescore"]);
        assert_eq!(
            executable(&message("rescore", "bin", false)),
            Some("/target/release/rescore".into())
        );
        assert_eq!(executable(&message("rescore", "bin", true)), None);
        assert_eq!(executable(&message("rescore", "test", false)), None);
        assert_eq!(executable(&message("xtask", "bin", false)), None);
        assert_eq!(
            executable(r#"{"reason":"build-finished","success":true}"#),
            None
        );
        assert_eq!(executable("not JSON"), None);
    }
}
