//! The command line: what xtask does itself. Everything else is the program's, and is handed on as
//! it was typed.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::names::COMMANDS;

/// Trains diffusion policies with online reinforcement learning. Every command prepares what it
/// needs by itself: MuJoCo and the program `rescore`.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, after_help = after_help())]
#[command(max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Obtain the MuJoCo library (the other commands do it when they need it)
    Setup {
        /// Take it from this folder: an unpacked MuJoCo release, or one that holds its wheel
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
    /// Put the program and all that it needs into one folder, for a machine without Rust
    Bundle {
        /// The folder, which must not be there yet
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Backends that the program shall have besides flex
        #[arg(long = "backend", value_name = "ndarray|cuda|wgpu|vulkan|metal")]
        backends: Vec<String>,
    },
    /// Check toolchain, MuJoCo, drivers and processor
    Doctor,
    /// Run an example of a library, on what the program is made of
    Example {
        /// Its file in an `examples` folder, without `.rs`
        #[arg(value_name = "NAME")]
        name: String,
        /// What the example is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Run the tests: all, or those named
    #[command(after_help = "\
`parity` reads the folder named by RESCORE_FIXTURES (default tests/fixtures), `modern` the one
named by RESCORE_FIXTURES_MODERN (default tests/fixtures_modern), `baselines` the one named by
RESCORE_FIXTURES_BASELINES (default tests/fixtures_baselines), `golden` the one named by
RESCORE_GOLDEN (default tests/golden). Any other name is that of a file in tests/tests, or else a
filter on the names of all tests.")]
    Test {
        /// `parity`, `modern`, `baselines`, `golden`, another whole-program test, or a filter
        #[arg(value_name = "NAME", conflicts_with = "backends")]
        names: Vec<String>,
        /// The tests that compute on this backend, instead of all others
        #[arg(long = "backend", value_name = "ndarray|cuda|wgpu|vulkan|metal")]
        backends: Vec<String>,
    },
    /// A command of `rescore` with its arguments, as they were typed.
    #[command(external_subcommand)]
    Rescore(Vec<OsString>),
}

/// The commands that are handed on.
fn after_help() -> String {
    let mut text = "Commands of the program rescore, which is built when it is needed; \
                    `cargo xtask COMMAND --help` lists their options:\n"
        .to_owned();
    for (name, about) in COMMANDS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<8} {about}");
    }
    text + "\nExit codes:
  0   done
  1   any other failure
  2   wrong usage or configuration
  73  the run folder is held by another process
  74  reading or writing failed
  75  interrupted after a checkpoint"
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("xtask").chain(arguments.iter().copied()))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_not_its_own_is_kept_as_it_was_typed() {
        for arguments in [
            &["train"][..],
            &["train", "--help"],
            &["plot", "a", "--over-seeds", "--out", "a.svg"],
            &["eval", "-h", "--", "--json"],
            &["bench", "setup", "--from", "x", "--version"],
        ] {
            let cli = parse(arguments).expect("it is not for xtask to judge");
            let Some(Command::Rescore(handed_on)) = cli.command else {
                panic!("{arguments:?} is not handed on");
            };
            assert_eq!(handed_on, arguments);
        }
        assert!(parse(&[]).is_ok_and(|cli| cli.command.is_none()));
    }

    #[test]
    fn its_own_options_are_checked() {
        for bad in [&["setup", "--form", "x"][..], &["bundle"], &["--fast"]] {
            let error = parse(bad).expect_err("must be refused");
            assert_eq!(error.exit_code(), 2, "{bad:?}");
        }
    }

    #[test]
    fn help_shows_the_commands_of_both_programs() {
        for arguments in [&["--help"][..], &["-h"], &["help"]] {
            let help = parse(arguments).expect_err("help");
            assert_eq!(help.kind(), ErrorKind::DisplayHelp);
            let text = help.to_string();
            for name in ["setup", "doctor", "bundle", "test", "train", "plot", "75"] {
                assert!(
                    text.contains(&format!("\n  {name} ")),
                    "no {name} in {text}"
                );
            }
        }
    }
}
