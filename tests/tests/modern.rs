//! Modern critics and what is built on them against an independent implementation.
//!
//! Reads the folder named by `RESCORE_FIXTURES_MODERN`, by default `tests/fixtures_modern`.

use burn::backend::{Flex, NdArray};
use rescore_kernels::RescoreBackend;
use rescore_runner::normalize::RewardNormalizer;
use rescore_tests::{
    fixtures::{change, copy_of, folder},
    modern::{Tolerances, check, check_rewards},
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

/// The normaliser of the training loop, as [`rescore_tests::modern::check_rewards`] asks of it.
fn reward_normalizer(gamma: f64, bound: f64) -> impl FnMut(f32, bool) -> [f64; 5] {
    let mut normalizer = RewardNormalizer::new(1, gamma, bound);
    move |reward, ended| {
        let counted = normalizer.learn(0, reward, ended);
        let [mean, variance, largest] = normalizer.returns();
        [counted, mean, variance, largest, normalizer.divisor()]
    }
}

#[test]
fn rewards_are_normalised_as_in_the_fixtures() -> anyhow::Result<()> {
    let named = folder("RESCORE_FIXTURES_MODERN", DEFAULT);
    let files = check_rewards(&named, Tolerances::CPU, reward_normalizer)?;
    println!("modern: rewards of {files} files");

    let file = "pieces_O5_A3_s0.safetensors";
    let copy = copy_of(DEFAULT, &[file])?;
    change(copy.path(), file, "runnorm.reward.reward", 0.01)?;
    let error = check_rewards(copy.path(), Tolerances::CPU, reward_normalizer);
    let error = error.expect_err("a changed reward is noticed").to_string();
    assert!(
        error.contains("runnorm.reward_clean.out.divisor"),
        "{error}"
    );
    Ok(())
}

#[cfg(feature = "wgpu")]
mod wgpu {
    #[test]
    #[ignore = "needs a graphics driver: cargo xtask test --backend wgpu"]
    fn agrees_with_the_fixtures() -> anyhow::Result<()> {
        super::agrees::<burn::backend::Wgpu>("wgpu", super::Tolerances::GPU)
    }
}

#[cfg(feature = "cuda")]
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
    let fresh = "updates_O5_A3_s0.safetensors";
    let later = "updates_O5_A3_s1.safetensors";
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
        (fresh, "hyper.loss_clip", "mse.step0.out.policy_loss"),
        (fresh, "sdac.reward_divisor", "sdac.step0.out.q_target"),
        (fresh, "step0.draw.uniform", "sdac.step0.out.clean_action"),
        (
            fresh,
            "sdac.state1.opt_policy.nu",
            "sdac.state1.opt_policy.nu",
        ),
        (later, "mse.state0.old_policy", "mse.step0.out.particles"),
        (later, "mse.step2.out.q_target", "mse.step2.out.q_target"),
        (later, "step0.draw.sel_noise", "bn.step0.out.particle_q"),
        (later, "simba.state0.q1.ln0.g", "simba.step0.out.q1_loss"),
        (later, "simba.state3.old_policy", "simba.state3.old_policy"),
        (later, "bn.state0.q2_stats.bn0.m", "bn.step0.out.particle_q"),
        (later, "bn.state1.opt_q1.mu", "bn.state1.opt_q1.mu"),
        (later, "bn.state3.q2", "bn.state3.q2"),
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
