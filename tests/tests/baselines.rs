//! td3, qsm, idql, score-sde, qvpo, dipo and idem against numbers of an independent implementation.
//!
//! Reads the folder named by `RESCORE_FIXTURES_BASELINES`, by default `tests/fixtures_baselines`.

use burn::backend::{Flex, NdArray};
use rescore_tests::{
    baselines::check,
    fixtures::{change, copy_of, folder},
    parity::Tolerances,
};

#[test]
fn the_baselines_agree_with_the_fixtures() -> anyhow::Result<()> {
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
        "qsm.step2.out.q_gradient",
        "idem.step0.out.fixed.noise_target",
        "idql.act.out.probability",
        "score_sde.sampler.pc_batch",
        "score_sde.act.out.eval_q",
        "qvpo.step1.out.weights",
        "dipo.step1.out.ascent_grad_norm",
    ] {
        let copy = copy_of("fixtures_baselines", &[file])?;
        change(copy.path(), file, array, 0.3)?;
        let error = check::<Flex>(copy.path(), Tolerances::CPU).expect_err(array);
        let algorithm = array.split('.').next().filter(|name| *name != "common");
        let named = algorithm.unwrap_or("td3");
        assert!(format!("{error:#}").contains(named), "{array}: {error:#}");
    }
    Ok(())
}
