//! Configurations with ten thousand inputs each: nothing panics, hangs or takes memory out of
//! proportion.

use std::fs;

use proptest::prelude::*;
use rescore_runner::{Request, resolve};

#[path = "../../store/tests/common/mod.rs"]
mod common;

use common::{CASES, alone, config, edited, edits, in_proportion};

#[test]
fn configuration_files() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("config.toml");
    let good = resolve(&Request::default())
        .expect("the defaults")
        .to_toml();
    proptest!(config(CASES), |(edits in edits())| {
        let bytes = edited(good.as_bytes(), &edits);
        fs::write(&path, &bytes).expect("writable");
        let _ = in_proportion(bytes.len(), || resolve(&Request::of_run(folder.path())));
    });
}

#[test]
fn settings_of_the_command_line() {
    let _alone = alone();
    let good = [
        "seed=1",
        "agent.gamma=0.9",
        "hidden_dims=[16, 16]",
        "env=Pendulum-v1",
        "lr=1e-3",
        "agent.critic.value.kind=categorical",
    ];
    proptest!(config(CASES), |(which in 0..good.len(), edits in edits(), free in ".{0,40}", use_free: bool)| {
        let text = edited(good[which].as_bytes(), &edits);
        let text = if use_free { free } else { String::from_utf8_lossy(&text).into_owned() };
        let request = Request { set: vec![text.clone()], ..Request::default() };
        let _ = in_proportion(text.len(), || resolve(&request));
    });
}
