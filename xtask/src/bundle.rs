//! `cargo xtask bundle`: the program with all that it needs in one folder, for a machine without
//! Rust and without network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Result};
use crate::licences;
use crate::setup::{Store, WINDOWS_DLL, size_of_folder};

/// Puts `program`, which was built with `mujoco` and `backends`, and all that it needs into
/// the new folder `out`, with the licences of what is in it, and prints how large that is.
///
/// # Errors
/// If `out` exists, cargo does not run or something cannot be copied.
pub fn write(
    root: &Path,
    program: &Path,
    mujoco: bool,
    backends: &[&str],
    out: &Path,
) -> Result<()> {
    write_program(root, program, mujoco, out)?;
    licences::write(root, mujoco, backends, &out.join("licenses"))?;
    let bytes = size_of_folder(out).map_err(|e| Failure::io("read", out, &e))?;
    let megabytes = bytes as f64 / (1024.0 * 1024.0);
    println!("{}: {megabytes:.1} MiB", out.display());
    Ok(())
}

/// The program without its debugging symbols, and the MuJoCo library if there is one.
fn write_program(root: &Path, program: &Path, mujoco: bool, out: &Path) -> Result<()> {
    if out.exists() {
        return Err(Failure::usage(format!("{} exists", out.display()))
            .hint("--out names a folder that is not there yet"));
    }
    let name = program
        .file_name()
        .map_or_else(|| "rescore".into(), PathBuf::from);
    create(out)?;
    let target = out.join(name);
    copy(program, &target)?;
    // A program with symbols works as well; it is only larger.
    let stripped = Command::new("strip").arg(&target).status();
    if !stripped.is_ok_and(|status| status.success()) {
        eprintln!("warning: `strip` does not run: the program keeps its debugging symbols");
    }
    if mujoco {
        let lib = Store::new(root).lib();
        // Where the program looks first.
        copy_folder(&lib, &out.join("mujoco/lib"))?;
        // On Windows that is its own folder.
        let dll = lib.join(WINDOWS_DLL);
        if dll.is_file() {
            copy(&dll, &out.join(WINDOWS_DLL))?;
        }
    }
    Ok(())
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Failure::io("create", folder, &e))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(|_| ())
        .map_err(|e| Failure::io("copy", from, &e))
}

/// Copies files and folders; a link becomes what it points at, once.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    create(to)?;
    for entry in fs::read_dir(from).map_err(|e| Failure::io("read", from, &e))? {
        let path = entry.map_err(|e| Failure::io("read", from, &e))?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else if !path.is_symlink() {
            // Links are for the linker: the program asks for the library by its full name.
            copy(&path, &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_holds_everything_and_replaces_nothing() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path();
        let lib = Store::new(root).lib();
        fs::create_dir_all(&lib).expect("writable");
        fs::write(lib.join("libmujoco.so.1"), "library").expect("writable");
        let program = root.join("rescore");
        fs::write(&program, "program").expect("writable");
        let out = root.join("bundle");
        write_program(root, &program, true, &out).expect("written");
        assert_eq!(fs::read(out.join("rescore")).expect("there"), b"program");
        assert!(out.join("mujoco/lib/libmujoco.so.1").is_file());
        let failure = write_program(root, &program, true, &out).expect_err("it is there");
        assert_eq!(failure.code, 2);
        let without = root.join("without");
        write_program(root, &program, false, &without).expect("written");
        assert!(!without.join("mujoco").exists());
    }
}
