//! How many kernels an update launches on a GPU: prints `launches: ALGORITHM N`, the mean of an update
//! in which the policy learns and the next one, in which it may not, and holds algorithms to bounds.
//!
//! A launch costs a GPU some microseconds whatever it computes, so that small networks are as fast as
//! their launches are few. The tensor library's own log of a software driver counts them.
#![cfg(feature = "wgpu")]

use std::path::Path;

use rescore_tests::program::{command, stderr};

/// Launches of an update at most, by the last count.
const BOUNDS: [(&str, &str, f64); 3] = [
    ("dpmd-reference", "default", 35.0),
    ("sdac-reference", "default", 45.0),
    ("sac", "textbook", 80.0),
];

/// The names of the kernels that `bench update` launches, in their order.
fn launches(folder: &Path, algorithm: &str, preset: &str) -> Vec<String> {
    let log = folder.join(algorithm);
    let mut arguments = vec!["bench", "update", "--backend", "wgpu", "--device", "0"];
    arguments.extend(["--algo", algorithm, "--env", "Pendulum-v1"]);
    if preset != "default" {
        arguments.extend(["--preset", preset]);
    }
    // Fewer rows launch as many kernels.
    arguments.extend(["--set", "training.batch_size=16"]);
    let output = command(folder, &arguments)
        .env("CUBECL_DEBUG_LOG", &log)
        .env("CUBECL_DEBUG_OPTION", "profile")
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let log = std::fs::read_to_string(&log).expect("the log of the tensor library");
    // A table of launches: a time, then a name.
    let rows = log.lines().filter_map(|line| line.strip_prefix("| "));
    let names = rows.filter_map(|row| row.split_once('|'));
    names.map(|(_, name)| name.trim().to_owned()).collect()
}

/// The shortest period of the last of `names`, four times over.
fn period(names: &[String]) -> Option<usize> {
    let repeats = |period: &usize| {
        let tail = &names[names.len() - 4 * period..];
        tail[*period..].iter().zip(tail).all(|(a, b)| a == b)
    };
    (1..=names.len() / 4).find(repeats)
}

#[test]
#[ignore = "needs a graphics driver: cargo xtask test launches --backend wgpu"]
fn updates_launch_few_kernels() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (algorithm, preset, bound) in BOUNDS {
        let names = launches(folder.path(), algorithm, preset);
        let pair = period(&names).expect("updates that launch the same kernels");
        let each = pair as f64 / 2.0;
        println!("launches: {algorithm} {each}");
        assert!(
            each <= bound,
            "an update of {algorithm} launches {each} kernels, more than {bound}: {:#?}",
            &names[names.len() - pair..]
        );
    }
}
