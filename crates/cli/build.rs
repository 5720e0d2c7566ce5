//! Lets this package's programs find the MuJoCo shared library at run time, and records the commit
//! that the program is built from.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DEP_RESCORE_MUJOCO_LIB_DIR");
    find_mujoco();
    record_commit();
}

/// Looks first in `mujoco/lib` beside the program, so that a moved folder keeps working, then where
/// it was linked from.
fn find_mujoco() {
    if env::var_os("CARGO_FEATURE_MUJOCO").is_none() {
        return;
    }
    let beside = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => "@loader_path/mujoco/lib",
        // Programs carry no search path there: the library lies beside them or on PATH.
        Ok("windows") => return,
        _ => "$ORIGIN/mujoco/lib",
    };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{beside}");
    // Published by the build script of rescore-envs; absent when MuJoCo is linked statically.
    if let Ok(lib_dir) = env::var("DEP_RESCORE_MUJOCO_LIB_DIR") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib_dir}");
    }
}

/// Sets `RESCORE_COMMIT` to the commit, with `+` if the sources differ from it. Leaves it unset
/// outside of a git repository, and in one that merely contains the sources.
///
/// The script runs again when a source of the program changes, which means a new program anyway.
/// If they differ from the commit it runs again after the next commit, too.
fn record_commit() {
    let Some(root) = env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .and_then(|folder| folder.join("../..").canonicalize().ok())
    else {
        return;
    };
    let sources = sources(&root);
    for source in &sources {
        watch(&root.join(source));
    }
    let top = git(&root, &["rev-parse", "--show-toplevel"]);
    if top.and_then(|top| Path::new(&top).canonicalize().ok()) != Some(root.clone()) {
        return;
    }
    let Some(commit) = git(&root, &["rev-parse", "HEAD"]) else {
        return;
    };
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(sources.iter().map(String::as_str));
    if git(&root, &status).as_deref() == Some("") {
        println!("cargo::rustc-env=RESCORE_COMMIT={commit}");
        return;
    }
    println!("cargo::rustc-env=RESCORE_COMMIT={commit}+");
    let branch = git(&root, &["rev-parse", "--symbolic-full-name", "HEAD"]);
    let branch = branch.as_deref().unwrap_or("HEAD");
    for name in ["HEAD", branch, "packed-refs"] {
        let Some(path) = git(&root, &["rev-parse", "--git-path", name]) else {
            continue;
        };
        let path = root.join(path);
        // A branch without a file of its own gets one with its next commit.
        let folder = path.parent().filter(|_| name == branch && !path.exists());
        watch(folder.unwrap_or(&path));
    }
}

/// Parts of a crate that no program is made of.
const NOT_BUILT_IN: [&str; 3] = ["tests", "examples", "benches"];

/// Names of what is in `folder`.
fn entries(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Everything that the program is made of, relative to the workspace.
fn sources(root: &Path) -> Vec<String> {
    let top = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];
    let mut sources: Vec<String> = top.map(str::to_owned).into();
    for folder in entries(&root.join("crates")) {
        let parts = entries(&root.join("crates").join(&folder)).into_iter();
        let built_in = parts.filter(|part| !NOT_BUILT_IN.contains(&part.as_str()));
        sources.extend(built_in.map(|part| format!("crates/{folder}/{part}")));
    }
    sources.retain(|source| root.join(source).exists());
    sources.sort();
    sources
}

/// Runs this script again when `path` changes. One that is not there would always count as changed.
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// What git says in the folder `root`; nothing without git or if it refuses.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        // Within a hook these lead to another repository.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .arg("--no-optional-locks")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
