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
    ("dpmd-reference", "default", 44.0),
    ("sdac-reference", "default", 52.0),
    ("sac", "textbook", 54.0),
];

/// The log of the tensor library while `bench update` runs. At every wait for the device, which comes
/// after a pair of updates, it has a table of the kernels since the last one.
fn log(folder: &Path, algorithm: &str, preset: &str) -> String {
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
    std::fs::read_to_string(&log).expect("the log of the tensor library")
}

/// A row of a table of launches: a kernel, and how many of it there were.
fn row(line: &str) -> Option<(&str, u64)> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let [_, name, .., count, share, ""] = cells[..] else {
        return None;
    };
    // The last row adds the others up.
    let is_kernel = share.ends_with('%') && name != "Total";
    is_kernel.then_some(())?;
    Some((name, count.parse().ok()?))
}

/// Launches by kernel in the last table of `log`: rows of a name, a duration, a count and a share.
fn last_table(log: &str) -> Vec<(&str, u64)> {
    let (_, table) = log.rsplit_once("Num Computed").expect("a table");
    table.lines().filter_map(row).collect()
}

mod wgpu {
    use super::*;

    #[test]
    #[ignore = "needs a graphics driver: cargo xtask test launches"]
    fn updates_launch_few_kernels() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (algorithm, preset, bound) in BOUNDS {
            let log = log(folder.path(), algorithm, preset);
            let table = last_table(&log);
            let pair: u64 = table.iter().map(|(_, count)| count).sum();
            let each = pair as f64 / 2.0;
            assert!(pair > 10, "an update has more kernels than {table:?}");
            println!("launches: {algorithm} {each}");
            assert!(
                each <= bound,
                "an update of {algorithm} launches {each} kernels, more than {bound}: {table:#?}"
            );
        }
    }
}
