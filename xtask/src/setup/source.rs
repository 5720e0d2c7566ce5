//! Looking for the library in a folder: an unpacked release, an unpacked wheel, or a folder that
//! holds wheels.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::store::{WINDOWS_DLL, library_names};
use crate::failure::{Failure, Result};

/// A library that was found, with the version it says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Where it lies.
    pub path: PathBuf,
    /// Its own version.
    pub version: String,
    /// File name to install it under.
    pub name: String,
    /// Name the linker looks for.
    pub link_name: &'static str,
}

/// Unpacks what the project needs of every wheel in `dir` into `into`, in the wheel's layout.
///
/// # Errors
/// If a wheel cannot be read or is damaged.
pub fn unpack_wheels(dir: &Path, into: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|e| e == "whl") {
            unpack(&path, into)?;
        }
    }
    Ok(())
}

/// Whether there is a wheel in `dir`.
pub fn holds_wheels(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.path().extension().is_some_and(|e| e == "whl"))
    })
}

/// Unpacks library and licences of a wheel.
///
/// # Errors
/// If it cannot be read or is damaged.
pub fn unpack(wheel: &Path, into: &Path) -> Result<()> {
    let damaged = |e: &dyn std::fmt::Display| {
        Failure::other(format!("{} is not a whole wheel: {e}", wheel.display()))
    };
    let file = File::open(wheel).map_err(|e| Failure::io("read", wheel, &e))?;
    let mut zip = zip::ZipArchive::new(file).map_err(|e| damaged(&e))?;
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).map_err(|e| damaged(&e))?;
        // A name that points outside the archive is never one of ours.
        let Some(name) = entry.enclosed_name() else {
            continue;
        };
        let text = name.to_string_lossy();
        let file = text.rsplit('/').next().unwrap_or_default();
        let to = if text.strip_prefix("mujoco/").is_some_and(is_library_name) {
            into.join(&name)
        } else if is_licence_name(file) && text.starts_with("mujoco-") {
            into.join(file)
        } else {
            continue;
        };
        if !entry.is_file() {
            continue;
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(|e| Failure::io("create", parent, &e))?;
        }
        let mut out = File::create(&to).map_err(|e| Failure::io("write", &to, &e))?;
        std::io::copy(&mut entry, &mut out).map_err(|e| damaged(&e))?;
    }
    Ok(())
}

/// Whether a file of a MuJoCo release or wheel says under which licences it and its parts are.
fn is_licence_name(file: &str) -> bool {
    file.starts_with("LICENSE") || file.starts_with("THIRD_PARTY")
}

/// The licences that lie beside the library, or in the folder above its own.
pub fn find_licences(library: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = library
        .ancestors()
        .skip(1)
        .take(2)
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| path.is_file())
        .filter(|path| {
            path.file_name()
                .and_then(|n| n.to_str())
                .is_some_and(is_licence_name)
        })
        .collect();
    found.sort();
    found
}

fn is_library_name(name: &str) -> bool {
    (name.starts_with("libmujoco.") && (name.contains(".so") || is_dylib(name)))
        || name == "mujoco.lib"
        || name == WINDOWS_DLL
}

fn is_dylib(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == "dylib")
}

/// The library in `dir`, in `dir/lib` or in `dir/mujoco`; one of the wanted version if there are
/// several.
pub fn find_library(dir: &Path, wanted: &str) -> Option<Library> {
    let mut found: Vec<Library> = ["", "lib", "mujoco"]
        .iter()
        .filter_map(|sub| fs::read_dir(dir.join(sub)).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter_map(|path| describe(&path))
        .collect();
    found.sort_by_key(|library| (library.version != wanted, library.path.clone()));
    found.into_iter().next()
}

fn describe(path: &Path) -> Option<Library> {
    let file = path.file_name()?.to_str()?;
    if !is_library_name(file) || file == WINDOWS_DLL || !path.is_file() {
        return None;
    }
    let version = version_of(path)?;
    let (name, link_name) = library_names()
        .into_iter()
        .find(|(_, link)| match *link {
            "libmujoco.so" => file.contains(".so"),
            "libmujoco.dylib" => is_dylib(file),
            _ => file == "mujoco.lib",
        })
        .map(|(name, link)| (name(&version), link))?;
    Some(Library {
        path: path.to_owned(),
        version,
        name,
        link_name,
    })
}

/// The version a library gives itself. ELF and Mach-O libraries carry their versioned name
/// (SONAME, install name), which is also what the loader will ask for; an import library for
/// Windows carries none, and the version number of its folder (`mujoco-3.17.0`) is believed.
fn version_of(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let in_file = after(&bytes, b"libmujoco.so.").or_else(|| after(&bytes, b"libmujoco."));
    in_file.or_else(|| {
        let folder = path.ancestors().find_map(|p| {
            p.file_name()?
                .to_str()?
                .strip_prefix("mujoco-")
                .map(str::to_owned)
        })?;
        leading_version(folder.as_bytes())
    })
}

/// The first `a.b.c` that directly follows `marker`.
fn after(bytes: &[u8], marker: &[u8]) -> Option<String> {
    bytes
        .windows(marker.len())
        .enumerate()
        .filter(|(_, window)| *window == marker)
        .find_map(|(at, _)| leading_version(&bytes[at + marker.len()..]))
}

fn leading_version(bytes: &[u8]) -> Option<String> {
    let text: String = bytes
        .iter()
        .take_while(|b| b.is_ascii_digit() || **b == b'.')
        .map(|b| char::from(*b))
        .collect();
    let text = text.trim_end_matches('.');
    let parts: Vec<&str> = text.split('.').collect();
    (parts.len() == 3 && parts.iter().all(|p| !p.is_empty())).then(|| text.to_owned())
}

/// What programs load on Windows, for a library that is an import library: beside it, or in the
/// release's folder `bin`.
pub fn find_dll(library: &Path) -> Option<PathBuf> {
    let folder = library.parent()?;
    let dlls = [
        folder.join(WINDOWS_DLL),
        folder.join("../bin").join(WINDOWS_DLL),
    ];
    let is_import_library = library.extension().is_some_and(|e| e == "lib");
    dlls.into_iter()
        .find(|path| is_import_library && path.is_file())
}
