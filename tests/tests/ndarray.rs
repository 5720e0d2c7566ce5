//! The program on the second backend of the processor, which it has where it is asked for.
#![cfg(feature = "ndarray")]

use std::path::Path;

use rescore_tests::program::{fails, read, tiny, trains, trains_and_evaluates};
use serde_json::Value;

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// What the folder `run` says of the times that it was resumed.
fn resumptions(folder: &Path) -> Value {
    let text = read(&folder.join("run/manifest.json"));
    let mut manifest: Value = serde_json::from_str(&text).expect("JSON");
    manifest["resumed"].take()
}

/// Tests on a backend go by its name.
mod ndarray {
    use super::*;

    #[test]
    fn every_actor_trains_and_evaluates() {
        trains_and_evaluates(temporary().path(), "ndarray");
    }

    #[test]
    fn a_precision_without_a_kernel_is_a_usage_error() {
        let folder = temporary();
        let arguments = ["train", "--backend", "ndarray", "--out", "run"];
        let arguments = [&arguments[..], &["--set", "precision=bf16"]].concat();
        fails(folder.path(), &arguments, 2, &["ndarray", "bf16", "f32"]);
        assert!(!folder.path().join("run").exists());
    }

    #[test]
    fn another_backend_is_taken_where_the_user_allows_other_bits() {
        let folder = temporary();
        let folder = folder.path();
        trains(folder, &tiny(&["--algo", "sac", "--out", "run"]));
        let other = [
            "train",
            "--resume",
            "run",
            "--steps",
            "140",
            "--backend",
            "ndarray",
        ];
        let refused = [
            "`backend` is \"flex\" in the run, but \"ndarray\" here",
            "--allow-different-bits",
        ];
        fails(folder, &other, 2, &refused);
        trains(folder, &[&other[..], &["--allow-different-bits"]].concat());
        let resumed = &resumptions(folder)[0];
        assert_eq!(resumed["backend"], "ndarray");
        assert_eq!(resumed["changed"][0]["key"], "backend");
        // From now on that is its backend.
        trains(folder, &["train", "--resume", "run", "--steps", "160"]);
        assert_eq!(resumptions(folder)[1]["backend"], "ndarray");
    }
}
