//! `cargo xtask setup`: the MuJoCo library, in `.mujoco`.
//!
//! In this order: what is installed and whole; the folder given by `--from`; the folder named by
//! `MUJOCO_DYNAMIC_LINK_DIR`; a wheel, by pip; an archive, by curl. What is fetched has the hash
//! that `mujoco.toml` pins, or it is not installed; only a folder that the user names may hold
//! another build of the version, which is said wherever it matters.

mod fetch;
mod files;
mod manifest;
mod source;
mod store;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use fetch::{Curl, Pip, Route};
use source::Library;

pub use fetch::pip;
pub use files::size_of_folder;
pub use manifest::Manifest;
pub use store::{Check, Installed, Store, WINDOWS_DLL};

use crate::failure::{Failure, Result};

/// mujoco-rs' own variable: the folder that holds the library. Cargo's configuration sets it to
/// `.mujoco/lib`, unless the user has.
pub const LINK_DIR: &str = "MUJOCO_DYNAMIC_LINK_DIR";

/// What stays possible without MuJoCo; said wherever it is missing.
pub const WITHOUT: &str = "the built-in tasks need no MuJoCo: cargo xtask train --env Pendulum-v1";

/// The option that names a folder.
const FROM: &str = "--from";

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// All ways.
    Full,
    /// No network where it has failed lately.
    Brief,
}

/// Makes sure that the library is there. Fast when it is.
///
/// # Errors
/// If it cannot be obtained, or `from` holds another version.
pub fn ensure(root: &Path, from: Option<&Path>, check: Check, effort: Effort) -> Result<()> {
    let manifest = Manifest::read(root)?;
    let store = Store::new(root);
    let named = match from {
        Some(dir) => Some(Named {
            by: FROM,
            dir: dir.to_owned(),
        }),
        None => named_by_environment(&store),
    };
    let routes: [&dyn Route; 2] = [&Pip, &Curl];
    obtain(&store, &manifest, named.as_ref(), (check, effort), &routes)
}

/// A folder that the user names.
struct Named {
    /// The option or variable.
    by: &'static str,
    dir: PathBuf,
}

/// Says what is installed and where.
///
/// # Errors
/// If `mujoco.toml` cannot be read.
pub fn report(root: &Path) -> Result<()> {
    let manifest = Manifest::read(root)?;
    let store = Store::new(root);
    let build = match store.installed(&manifest, Check::Stamp) {
        Installed::Named(by) => format!(", not the pinned build: {by}"),
        Installed::Pinned | Installed::Missing => String::new(),
    };
    eprintln!(
        "MuJoCo {} in {}{build}",
        manifest.mujoco.version,
        store.lib().display(),
    );
    Ok(())
}

/// Version of the library in the store, whole or not; `wanted` if there are several.
pub fn installed_version(store: &Store, wanted: &str) -> Option<String> {
    source::find_library(&store.lib(), wanted).map(|library| library.version)
}

/// The folder of [`LINK_DIR`] if the user set it to something else than our own.
fn named_by_environment(store: &Store) -> Option<Named> {
    let dir = PathBuf::from(std::env::var_os(LINK_DIR)?);
    let same = dir == store.lib()
        || matches!((dir.canonicalize(), store.lib().canonicalize()), (Ok(a), Ok(b)) if a == b);
    (!same).then_some(Named { by: LINK_DIR, dir })
}

fn obtain(
    store: &Store,
    manifest: &Manifest,
    named: Option<&Named>,
    (check, effort): (Check, Effort),
    routes: &[&dyn Route],
) -> Result<()> {
    // A folder that is named is preferred to what is installed, so a wrong one cannot pass unseen.
    let other = match named {
        Some(named) => holds_other_library(store, manifest, named)?,
        None => false,
    };
    if !other && store.installed(manifest, check) != Installed::Missing {
        return Ok(());
    }
    if named.is_none() && !store.holds_pinned(manifest) {
        give_up_at_once(store, manifest, effort)?;
    }
    let _lock = store.lock()?;
    // Another setup may have been faster, or only the stamp was lost: look at the files themselves.
    if !other {
        let by = match store.installed(manifest, Check::Hash) {
            Installed::Named(by) => Some(by),
            Installed::Pinned | Installed::Missing => None,
        };
        if by.is_some() || store.holds_pinned(manifest) {
            return store.write_stamp(manifest, by);
        }
    }
    let temporary = store.temporary()?;
    if let Some(named) = named {
        let library = in_folder(manifest, named, temporary.path())?;
        let by = named_build(manifest, named, &library)?;
        return install(store, manifest, &library, by);
    }
    give_up_at_once(store, manifest, effort)?;
    let mut failures = Vec::new();
    for route in routes {
        let dir = temporary.path().join(route.name());
        std::fs::create_dir_all(&dir).map_err(|e| Failure::io("create", &dir, &e))?;
        match fetch::receive(manifest, *route, &dir) {
            Ok(library) => return install(store, manifest, &library, None),
            Err(failure) => failures.push(format!("by {}: {failure}", route.name())),
        }
    }
    store.remember_failure(manifest, &failures.join("; "));
    Err(by_hand(manifest, &failures))
}

