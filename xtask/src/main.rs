//! `cargo xtask ...`: prepares the machine, picks cargo features, spawns `rescore`.

mod failure;
mod setup;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let from = match &args[..] {
        [a] if a == "setup" => None,
        [a, b, c] if a == "setup" && b == "--from" => Some(PathBuf::from(c)),
        _ => {
            eprintln!("usage: cargo xtask setup [--from DIR]");
            return ExitCode::from(2);
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match setup::ensure(&root, from.as_deref(), setup::Check::Hash) {
        Ok(()) => ExitCode::SUCCESS,
        Err(f) => {
            eprintln!("error: {f}");
            ExitCode::from(f.code)
        }
    }
}
