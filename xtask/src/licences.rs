//! The licences of what a bundle redistributes: ours, Gymnasium's for the task models, MuJoCo's, and
//! those of the crates that are linked into the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::failure::{Failure, Result};
use crate::program;
use crate::setup::Store;

/// Beginnings of the names of files that hold a licence or what it asks to be kept.
const FILES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

/// What `cargo metadata` says, as far as it is of interest.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    manifest_path: String,
    /// Nothing for packages of this workspace.
    source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Link>,
}

#[derive(Debug, Deserialize)]
struct Link {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    /// `None` for what is linked, else `dev` or `build`.
    kind: Option<String>,
}

/// Writes the licences into the new folder `out`; `mujoco` and `backends` are those of the build.
///
/// # Errors
/// If cargo does not say what is linked, or a file cannot be copied.
pub fn write(root: &Path, mujoco: bool, backends: &[&str], out: &Path) -> Result<()> {
    fs::create_dir_all(out).map_err(|e| Failure::io("create", out, &e))?;
    for name in ["LICENSE", "LICENSE-APACHE", "LICENSE-MIT"] {
        copy(&root.join(name), &out.join(name))?;
    }
    if mujoco {
        let models = root.join("crates/envs/models/LICENSE");
        copy(&models, &out.join("task-models-LICENSE"))?;
        write_mujoco(root, out)?;
    }
    let metadata = metadata(root, mujoco, backends)?;
    let path = out.join("third-party-crates.txt");
    fs::write(&path, crates(&metadata)).map_err(|e| Failure::io("write", &path, &e))
}

/// MuJoCo's licence and those of its parts, as far as they came with the library.
fn write_mujoco(root: &Path, out: &Path) -> Result<()> {
    // It names no holder, so that one text of the licence is as good as another.
    copy(&root.join("LICENSE-APACHE"), &out.join("MuJoCo-LICENSE"))?;
    let store = Store::new(root).licences();
    let entries = fs::read_dir(&store).map(|entries| entries.flatten().collect());
    let entries: Vec<_> = entries.unwrap_or_default();
    for entry in &entries {
        let name = format!("MuJoCo-{}", entry.file_name().to_string_lossy());
        copy(&entry.path(), &out.join(name))?;
    }
    if entries.len() < 2 {
        eprintln!(
            "warning: the licences of MuJoCo's parts did not come with the library; they are in \
             its wheel and in its release (remove the folder .mujoco, then: cargo xtask setup)"
        );
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(|_| ())
        .map_err(|e| Failure::io("copy", from, &e))
}

fn metadata(root: &Path, mujoco: bool, backends: &[&str]) -> Result<Metadata> {
    let output = program::cargo(root)
        .args(["metadata", "--format-version", "1", "--filter-platform"])
        .arg(host()?)
        .args(["--features", &program::features(mujoco, backends)])
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|e| Failure::other(format!("cannot run cargo: {e}")))?;
    if !output.status.success() {
        return Err(Failure::other(
            "cargo does not say which crates are linked (see above)",
        ));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|e| Failure::other(format!("cannot read what cargo metadata says: {e}")))
}

/// The target that cargo builds for when it is told nothing.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = std::process::Command::new(rustc).arg("-vV").output();
    let output = output.map_err(|e| Failure::other(format!("cannot run rustc: {e}")))?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| Failure::other("rustc does not say for which target it compiles"))
}

/// The packages that are linked into the program, ours left out.
fn linked(metadata: &Metadata) -> Vec<&Package> {
    let nodes: BTreeMap<&str, &Node> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| (node.id.as_str(), node))
        .collect();
    let program = metadata.packages.iter().find(|p| p.name == "rescore");
    let mut open: Vec<&str> = program.map(|p| p.id.as_str()).into_iter().collect();
    let mut reached = BTreeSet::new();
    while let Some(id) = open.pop() {
        if let (true, Some(node)) = (reached.insert(id), nodes.get(id)) {
            let links = node.deps.iter();
            let normal = links.filter(|link| link.dep_kinds.iter().any(|k| k.kind.is_none()));
            open.extend(normal.map(|link| link.pkg.as_str()));
        }
    }
    let mut packages: Vec<&Package> = metadata
        .packages
        .iter()
        .filter(|p| reached.contains(p.id.as_str()) && p.source.is_some())
        .collect();
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    packages
}

