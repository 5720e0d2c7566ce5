//! NVRTC compiles every kernel that the algorithms launch: the program runs on a CUDA driver without a
//! device (`tests/cuda/driver.c`), up to which everything is as with one.
#![cfg(all(feature = "cuda", target_os = "linux", target_arch = "x86_64"))]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rescore_agents::Algorithm;
use rescore_tests::{
    program::{command, read, stderr},
    python::{in_checkout, not_installed, packages},
};

/// NVRTC and the headers of the toolkit, where they are installed.
fn toolkit() -> Option<[PathBuf; 2]> {
    let folder = packages().join("nvidia");
    let found = ["cuda_nvrtc/lib", "cuda_runtime"].map(|part| folder.join(part));
    if found.iter().all(|part| part.is_dir()) {
        return Some(found);
    }
    not_installed("NVRTC");
    None
}

/// A machine with the driver without a device, and what it has compiled.
struct Machine {
    folder: tempfile::TempDir,
    toolkit: [PathBuf; 2],
}

impl Machine {
    fn new(toolkit: [PathBuf; 2]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let driver = folder.path().join("libcuda.so.1");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&driver)
            .arg(in_checkout("tests/cuda/driver.c"))
            .output()
            .expect("a C compiler, which links programs, too");
        assert!(compiled.status.success(), "{}", stderr(&compiled));
        // As the development package of the toolkit calls it.
        let nvrtc = toolkit[0].join("libnvrtc.so.12");
        let called = folder.path().join("libnvrtc.so");
        std::os::unix::fs::symlink(nvrtc, called).expect("a link");
        Self { folder, toolkit }
    }

    /// The names of the kernels that the program launches on a device of the compute capability
    /// `capability`.
    fn launches(&self, capability: &str, arguments: &[&str]) -> BTreeSet<String> {
        let log = self.folder.path().join("log");
        let _ = std::fs::remove_file(&log);
        let output = self.output(capability, arguments);
        let said = stderr(&output);
        assert!(output.status.success(), "{arguments:?}: {said}");
        // A kernel that cannot be put together fails on the device's thread, which nobody asks here.
        let failed = said.contains("Task failed") || said.contains("panicked");
        assert!(!failed, "{arguments:?}: {said}");
        let log = read(&log);
        let names = log
            .lines()
            .filter_map(|line| line.strip_prefix("launched "));
        names.map(str::to_owned).collect()
    }

    /// What the program does there.
    fn output(&self, capability: &str, arguments: &[&str]) -> Output {
        let folder = self.folder.path();
        let libraries = [folder, &self.toolkit[0]].map(Path::to_owned);
        let others = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let libraries = libraries.into_iter().chain(std::env::split_paths(&others));
        command(folder, arguments)
            .env(
                "LD_LIBRARY_PATH",
                std::env::join_paths(libraries).expect("paths without a colon"),
            )
            .env("CUDA_PATH", &self.toolkit[1])
            // A kernel is compiled once for all algorithms.
            .env("XDG_CACHE_HOME", folder.join("cache").join(capability))
            .env("NULL_DRIVER_CAPABILITY", capability)
            .env("NULL_DRIVER_LOG", folder.join("log"))
            .output()
            .expect("the program starts")
    }
}

const UPDATE: [&str; 7] = [
    "bench",
    "update",
    "--backend",
    "cuda",
    "--env",
    "Pendulum-v1",
    "--algo",
];

mod nvrtc {
    use super::*;

    #[test]
    fn the_kernels_of_every_algorithm_compile() {
        let Some(toolkit) = toolkit() else { return };
        let machine = Machine::new(toolkit);
        let updates = Algorithm::all().into_iter().flat_map(|algorithm| {
            machine.launches("90", &[&UPDATE[..], &[algorithm.name]].concat())
        });
        let launched: BTreeSet<_> = updates.collect();
        for kernel in [
            "chain",
            "forward",
            "backward",
            "gradients",
            "elements",
            "adam",
            "norm",
        ] {
            let is_launched = launched.iter().any(|name| name.starts_with(kernel));
            assert!(is_launched, "no {kernel} among {launched:?}");
        }
        let act = ["bench", "act", "--backend", "cuda", "--env", "Pendulum-v1"];
        let launched = machine.launches("90", &act);
        assert!(launched.iter().any(|name| name.starts_with("chain")));
    }

    /// What the compiler refuses is an error of the program.
    #[test]
    fn a_kernel_that_does_not_compile_is_an_error() {
        let Some(mut toolkit) = toolkit() else { return };
        // Without the header of bf16.
        let empty = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(empty.path().join("include")).expect("a folder");
        toolkit[1] = empty.path().to_owned();
        let precision = ["dpmd-reference", "--set", "actor.precision=bf16"];
        let output = Machine::new(toolkit).output("90", &[&UPDATE[..], &precision].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("the device failed"), "{said}");
    }

    /// Tensor cores, of the first cards whose `mma` takes bf16 as of the latest.
    #[test]
    fn the_kernels_of_tensor_cores_compile() {
        let Some(toolkit) = toolkit() else { return };
        let machine = Machine::new(toolkit);
        for (capability, algorithm) in [
            ("80", "dpmd-reference"),
            ("90", "sdac-reference"),
            ("90", "dpmd"),
            ("120", "dpmd-reference"),
        ] {
            let precision = ["--set", "actor.precision=bf16"];
            let arguments = [&UPDATE[..], &[algorithm], &precision].concat();
            let launched = machine.launches(capability, &arguments);
            let are_used = launched.iter().any(|name| name.starts_with("pack"));
            assert!(are_used, "{algorithm} on {capability}: {launched:?}");
        }
    }
}
