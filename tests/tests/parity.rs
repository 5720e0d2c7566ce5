//! Our numbers against those of an independent implementation.
//!
//! Reads the folder named by `RESCORE_FIXTURES`, by default `tests/fixtures`.

use std::{fs, path::PathBuf};

use burn::backend::{Flex, NdArray};
use rescore_tests::{
    fixtures::{change, copy_of},
    parity::{Tolerances, check},
};

fn folder() -> PathBuf {
    rescore_tests::fixtures::folder("RESCORE_FIXTURES", "fixtures")
}

#[test]
fn flex_agrees_with_the_fixtures() -> anyhow::Result<()> {
    println!("{}", check::<Flex>(&folder(), "flex", Tolerances::CPU)?);
    Ok(())
}

#[test]
fn ndarray_agrees_with_the_fixtures() -> anyhow::Result<()> {
    println!(
        "{}",
        check::<NdArray>(&folder(), "ndarray", Tolerances::CPU)?
    );
    Ok(())
}

fn error_of(folder: &tempfile::TempDir) -> String {
    match check::<Flex>(folder.path(), "flex", Tolerances::CPU) {
        Ok(report) => panic!("passed: {report}"),
        Err(error) => format!("{error:#}"),
    }
}

/// Inputs and outputs of every kind of file.
#[test]
fn one_changed_number_is_noticed() -> anyhow::Result<()> {
    let pieces = "pieces_O5_A3_s0.safetensors";
    let updates = "updates_O5_A3_s1.safetensors";
    for (file, array, named) in [
        (
            "common.safetensors",
            "schedule.linear_0.8_T20.betas",
            "betas",
        ),
        (pieces, "p.out.chain_x", "chain_x"),
        (pieces, "p.out.dpmd.grad.time0.w", "dpmd.grad.time0.w"),
        (pieces, "p.step_noise", "chain_x"),
        (
            updates,
            "dpmd.state3.opt_q2.nu.l1.w",
            "dpmd.state3.opt_q2.nu.l1.w",
        ),
        (updates, "sdac.step1.draw.noise2", "sdac.step1.out.weights"),
        (updates, "sac.step0.batch.reward", "sac.step0.out.q_backup"),
    ] {
        let folder = copy_of("fixtures", &[file])?;
        check::<Flex>(folder.path(), "flex", Tolerances::CPU)?;
        change(folder.path(), file, array, 0.01)?;
        let message = error_of(&folder);
        assert!(message.contains(file), "{array}: {message}");
        assert!(message.contains(named), "{array}: {message}");
    }
    Ok(())
}

#[test]
fn an_empty_folder_fails() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    assert!(error_of(&folder).contains("index.json"));
    fs::write(folder.path().join("index.json"), r#"{"files": {}}"#)?;
    assert!(error_of(&folder).contains("lists no files"));
    Ok(())
}

#[test]
fn a_missing_file_fails() -> anyhow::Result<()> {
    let folder = copy_of("fixtures", &["common.safetensors"])?;
    fs::remove_file(folder.path().join("common.safetensors"))?;
    assert!(error_of(&folder).contains("common.safetensors is listed"));
    Ok(())
}

/// An array that the index lists but no check claims.
#[test]
fn an_unknown_array_fails() -> anyhow::Result<()> {
    let folder = copy_of("fixtures", &["common.safetensors"])?;
    let path = folder.path().join("common.safetensors");
    let values = 1.0_f32.to_le_bytes();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &values)?;
    fs::write(&path, safetensors::serialize([("surprise", view)], None)?)?;
    let index = r#"{"files": {"common.safetensors": {"meta": {},
        "tensors": {"surprise": "float32[1]"}}}}"#;
    fs::write(folder.path().join("index.json"), index)?;
    assert!(error_of(&folder).contains("surprise"));
    Ok(())
}
