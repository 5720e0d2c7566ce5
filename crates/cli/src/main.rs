//! The program `rescore`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rescore::commands::main()
}