/// A list of the linked crates, and then every text of a licence once with the crates it is from.
fn crates(metadata: &Metadata) -> String {
    let mut list = "Crates that are linked into the program:\n\n".to_owned();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in linked(metadata) {
        let name = format!("{} {}", package.name, package.version);
        let licence = package
            .license
            .as_deref()
            .unwrap_or("see its licence below");
        let place = package.repository.as_deref().unwrap_or("crates.io");
        // Writing to a String cannot fail.
        let _ = writeln!(list, "{name}: {licence} ({place})");
        for text in texts_of(Path::new(&package.manifest_path)) {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    for (text, names) in texts {
        let _ = write!(
            list,
            "\n{}\n{}\n\n{}\n",
            "-".repeat(80),
            names.join(", "),
            text.trim_end()
        );
    }
    list
}

/// The texts beside a manifest that licences ask to be kept.
fn texts_of(manifest: &Path) -> Vec<String> {
    let entries = manifest.parent().and_then(|dir| fs::read_dir(dir).ok());
    let mut paths: Vec<_> = entries
        .into_iter()
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = name.to_uppercase();
            FILES.iter().any(|beginning| name.starts_with(beginning))
        })
        .collect();
    paths.sort();
    paths
        .iter()
        .filter_map(|path| Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace with the licences that every bundle has.
    fn workspace() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let models = dir.path().join("crates/envs/models");
        let parts = Store::new(dir.path()).licences();
        for folder in [&models, &parts] {
            fs::create_dir_all(folder).expect("writable");
        }
        for path in [
            dir.path().join("LICENSE-APACHE"),
            models.join("LICENSE"),
            parts.join("LICENSE"),
            parts.join("THIRD_PARTY_NOTICES"),
        ] {
            fs::write(&path, path.to_str().expect("text")).expect("writable");
        }
        dir
    }

    #[test]
    fn mujocos_licences_come_along_with_those_of_its_parts() {
        let dir = workspace();
        let out = dir.path().join("out");
        fs::create_dir(&out).expect("writable");
        write_mujoco(dir.path(), &out).expect("written");
        let read = |name: &str| fs::read_to_string(out.join(name)).expect("it is there");
        assert!(read("MuJoCo-THIRD_PARTY_NOTICES").contains("licenses"));
        // That of the library itself is the one that came with it.
        assert!(read("MuJoCo-LICENSE").contains("licenses"));
        fs::remove_dir_all(Store::new(dir.path()).licences()).expect("removable");
        write_mujoco(dir.path(), &out).expect("written");
        assert!(read("MuJoCo-LICENSE").contains("LICENSE-APACHE"));
    }

    #[test]
    fn crates_that_are_linked_are_listed_with_their_texts_and_others_are_not() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let package = |name: &str, source: Option<&str>| {
            let folder = dir.path().join(name);
            fs::create_dir_all(&folder).expect("writable");
            fs::write(folder.join("License-MIT.txt"), "Do as you like.\n").expect("writable");
            fs::write(folder.join("notes"), "Nothing.").expect("writable");
            serde_json::json!({
                "id": name, "name": name, "version": "1.2.3", "license": "MIT",
                "manifest_path": folder.join("Cargo.toml"), "source": source,
            })
        };
        let node = |id: &str, links: &[(&str, Option<&str>)]| {
            let deps: Vec<_> = links
                .iter()
                .map(|(to, kind)| serde_json::json!({"pkg": to, "dep_kinds": [{"kind": kind}]}))
                .collect();
            serde_json::json!({"id": id, "deps": deps})
        };
        let index = Some("registry");
        let metadata = serde_json::json!({
            "packages": [
                package("rescore", None), package("deep", index),
                package("direct", index), package("tester", index), package("builder", index),
            ],
            "resolve": {"nodes": [
                node("rescore", &[("direct", None), ("tester", Some("dev"))]),
                node("direct", &[("deep", None), ("builder", Some("build"))]),
                node("deep", &[]), node("tester", &[]), node("builder", &[]),
            ]},
        });
        let metadata = serde_json::from_value(metadata).expect("cargo's format");
        let text = crates(&metadata);
        assert!(text.contains("direct 1.2.3: MIT (crates.io)"), "{text}");
        assert!(
            text.contains("\ndeep 1.2.3, direct 1.2.3\n\nDo as you like.\n"),
            "{text}"
        );
        for absent in ["tester", "builder", "rescore", "Nothing"] {
            assert!(!text.contains(absent), "{absent} is in {text}");
        }
    }
}
