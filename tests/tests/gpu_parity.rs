//! What GPU backends compute against the numbers of an independent implementation, as `parity.rs` does
//! on the processor. A test of its own, which compiles the agents for GPUs alone.
#![cfg(any(feature = "cuda", feature = "wgpu"))]

use rescore_kernels::RescoreBackend;
use rescore_tests::{
    fixtures::{copy_of, default_folder, folder},
    parity::{Tolerances, check},
};

/// The small files of the default folder, which a software driver can do in seconds, or all of the
/// folder that is named.
fn check_on_gpu<B: RescoreBackend>(name: &str) -> anyhow::Result<()> {
    let small = [
        "common.safetensors",
        "pieces_O5_A3_s0.safetensors",
        "updates_O5_A3_s0.safetensors",
    ];
    let copy = copy_of("fixtures", &small)?;
    let named = folder("RESCORE_FIXTURES", "fixtures");
    let folder = if named == default_folder("fixtures") {
        copy.path().to_owned()
    } else {
        named
    };
    println!("{}", check::<B>(&folder, name, Tolerances::GPU)?);
    Ok(())
}

#[cfg(feature = "wgpu")]
mod wgpu {
    #[test]
    #[ignore = "needs a graphics driver: cargo xtask test --backend wgpu"]
    fn agrees_with_the_fixtures() -> anyhow::Result<()> {
        super::check_on_gpu::<burn::backend::Wgpu>("wgpu")
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    #[test]
    #[ignore = "needs an NVIDIA GPU: cargo xtask test --backend cuda"]
    fn agrees_with_the_fixtures() -> anyhow::Result<()> {
        super::check_on_gpu::<burn::backend::Cuda>("cuda")
    }
}
