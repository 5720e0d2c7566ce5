//! Python with the packages of `tests/python/requirements.txt`: what reads our files elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::skipped;

/// Where the packages are: `RESCORE_PYTHON_TOOLS`, else `tools/python` in the target folder, into which
/// the gate installs them.
///
/// # Panics
/// Where the test lies elsewhere than Cargo puts tests.
pub fn packages() -> PathBuf {
    std::env::var_os("RESCORE_PYTHON_TOOLS").map_or_else(
        || {
            let test = std::env::current_exe().expect("a test knows its own path");
            let target = test.ancestors().nth(3);
            let target = target.expect("tests lie in <target>/<profile>/deps");
            target.join("tools/python")
        },
        PathBuf::from,
    )
}

/// A file of the checkout.
pub fn in_checkout(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

/// Says that a test is skipped, because it needs `package`.
pub fn not_installed(package: &str) {
    skipped(&format!(
        "Python has no {package}: pip install --target {} -r tests/python/requirements.txt",
        packages().display()
    ));
}

/// Python that runs `script`, a file of the checkout, where `package` is installed; else it is said that
/// the test is skipped.
pub fn python(package: &str, script: &str) -> Option<Command> {
    let packages = packages();
    let python = || {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", &packages);
        python
    };
    let seek = format!(
        "import importlib.util, sys; sys.exit(importlib.util.find_spec('{package}') is None)"
    );
    let is_there = python().args(["-c", &seek]).output();
    if !is_there.is_ok_and(|output| output.status.success()) {
        not_installed(package);
        return None;
    }
    let mut python = python();
    python.arg(in_checkout(script));
    Some(python)
}