/// Refuses, where no great effort is to be made, to try again what has just failed.
fn give_up_at_once(store: &Store, manifest: &Manifest, effort: Effort) -> Result<()> {
    match store.recent_failure(manifest) {
        Some((minutes, reason)) if effort == Effort::Brief => Err(Failure::other(format!(
            "there is no MuJoCo, and fetching it failed {minutes} minutes ago ({reason})"
        ))
        .hint("cargo xtask setup tries again at once")),
        _ => Ok(()),
    }
}

fn install(
    store: &Store,
    manifest: &Manifest,
    library: &Library,
    named: Option<String>,
) -> Result<()> {
    store.install(library)?;
    store.write_stamp(manifest, named)?;
    store.forget_failure();
    Ok(())
}

/// Whether a named folder holds a library that is not the installed one.
///
/// # Errors
/// If the folder does not exist, holds nothing of use, or a library of another version.
fn holds_other_library(store: &Store, manifest: &Manifest, named: &Named) -> Result<bool> {
    let Named { by, dir } = named;
    let version = &manifest.mujoco.version;
    if !dir.is_dir() {
        return Err(useless(named, "is not a folder"));
    }
    let Some(library) = source::find_library(dir, version) else {
        return if source::holds_wheels(dir) {
            // A variable stays set: its wheels are not opened for every command.
            Ok(*by == FROM)
        } else {
            Err(useless(named, "holds no MuJoCo library and no wheel"))
        };
    };
    if library.version != *version {
        return Err(other_version(manifest, named, &library));
    }
    let installed = files::sha256_file(&store.lib().join(&library.name)).ok();
    Ok(installed != Some(files::sha256_file(&library.path)?))
}

fn useless(named: &Named, problem: &str) -> Failure {
    Failure::usage(format!("{}: {} {problem}", named.by, named.dir.display()))
        .hint("give the folder of an unpacked MuJoCo release, or one that holds its wheel")
}

fn other_version(manifest: &Manifest, named: &Named, library: &Library) -> Failure {
    let version = &manifest.mujoco.version;
    Failure::usage(format!(
        "{}: {} is MuJoCo {}, but this project needs {version}",
        named.by,
        library.path.display(),
        library.version,
    ))
    .hint(format!(
        "unpack release {version} and run: cargo xtask setup --from mujoco-{version}"
    ))
}

/// The library of a named folder, or of a wheel in it, which is unpacked into `temporary`.
///
/// # Errors
/// If a wheel is damaged, there is no library or it has another version.
fn in_folder(manifest: &Manifest, named: &Named, temporary: &Path) -> Result<Library> {
    let version = &manifest.mujoco.version;
    let mut found = source::find_library(&named.dir, version);
    if found.is_none() {
        let wheels = temporary.join("named");
        source::unpack_wheels(&named.dir, &wheels)?;
        found = source::find_library(&wheels, version);
    }
    let library =
        found.ok_or_else(|| useless(named, "holds no MuJoCo library and no wheel of it"))?;
    if library.version == *version {
        Ok(library)
    } else {
        Err(other_version(manifest, named, &library))
    }
}

/// Who named the library and from where, if it is not a pinned build; says so.
fn named_build(manifest: &Manifest, named: &Named, library: &Library) -> Result<Option<String>> {
    if manifest.pins(&files::sha256_file(&library.path)?) {
        return Ok(None);
    }
    eprintln!(
        "warning: {} is MuJoCo {}, but not the build that mujoco.toml pins; trajectories may \
         differ in the last bits",
        library.path.display(),
        library.version
    );
    let dir = std::path::absolute(&named.dir);
    let dir = dir.as_deref().unwrap_or(&named.dir);
    Ok(Some(format!("{} {}", named.by, dir.display())))
}

/// The one message for a machine that cannot obtain MuJoCo.
fn by_hand(manifest: &Manifest, failures: &[String]) -> Failure {
    let version = &manifest.mujoco.version;
    let mut failure = Failure::other(format!(
        "cannot obtain the MuJoCo {version} library\n  {}",
        failures.join("\n  ")
    ));
    let platform = manifest.this_platform();
    if let Some(wheel) = platform.and_then(|platform| platform.wheel.as_ref()) {
        failure = failure.hint(format!(
            "on a machine with a network run: pip download --no-deps --only-binary=:all: \
             --platform {} --python-version 3.12 --abi cp312 -d wheels mujoco=={version}; then \
             here: cargo xtask setup --from wheels",
            wheel.pip_tag
        ));
    }
    let note = platform.and_then(|platform| platform.note.clone());
    failure
        .hint(note.unwrap_or_else(|| {
            format!(
                "or unpack the MuJoCo {version} release: cargo xtask setup --from mujoco-{version}"
            )
        }))
        .hint(WITHOUT)
}
