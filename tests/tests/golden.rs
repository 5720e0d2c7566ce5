//! The MuJoCo tasks reproduce Gymnasium's trajectories; and a wrong number would be noticed.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use rescore_tests::golden::{check, sha256};
use rescore_tests::program::skipped;
use tempfile::TempDir;

fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

#[test]
fn trajectories_are_those_of_gymnasium() {
    // Cargo starts tests in the package's folder; a relative path is meant from the workspace's.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = env::var_os("RESCORE_GOLDEN").map_or_else(own_folder, |dir| workspace.join(dir));
    match check(&folder) {
        Ok(report) => {
            println!("{report}");
            for name in &report.skipped {
                skipped(&format!("{name} is not recorded"));
            }
        }
        Err(error) => panic!("golden: {error:#}"),
    }
}

/// A copy of a part of the project's golden folder, to be damaged.
fn copy() -> TempDir {
    let copy = tempfile::tempdir().expect("a temporary folder can be made");
    let kept = ["HalfCheetah-v4.safetensors", "Hopper-v4.safetensors"];
    for name in kept.iter().chain(&["index.json"]) {
        fs::copy(own_folder().join(name), copy.path().join(name))
            .expect("a golden file can be copied");
    }
    edit_index(copy.path(), |index| {
        let files = index["files"].as_array_mut().expect("a list of files");
        files.retain(|entry| kept.iter().any(|name| entry["file"] == **name));
    });
    copy
}

fn edit_index(folder: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let path = folder.join("index.json");
    let text = fs::read(&path).expect("the index can be read");
    let mut index = serde_json::from_slice(&text).expect("the index is JSON");
    edit(&mut index);
    fs::write(path, index.to_string()).expect("the copy can be written");
}

/// The error's full text.
fn failure(folder: &Path) -> String {
    format!(
        "{:#}",
        check(folder).expect_err("a damaged folder must not pass")
    )
}

/// Adds 1e-6 to (or flips, for flags) the element in the middle of an array.
fn change_one_number(folder: &Path, file: &str, array: &str) {
    let path = folder.join(file);
    let mut bytes = fs::read(&path).expect("the file can be read");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let view = tensors.tensor(array).expect("the array exists");
    let is_flag = view.dtype() == safetensors::Dtype::U8;
    let width = if is_flag { 1 } else { 8 };
    let start = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
    let at = start + view.data().len() / width / 2 * width;
    if is_flag {
        bytes[at] ^= 1;
    } else {
        let element: &mut [u8; 8] = (&mut bytes[at..at + 8]).try_into().expect("eight bytes");
        *element = (f64::from_le_bytes(*element) + 1e-6).to_le_bytes();
    }
    fs::write(path, bytes).expect("the copy can be written");
}

#[test]
fn changing_one_number_makes_the_check_fail() {
    let file = "Hopper-v4.safetensors";
    for array in [
        "main.obs",
        "main.reward",
        "main.terminated",
        "main.qpos",
        "main.info.x_velocity",
        "clip.truncated",
        "zero.qvel",
        "bang.obs0",
        "episodic.reward",
        "episodic.reset_obs",
        "episodic.reset_qvel",
    ] {
        let folder = copy();
        change_one_number(folder.path(), file, array);
        let error = failure(folder.path());
        assert!(
            error.contains("hash"),
            "{array}: the hash shows it first: {error}"
        );

        let bytes = fs::read(folder.path().join(file)).expect("the file can be read");
        edit_index(folder.path(), |index| {
            let files = index["files"].as_array_mut().expect("a list of files");
            let entry = files
                .iter_mut()
                .find(|entry| entry["file"] == file)
                .expect("listed");
            entry["sha256"] = sha256(&bytes).into();
        });
        let error = failure(folder.path());
        let (case, _) = array.split_once('.').expect("CASE.KEY");
        assert!(
            error.contains(&format!("Hopper-v4:{case}")),
            "{array}: {error}"
        );
    }
}

#[test]
fn every_task_is_compared_in_full() {
    let report = check(&own_folder()).expect("the project's own recordings");
    let tasks = rescore_envs::list();
    let mujoco = tasks.iter().filter(|task| task.needs_mujoco);
    let names: BTreeSet<String> = mujoco.map(|task| task.name.to_owned()).collect();
    assert_eq!(report.tasks, names);
    assert_eq!(report.skipped, [""; 0]);
    assert_eq!(report.not_compared, [""; 0]);
    // Elsewhere the C library's functions may round otherwise.
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        assert!(report.worst.total_cmp(&0.0).is_eq(), "to the bit: {report}");
    }
}

