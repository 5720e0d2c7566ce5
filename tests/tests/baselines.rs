//! TD3 against numbers of an independent implementation.
//!
//! Reads the folder named by `RESCORE_FIXTURES_BASELINES`, by default `tests/fixtures_baselines`.

use burn::backend::{Flex, NdArray};
use rescore_tests::{
    baselines::check,
    fixtures::{change, copy_of, folder},
    parity::Tolerances,
};

#[test]
fn td3_agrees_with_the_fixtures() -> anyhow::Result<()> {
    let folder = folder("RESCORE_FIXTURES_BASELINES", "fixtures_baselines");
    for (backend, files) in [
        ("flex", check::<Flex>(&folder, Tolerances::CPU)?),
        ("ndarray", check::<NdArray>(&folder, Tolerances::CPU)?),
    ] {
        println!("baselines: {files} files, backend {backend}");
    }
    Ok(())
}

#[test]
fn one_changed_number_is_noticed() -> anyhow::Result<()> {
    let file = "updates_O5_A3_s1.safetensors";
    for array in [
        "common.step1.batch.reward",
        "td3.step0.draw.z",
        "td3.state3.target_policy",
        "td3.state1.opt_q2.nu",
    ] {
        let copy = copy_of("fixtures_baselines", &[file])?;
        change(copy.path(), file, array, 0.3)?;
        let error = check::<Flex>(copy.path(), Tolerances::CPU).expect_err(array);
        assert!(format!("{error:#}").contains("td3."), "{array}: {error:#}");
    }
    Ok(())
}
