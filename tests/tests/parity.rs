//! Our numbers against those of an independent implementation.
//!
//! Reads the folder named by `RESCORE_FIXTURES`, by default `tests/fixtures`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use burn::backend::{Flex, NdArray};
use rescore_tests::parity::{Tolerances, check};

fn folder() -> PathBuf {
    // A relative folder is relative to the workspace, wherever cargo starts the test.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    env::var_os("RESCORE_FIXTURES").map_or_else(default_folder, |folder| workspace.join(folder))
}

fn default_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
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

/// The small files of the default folder, which a software driver can do in seconds, or all of the
/// folder that is named.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn check_on_gpu<B: rescore_kernels::RescoreBackend>(name: &str) -> anyhow::Result<()> {
    let small = [
        "common.safetensors",
        "pieces_O5_A3_s0.safetensors",
        "updates_O5_A3_s0.safetensors",
    ];
    let copy = copy_of(&small)?;
    let all = env::var_os("RESCORE_FIXTURES").is_some();
    let folder = if all {
        folder()
    } else {
        copy.path().to_owned()
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

// One GPU backend a build: each is minutes to compile.
#[cfg(all(feature = "cuda", not(feature = "wgpu")))]
mod cuda {
    #[test]
    #[ignore = "needs an NVIDIA GPU: cargo xtask test --backend cuda"]
    fn agrees_with_the_fixtures() -> anyhow::Result<()> {
        super::check_on_gpu::<burn::backend::Cuda>("cuda")
    }
}

/// A copy of the files `names` of the default folder, and an index that lists only them.
fn copy_of(names: &[&str]) -> anyhow::Result<tempfile::TempDir> {
    let copy = tempfile::tempdir()?;
    let text = fs::read_to_string(default_folder().join("index.json"))?;
    let mut index: serde_json::Value = serde_json::from_str(&text)?;
    if let Some(files) = index["files"].as_object_mut() {
        files.retain(|name, _| names.contains(&name.as_str()));
    }
    fs::write(copy.path().join("index.json"), index.to_string())?;
    for name in names {
        fs::copy(default_folder().join(name), copy.path().join(name))?;
    }
    Ok(copy)
}

/// Adds `change` to the first value of the `f32` array `array` in `file`.
fn change(folder: &tempfile::TempDir, file: &str, array: &str, change: f32) -> anyhow::Result<()> {
    let path = folder.path().join(file);
    let mut bytes = fs::read(&path)?;
    let data = {
        let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
        tensors.tensor(array)?.data().as_ptr() as usize - bytes.as_ptr() as usize
    };
    let value = f32::from_le_bytes(bytes[data..data + 4].try_into()?);
    bytes[data..data + 4].copy_from_slice(&(value + change).to_le_bytes());
    fs::write(path, bytes)?;
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
        let folder = copy_of(&[file])?;
        check::<Flex>(folder.path(), "flex", Tolerances::CPU)?;
        change(&folder, file, array, 0.01)?;
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
    let folder = copy_of(&["common.safetensors"])?;
    fs::remove_file(folder.path().join("common.safetensors"))?;
    assert!(error_of(&folder).contains("common.safetensors is listed"));
    Ok(())
}

/// An array that the index lists but no check claims.
#[test]
fn an_unknown_array_fails() -> anyhow::Result<()> {
    let folder = copy_of(&["common.safetensors"])?;
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
