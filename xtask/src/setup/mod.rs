//! `cargo xtask setup`: the MuJoCo library and the task models, in `.mujoco`.
//!
//! In this order: what is installed and whole; the folder given by `--from`; the folder named by
//! `MUJOCO_DYNAMIC_LINK_DIR`; the wheels, by pip; the release and single files, by curl. A folder
//! may hold the library, the models or both; what it lacks is fetched.

mod fetch;
mod files;
mod manifest;
mod source;
mod store;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use fetch::{Curl, Pip, Route};

pub use fetch::pip;
pub use manifest::Manifest;
pub use store::{Check, Missing, Store};

use crate::failure::{Failure, Result};

/// mujoco-rs' own variable: the folder that holds the library. Cargo's configuration sets it to
/// `.mujoco/lib`, unless the user has.
pub const LINK_DIR: &str = "MUJOCO_DYNAMIC_LINK_DIR";

/// What stays possible without MuJoCo; said wherever it is missing.
pub const WITHOUT: &str = "the built-in tasks need no MuJoCo: cargo xtask train --env Pendulum-v1";

/// Makes sure that library and models are there. Fast when they are.
///
/// # Errors
/// If something is missing and cannot be obtained, or `from` holds another version.
pub fn ensure(root: &Path, from: Option<&Path>, check: Check) -> Result<()> {
    let manifest = Manifest::read(root)?;
    let store = Store::new(root);
    let named = match from {
        Some(dir) => Some(Named {
            by: "--from",
            dir: dir.to_owned(),
        }),
        None => named_by_environment(&store),
    };
    obtain(&store, &manifest, named.as_ref(), check, &[&Pip, &Curl])
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
    eprintln!(
        "MuJoCo {} in {}, {} task models in {}",
        manifest.mujoco.version,
        store.lib().display(),
        manifest.models.sha256.len(),
        store.assets().display(),
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
    check: Check,
    routes: &[&dyn Route],
) -> Result<()> {
    // A folder that is named is preferred to what is installed, so a wrong one cannot pass unseen.
    let other = match named {
        Some(named) => holds_other_library(store, manifest, named)?,
        None => false,
    };
    if !other && store.missing(manifest, check).is_nothing() {
        return Ok(());
    }
    let _lock = store.lock()?;
    // Another setup may have been faster, or only the stamp was lost: look at the files themselves.
    let mut missing = store.missing(manifest, Check::Hash);
    store.keep_pinned(manifest, &mut missing);
    missing.library |= other;
    if missing.is_nothing() {
        return store.write_stamp(manifest, &missing);
    }
    let temporary = store.temporary()?;
    if let Some(named) = named {
        let wheels = temporary.path().join("named");
        source::unpack_wheels(&named.dir, &wheels, &manifest.models)?;
        for folder in [&named.dir, &wheels] {
            take(store, manifest, folder, &mut missing)?;
        }
    }
    let failures = fetch(store, manifest, temporary.path(), &mut missing, routes)?;
    store.write_stamp(manifest, &missing)?;
    if missing.is_nothing() {
        return Ok(());
    }
    Err(by_hand(manifest, &missing, &failures))
}

/// Whether a named folder holds a library that is not the installed one.
///
/// # Errors
/// If the folder does not exist, holds nothing of use, or a library of another version.
fn holds_other_library(store: &Store, manifest: &Manifest, named: &Named) -> Result<bool> {
    let Named { by, dir } = named;
    let version = &manifest.mujoco.version;
    let useless = |problem: &str| {
        Failure::usage(format!("{by}: {} {problem}", dir.display()))
            .hint("give the folder of an unpacked MuJoCo release, or one that holds wheels")
    };
    if !dir.is_dir() {
        return Err(useless("is not a folder"));
    }
    let Some(library) = source::find_library(dir, version) else {
        let all: Vec<String> = manifest.models.sha256.keys().cloned().collect();
        let of_use =
            source::holds_wheels(dir) || !source::find_models(dir, manifest, &all).is_empty();
        return if of_use {
            Ok(false)
        } else {
            Err(useless(
                "holds no MuJoCo library, no task models and no wheels",
            ))
        };
    };
    if library.version != *version {
        return Err(Failure::usage(format!(
            "{by}: {} is MuJoCo {}, but this project needs {version}",
            library.path.display(),
            library.version,
        ))
        .hint(format!(
            "unpack release {version} and run: cargo xtask setup --from mujoco-{version}"
        )));
    }
    let installed = files::sha256_file(&store.lib().join(&library.name)).ok();
    Ok(installed != Some(files::sha256_file(&library.path)?))
}

/// Installs what `dir` holds of what is missing.
fn take(store: &Store, manifest: &Manifest, dir: &Path, missing: &mut Missing) -> Result<()> {
    if missing.library
        && let Some(library) = source::find_library(dir, &manifest.mujoco.version)
        && library.version == manifest.mujoco.version
    {
        if let Some(platform) = manifest.this_platform()
            && files::sha256_file(&library.path)? != platform.library_sha256
        {
            eprintln!(
                "warning: {} is MuJoCo {}, but not the build in mujoco.toml; \
                 trajectories may differ in the last bits",
                library.path.display(),
                library.version
            );
        }
        store.install_library(&library.path, &library.name, library.link_name)?;
        missing.library = false;
    }
    for (name, path) in source::find_models(dir, manifest, &missing.models) {
        store.install_model(&path, &name)?;
        missing.models.retain(|other| *other != name);
    }
    Ok(())
}

/// Tries the routes in turn and returns why each failed.
fn fetch(
    store: &Store,
    manifest: &Manifest,
    temporary: &Path,
    missing: &mut Missing,
    routes: &[&dyn Route],
) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for route in routes {
        if missing.is_nothing() {
            break;
        }
        let dir = temporary.join(route.name());
        std::fs::create_dir_all(&dir).map_err(|e| Failure::io("create", &dir, &e))?;
        let mut attempt = Ok(());
        if missing.library {
            attempt = route.library(manifest, &dir);
        }
        // Where the first file could not be fetched, the second is not waited for.
        if attempt.is_ok() && !missing.models.is_empty() {
            attempt = route.models(manifest, &missing.models, &dir);
        }
        if let Err(failure) = attempt {
            failures.push(format!("by {}: {failure}", route.name()));
        }
        let unpacked = dir.join("unpacked");
        source::unpack_wheels(&dir, &unpacked, &manifest.models)?;
        for folder in [&dir, &unpacked] {
            take(store, manifest, folder, missing)?;
        }
    }
    Ok(failures)
}

