//! `cargo xtask setup`: the MuJoCo library and the task models, in `.mujoco`.
//!
//! In this order: what is installed and whole; the folder given by `--from`; the folder named by
//! `MUJOCO_DYNAMIC_LINK_DIR`; the wheels, by pip; the release and single files, by curl. A folder
//! may hold the library, the models or both; what it lacks is fetched.

mod fetch;
mod manifest;
mod source;
mod store;



use std::path::{Path, PathBuf};

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
    let from = match from {
        Some(dir) => Some(dir.to_owned()),
        None => named_by_environment(&store),
    };
    obtain(&store, &manifest, from.as_deref(), check)
}

/// The folder of [`LINK_DIR`] if the user set it to something else than our own.
fn named_by_environment(store: &Store) -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os(LINK_DIR)?);
    let same = dir == store.lib()
        || matches!((dir.canonicalize(), store.lib().canonicalize()), (Ok(a), Ok(b)) if a == b);
    (!same).then_some(dir)
}

fn obtain(store: &Store, manifest: &Manifest, from: Option<&Path>, check: Check) -> Result<()> {
    let version = &manifest.mujoco.version;
    if store.missing(manifest, check).is_nothing() {
        // A folder that is given is still looked at: a wrong one must not pass unnoticed.
        return from.map_or(Ok(()), |dir| provided(dir, version).map(drop));
    }
    let _lock = store.lock()?;
    let missing = store.missing(manifest, check);
    if missing.is_nothing() {
        return Ok(()); // another setup was faster
    }
    let temporary = store.temporary()?;
    let wheels = temporary.path().join("unpacked");
    let mut missing = missing;
    if let Some(dir) = from {
        provided(dir, version)?;
        source::unpack_wheels(dir, &wheels, &manifest.models)?;
        for folder in [dir, &wheels] {
            take(store, manifest, folder, &mut missing)?;
        }
    }
    let failures = fetch_missing(store, manifest, temporary.path(), &mut missing)?;
    store.write_stamp(manifest)?;
    if missing.is_nothing() {
        return Ok(());
    }
    Err(by_hand(manifest, &missing, &failures))
}

/// Refuses a folder that somebody names and that does not exist or holds another version.
fn provided(dir: &Path, version: &str) -> Result<()> {
    if !dir.is_dir() {
        return Err(Failure::usage(format!("{} is not a folder", dir.display()))
            .hint("give the folder of an unpacked MuJoCo release, or one that holds wheels"));
    }
    match source::find_library(dir, version) {
        Some(library) if library.version != version => Err(Failure::usage(format!(
            "{} is MuJoCo {}, but this project needs {version}",
            library.path.display(),
            library.version,
        ))
        .hint(format!(
            "unpack release {version} and run: cargo xtask setup --from mujoco-{version}"
        ))),
        _ => Ok(()),
    }
}

/// Installs what `dir` holds of what is missing.
fn take(store: &Store, manifest: &Manifest, dir: &Path, missing: &mut Missing) -> Result<()> {
    if missing.library
        && let Some(library) = source::find_library(dir, &manifest.mujoco.version)
        && library.version == manifest.mujoco.version
    {
        if let Some(platform) = manifest.this_platform()
            && store::sha256_file(&library.path)? != platform.library_sha256
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

/// Tries pip, then curl, and returns why each failed.
fn fetch_missing(
    store: &Store,
    manifest: &Manifest,
    temporary: &Path,
    missing: &mut Missing,
) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let platform = manifest.this_platform();
    for route in ["pip", "curl"] {
        if missing.is_nothing() {
            break;
        }
        let dir = temporary.join(route);
        std::fs::create_dir_all(&dir).map_err(|e| Failure::io("create", &dir, &e))?;
        let mut attempts = Vec::new();
        if missing.library {
            attempts.push(match (route, platform) {
                ("pip", Some(platform)) => fetch::library_wheel(manifest, platform, &dir),
                ("pip", None) => Err("there is no wheel for this platform".to_owned()),
                _ => fetch::library_release(manifest, &dir),
            });
        }
        if !missing.models.is_empty() {
            attempts.push(match route {
                "pip" => fetch::models_wheel(manifest, &dir),
                _ => fetch::model_files(manifest, &missing.models, &dir),
            });
        }
        for failure in attempts.into_iter().filter_map(std::result::Result::err) {
            failures.push(format!("by {route}: {failure}"));
        }
        let unpacked = dir.join("unpacked");
        source::unpack_wheels(&dir, &unpacked, &manifest.models)?;
        for folder in [&dir, &unpacked] {
            take(store, manifest, folder, missing)?;
        }
    }
    failures.dedup();
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
            p.pip_platform
        )
    });
    let mut message = format!("cannot obtain {what}");
    for failure in failures {
        message.push_str("\n  ");
        message.push_str(failure);
    }
    Failure::other(message)
        .hint(format!(
            "on a machine with a network run: pip download --no-deps{pip_tags} -d wheels mujoco=={version} gymnasium=={}; \
             then here: cargo xtask setup --from wheels",
            models.version
        ))
        .hint(format!(
            "or unpack the MuJoCo {version} release and put the models ({}) into its folder assets: \
             cargo xtask setup --from mujoco-{version}",
            missing.models.join(", ")
        ))
        .hint(WITHOUT)
}