#[test]
fn changing_the_metadata_makes_the_check_fail() {
    for (key, value) in [
        ("obs_dim", serde_json::json!(12)),
        ("act_high", serde_json::json!([1.0, 1.0, 2.0])),
        ("frame_skip", 5.into()),
        ("dt", 0.01.into()),
        ("time_limit", 999.into()),
        ("nq", 7.into()),
        (
            "init_qpos",
            serde_json::json!([0.0, 1.2, 0.0, 0.0, 0.0, 0.0]),
        ),
        ("xml_sha256", "0".into()),
    ] {
        let folder = copy();
        edit_index(folder.path(), |index| {
            let files = index["files"].as_array_mut().expect("a list of files");
            let hopper = files
                .iter_mut()
                .find(|entry| entry["env_id"] == "Hopper-v4");
            hopper.expect("listed")[key] = value;
        });
        let error = failure(folder.path());
        assert!(error.contains(&format!("`{key}`")), "{key}: {error}");
    }
}

#[test]
fn nothing_is_left_unchecked_in_silence() {
    let empty = tempfile::tempdir().expect("a temporary folder can be made");
    assert!(failure(empty.path()).contains("index.json"));

    let no_files = copy();
    edit_index(no_files.path(), |index| {
        index["files"] = serde_json::json!([]);
    });
    assert!(failure(no_files.path()).contains("lists no files"));

    let missing = copy();
    fs::remove_file(missing.path().join("Hopper-v4.safetensors")).expect("it was copied");
    assert!(failure(missing.path()).contains("cannot be read"));

    let unlisted = copy();
    fs::write(unlisted.path().join("More.safetensors"), b"").expect("the copy can be written");
    assert!(failure(unlisted.path()).contains("does not list More.safetensors"));

    let unknown_task = copy();
    edit_index(unknown_task.path(), |index| {
        index["files"][0]["env_id"] = "Hoper-v4".into();
    });
    assert!(failure(unknown_task.path()).contains("no MuJoCo task"));

    let other_library = copy();
    edit_index(other_library.path(), |index| {
        index["mujoco"] = "2.3.7".into();
    });
    assert!(failure(other_library.path()).contains("2.3.7"));
}

#[test]
fn an_array_of_unknown_form_is_refused() {
    for (from, to) in [
        ("main.reward", "main.rewarb"),
        ("reset2000.obs_std", "reset2000.obs_srd"),
    ] {
        let folder = copy();
        let path = folder.path().join("Hopper-v4.safetensors");
        // Names of equal length, so that the header keeps its size.
        let bytes = fs::read(&path).expect("the file can be read");
        let start = bytes
            .windows(from.len())
            .position(|window| window == from.as_bytes())
            .expect("the header names the array");
        let mut renamed = bytes;
        renamed[start..start + to.len()].copy_from_slice(to.as_bytes());
        fs::write(&path, &renamed).expect("the copy can be written");

        assert!(failure(folder.path()).contains("hash"));
        edit_index(folder.path(), |index| {
            let files = index["files"].as_array_mut().expect("a list of files");
            let entry = files
                .iter_mut()
                .find(|e| e["env_id"] == "Hopper-v4")
                .expect("listed");
            entry["sha256"] = sha256(&renamed).into();
        });
        assert!(
            failure(folder.path()).contains("not listed"),
            "the index has another name"
        );
        edit_index(folder.path(), |index| {
            let files = index["files"].as_array_mut().expect("a list of files");
            let entry = files
                .iter_mut()
                .find(|e| e["env_id"] == "Hopper-v4")
                .expect("listed");
            let arrays = entry["arrays"].as_object_mut().expect("a table of arrays");
            let shape = arrays.remove(from).expect("listed");
            arrays.insert(to.to_owned(), shape);
        });
        assert!(failure(folder.path()).contains("unknown form"), "{to}");
    }
}

#[test]
fn a_task_without_a_recording_is_listed_as_skipped() {
    let report = check(copy().path()).expect("a skipped task is no failure");
    assert_eq!(report.tasks.len(), 2);
    assert!(report.skipped.contains(&"HumanoidStandup-v5".to_owned()));
    let all = rescore_envs::list();
    let mujoco = all.iter().filter(|task| task.needs_mujoco).count();
    assert_eq!(report.skipped.len(), mujoco - 2);
    let text = report.to_string();
    assert!(
        text.contains("skipped, not recorded: HalfCheetah-v5"),
        "{text}"
    );
}