/// The one message for a machine that cannot obtain MuJoCo.
fn by_hand(manifest: &Manifest, missing: &Missing, failures: &[String]) -> Failure {
    let version = &manifest.mujoco.version;
    let models = &manifest.models;
    let what = match (missing.library, missing.models.is_empty()) {
        (true, true) => format!("the MuJoCo {version} library"),
        (false, _) => "the task models".to_owned(),
        (true, false) => format!("the MuJoCo {version} library and the task models"),
    };
    let pip_tags = manifest.this_platform().map_or_else(String::new, |p| {
        format!(
            " --only-binary=:all: --platform {} --python-version 3.12 --abi cp312",
            p.pip_tag
        )
    });
    let mut message = format!("cannot obtain {what}");
    for failure in failures {
        message.push_str("\n  ");
        message.push_str(failure);
    }
    let release = if missing.models.is_empty() {
        format!("or unpack the MuJoCo {version} release: cargo xtask setup --from mujoco-{version}")
    } else {
        format!(
            "or unpack the MuJoCo {version} release and put the models ({}) into its folder \
             assets: cargo xtask setup --from mujoco-{version}",
            missing.models.join(", ")
        )
    };
    Failure::other(message)
        .hint(format!(
            "on a machine with a network run: pip download --no-deps{pip_tags} -d wheels \
             mujoco=={version} gymnasium=={}; then here: cargo xtask setup --from wheels",
            models.version
        ))
        .hint(release)
        .hint(WITHOUT)
}
