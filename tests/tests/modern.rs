//! Modern critics and what is built on them against an independent implementation.
//!
//! Reads the folder named by `RESCORE_FIXTURES_MODERN`, by default `tests/fixtures_modern`.

use burn::backend::{Flex, NdArray};
use rescore_kernels::RescoreBackend;
use rescore_tests::{
    fixtures::{change, copy_of, folder},
    modern::{Tolerances, check},
};

const DEFAULT: &str = "fixtures_modern";

fn agrees<B: RescoreBackend>(name: &str, tolerances: Tolerances) -> anyhow::Result<()> {
    let folder = folder("RESCORE_FIXTURES_MODERN", DEFAULT);
    println!("{}", check::<B>(&folder, name, tolerances)?);
    Ok(())
}

#[test]
fn flex_agrees_with_the_fixtures() -> anyhow::Result<()> {
    agrees::<Flex>("flex", Tolerances::CPU)
}

#[test]
fn ndarray_agrees_with_the_fixtures() -> anyhow::Result<()> {
    agrees::<NdArray>("ndarray", Tolerances::CPU)
}

#[cfg(feature = "wgpu")]
mod wgpu {
    #[test]
    #[ignore = "needs a graphics driver: cargo xtask test --backend wgpu"]
    fn agrees_with_the_fixtures() -> anyhow::Result<()> {
        super::agrees::<burn::backend::Wgpu>("wgpu", super::Tolerances::GPU)
    }
}

// One GPU backend a build: each is minutes to compile.
#[cfg(all(feature = "cuda", not(feature = "wgpu")))]
mod cuda {
    #[test]
    #[ignore = "needs an NVIDIA GPU: cargo xtask test --backend cuda"]
    fn agrees_with_the_fixtures() -> anyhow::Result<()> {
        super::agrees::<burn::backend::Cuda>("cuda", super::Tolerances::GPU)
    }
}

/// Inputs, outputs and gradients of every group.
#[test]
fn one_changed_number_is_noticed() -> anyhow::Result<()> {
    let pieces = "pieces_O5_A3_s0.safetensors";
    for (file, array, named) in [
        (
            "common.safetensors",
            "schedule.cosine_1.0_T10.betas",
            "betas",
        ),
        ("common.safetensors", "tn.uniform", "tn.out64.noise"),
        (pieces, "norm.x", "norm.bn_train.out.y"),
        (
            pieces,
            "critic.simba.params.up0.w",
            "critic.simba.out.logits",
        ),
        (pieces, "critic.bn.stats.bn0.m", "critic.bn.out.eval_q"),
        (pieces, "critic.bn.out.grad", "critic.bn.out.grad"),
        (pieces, "cat_edge.reward", "cat_edge.out.target"),
        (pieces, "runnorm.obs", "runnorm.out.mean"),
        (pieces, "weights.q", "weights.linear.out.w"),
        (pieces, "temp.above.kl_target", "temp.above.out.grad"),
        (pieces, "loss.noise", "loss.mlp.out.grad"),
        (pieces, "chain.x_T", "chain.mlp.out.x"),
        (pieces, "sdac.noise1", "sdac.out.clean_action"),
    ] {
        let folder = copy_of(DEFAULT, &[file])?;
        change(folder.path(), file, array, -0.01)?;
        let message = match check::<Flex>(folder.path(), "flex", Tolerances::CPU) {
            Ok(report) => panic!("{array}: passed: {report}"),
            Err(error) => format!("{error:#}"),
        };
        assert!(message.contains(named), "{array}: {message}");
    }
    Ok(())
}
