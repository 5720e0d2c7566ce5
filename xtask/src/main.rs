//! `cargo xtask ...`: prepares the machine, picks cargo features, spawns `rescore`.
//!
//! It links none of the project's crates, so that it works where they cannot be built. Data goes
//! to stdout, everything else to stderr.

mod bundle;
mod check;
mod cli;
mod doctor;
mod example;
mod failure;
mod licences;
mod names;
mod peek;
mod program;
mod setup;
mod test_command;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use cli::{Cli, Command};
use failure::{Failure, Result};
use peek::Peek;
use program::Physics;
use setup::Effort;

fn main() -> ExitCode {
    let cli = Cli::parse_from(arguments());
    match run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

/// The command line; `help COMMAND` of a command of the program is `COMMAND --help`, which clap
/// would look for among xtask's own.
fn arguments() -> Vec<OsString> {
    let mut words: Vec<_> = std::env::args_os().collect();
    let is_handed_on = |word: &OsString| names::COMMANDS.iter().any(|(name, _)| word == *name);
    if words.len() == 3 && words[1] == "help" && is_handed_on(&words[2]) {
        words.remove(1);
        words.push("--help".into());
    }
    words
}

fn run(cli: &Cli) -> Result<u8> {
    let root = workspace_root();
    let root = root.as_path();
    match &cli.command {
        None => {
            Cli::command()
                .print_help()
                .map_err(|e| Failure::io("write", Path::new("stdout"), &e))?;
            Ok(0)
        }
        Some(Command::Setup { from }) => {
            setup::ensure(root, from.as_deref(), setup::Check::Hash, Effort::Full)?;
            setup::report(root)?;
            Ok(0)
        }
        Some(Command::Doctor) => doctor::run(root),
        Some(Command::Test { names, backends }) => {
            backends.iter().try_for_each(|name| check::backend(name))?;
            test_command::run(root, names, backends)
        }
        Some(Command::Bundle { out, backends }) => {
            backends.iter().try_for_each(|name| check::backend(name))?;
            let backends: Vec<&str> = backends
                .iter()
                .filter_map(|name| check::backend_feature(name))
                .collect();
            let mujoco = program::prepare(root, Physics::Wanted)?;
            let features = program::features(mujoco, &backends);
            let program = program::build_with(root, &features)?;
            bundle::write(root, &program, mujoco, &backends, out)?;
            Ok(0)
        }
        Some(Command::Example { name, arguments }) => example::run(root, name, arguments),
        Some(Command::Rescore(line)) => {
            let peek = Peek::new(line);
            peek.check_names()?;
            let mujoco = program::prepare(root, peek.physics())?;
            let backend = peek.backend();
            let features = program::features_of_clone(mujoco, backend.as_slice());
            let program = program::build_with(root, &features)?;
            program::become_program(root, &program, line)
        }
    }
}

/// The folder above xtask's own. Cargo says where that is now; a binary that is run without cargo
/// knows where it was built.
fn workspace_root() -> PathBuf {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().map_or(xtask.clone(), Path::to_owned)
}
