//! What a manifest says of this process.

use rescore_runner::{Config, folder};
use rescore_store::machine;
use rescore_store::run_folder::Start;

use crate::backend::device_name;

/// This process, which computes what `config` asks for, for the manifest of a run.
pub fn start(config: &Config) -> Start {
    let device = device_name(config).unwrap_or_else(|_| machine::cpu_name());
    let mut start = folder::start(config, device);
    // With `+` where the sources differed from it; nothing where the program was built outside of a
    // git repository. See `build.rs`.
    start.commit = option_env!("RESCORE_COMMIT").map(str::to_owned);
    start
}
