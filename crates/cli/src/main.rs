//! The program `rescore`.

use std::process::ExitCode;

/// Launches are put together on one thread and handed over on another, which frees them: with the
/// system's allocator the two wait for each other.
#[cfg(all(target_os = "linux", any(feature = "cuda", feature = "wgpu")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    rescore::commands::main()
}
