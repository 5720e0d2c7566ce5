//! `cargo xtask example`: cargo's own `--example` would compile the crates below the program again,
//! with fewer features.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::check::nearest;
use crate::failure::{Failure, Result};
use crate::program::{self, Physics};

/// The package of the program, whose features are those of the program.
const PROGRAM: &str = "rescore";

/// An example of a crate of the workspace.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Example {
    name: String,
    package: String,
}

/// Becomes the example `name` with `arguments`.
///
/// # Errors
/// If there is none of this name, or it cannot be built or started.
pub fn run(root: &Path, name: &str, arguments: &[OsString]) -> Result<u8> {
    let examples = all(root)?;
    let Some(example) = examples.iter().find(|example| example.name == name) else {
        let names: Vec<&str> = examples.iter().map(|example| &*example.name).collect();
        let mut failure = Failure::usage(format!("no example is named `{name}`"));
        if let Some(near) = nearest(name, &names) {
            failure = failure.hint(format!("did you mean `{near}`?"));
        }
        return Err(failure.hint(format!("examples: {}", names.join(", "))));
    };
    let mujoco = program::prepare(root, Physics::Wanted)?;
    let features = program::features_of_clone(mujoco, &[]);
    let mut build = vec!["build", "--release", "--package", &example.package];
    build.extend(["--example", name]);
    if example.package == PROGRAM {
        build.extend(["--features", &features]);
    }
    let mut command = Command::new(program::build_target(root, &build, ["example", name])?);
    command.args(arguments);
    program::take_over(root, command)
}

/// The examples of all crates, by name.
fn all(root: &Path) -> Result<Vec<Example>> {
    let crates = root.join("crates");
    let entries = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder).map_err(|e| Failure::io("read", folder, &e))?;
        Ok(entries.flatten().map(|entry| entry.path()).collect())
    };
    let mut examples = Vec::new();
    for member in entries(&crates)? {
        let folder = member.join("examples");
        if !folder.is_dir() {
            continue;
        }
        let package = package(&member.join("Cargo.toml"))?;
        for path in entries(&folder)? {
            let is_file = path.extension().is_some_and(|extension| extension == "rs");
            if let (true, Some(name)) = (
                is_file || path.join("main.rs").is_file(),
                path.file_stem().and_then(|name| name.to_str()),
            ) {
                let (name, package) = (name.to_owned(), package.clone());
                examples.push(Example { name, package });
            }
        }
    }
    examples.sort();
    Ok(examples)
}

/// The name of the package that the manifest describes.
fn package(manifest: &Path) -> Result<String> {
    let text = std::fs::read_to_string(manifest).map_err(|e| Failure::io("read", manifest, &e))?;
    let table: Option<toml::Table> = toml::from_str(&text).ok();
    let name = table
        .as_ref()
        .and_then(|table| table.get("package")?.get("name")?.as_str());
    let named = name.map(str::to_owned);
    named.ok_or_else(|| Failure::other(format!("{} names no package", manifest.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn examples_are_known_with_their_packages() {
        let examples = all(&root()).expect("the workspace can be read");
        let package = |name: &str| {
            let example = examples.iter().find(|example| example.name == name);
            example.map(|example| example.package.as_str())
        };
        assert_eq!(package("own_env"), Some("rescore"));
        assert_eq!(package("own_network"), Some("rescore-nn"));
        assert_eq!(package("toy"), Some("rescore-objectives"), "a folder");
        assert_eq!(package("own_car"), None);
    }

    #[test]
    fn an_unknown_example_is_answered_with_the_nearest() {
        let failure = run(&root(), "own_agnet", &[]).expect_err("no example");
        assert_eq!(failure.code, crate::failure::code::USAGE);
        assert_eq!(failure.hints[0], "did you mean `own_agent`?");
        assert!(failure.hints[1].contains("toy"));
    }
}
