//! A crate outside of the workspace uses the environments as the README of `crates/envs` says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The code block of `text` that contains `needle`, without its indentation.
fn block(text: &str, needle: &str) -> String {
    let blocks = text.split("```").skip(1).step_by(2);
    let found = blocks.filter(|block| block.contains(needle));
    let [block] = found.collect::<Vec<_>>()[..] else {
        panic!("not one block of the README has `{needle}`")
    };
    let mut lines = block.lines();
    lines.next().expect("the line with the language");
    let lines: Vec<_> = lines.collect();
    let indent = lines[0].len() - lines[0].trim_start().len();
    let lines = lines
        .iter()
        .map(|line| line.get(indent..).unwrap_or_default());
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// `text` with `from`, which it contains, replaced.
fn replaced(text: &str, from: &str, to: &Path) -> String {
    assert!(text.contains(from), "{text}");
    text.replace(from, &to.display().to_string())
}

/// The folder of compiled code that this test lies in, so that little has to be compiled.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its program");
    let target = test.ancestors().nth(3).expect("TARGET/PROFILE/deps/TEST");
    target.to_owned()
}

#[test]
fn a_crate_outside_of_the_workspace_builds_and_runs_a_mujoco_task() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let workspace = workspace.canonicalize().expect("the workspace");
    let library = std::env::var_os("MUJOCO_DYNAMIC_LINK_DIR").map(PathBuf::from);
    let library = library.expect("cargo sets it, see .cargo/config.toml");
    let readme = fs::read_to_string(workspace.join("crates/envs/README.md")).expect("a text");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |path: &str, text: String| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
        fs::write(path, text).expect("writable");
    };
    let manifest = block(&readme, "[dependencies]");
    write("Cargo.toml", replaced(&manifest, "../rescore", &workspace));
    let config = block(&readme, "MUJOCO_DYNAMIC_LINK_DIR = ");
    write(
        ".cargo/config.toml",
        replaced(&config, "/opt/mujoco/lib", &library),
    );
    write("build.rs", block(&readme, "DEP_RESCORE_MUJOCO_LIB_DIR"));
    write("src/main.rs", block(&readme, "HalfCheetah-v5"));
    // The versions that are there already, so that nothing is fetched.
    let lock = fs::read_to_string(workspace.join("Cargo.lock")).expect("a text");
    write("Cargo.lock", lock);

    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut run = Command::new(cargo);
    run.current_dir(folder.path())
        .args(["run", "--release", "--offline"])
        // It is told where the library lies by its own configuration, and finds it by itself.
        .env_remove("MUJOCO_DYNAMIC_LINK_DIR")
        .env_remove("LD_LIBRARY_PATH")
        // Compiled as here, it shares what is compiled here.
        .env("CARGO_TARGET_DIR", target())
        .env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    for (name, _) in std::env::vars_os() {
        // Of the package that this test belongs to.
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            run.env_remove(name);
        }
    }
    let output = run.output().expect("cargo runs where its tests run");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout.matches("length: 1000").count(), 2, "{stdout}");
}
