//! NVRTC compiles every kernel that the algorithms launch: the program runs on a CUDA driver without a
//! device (`tests/cuda/driver.c`), up to which everything is as with one.
#![cfg(all(feature = "cuda", target_os = "linux", target_arch = "x86_64"))]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rescore_agents::Algorithm;
use rescore_tests::{
    program::{command, read, stderr},
    python::{in_checkout, not_installed, packages},
};

/// NVIDIA's packages, where they are installed.
fn toolkit() -> Option<PathBuf> {
    let folder = packages().join("nvidia");
    let parts = ["cuda_nvrtc", "cuda_runtime", "cuda_nvcc"];
    if parts.iter().all(|part| folder.join(part).is_dir()) {
        return Some(folder);
    }
    not_installed("NVRTC");
    None
}

/// A machine with the driver without a device.
struct Machine {
    folder: tempfile::TempDir,
    nvrtc: PathBuf,
}

impl Machine {
    /// With the compiler of `toolkit`, and with the headers that `with_headers` says.
    fn new(toolkit: &Path, with_headers: bool) -> Self {
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
        let nvrtc = toolkit.join("cuda_nvrtc/lib");
        link(
            &nvrtc.join("libnvrtc.so.12"),
            &folder.path().join("libnvrtc.so"),
        );
        // The packages are parts of one folder of headers.
        let include = folder.path().join("toolkit/include");
        fs::create_dir_all(&include).expect("a folder");
        if with_headers {
            let headers = fs::read_dir(toolkit.join("cuda_runtime/include")).expect("headers");
            for header in headers {
                let header = header.expect("an entry");
                link(&header.path(), &include.join(header.file_name()));
            }
            link(&toolkit.join("cuda_nvcc/include/crt"), &include.join("crt"));
        }
        Self { folder, nvrtc }
    }

    /// The names of the kernels that the program launches on a device of the compute capability
    /// `capability`.
    fn launches(&self, capability: &str, arguments: &[&str]) -> BTreeSet<String> {
        let log = self.folder.path().join("log");
        let _ = fs::remove_file(&log);
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
        let libraries = [folder, &self.nvrtc].map(Path::to_owned);
        let others = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let libraries = libraries.into_iter().chain(std::env::split_paths(&others));
        command(folder, arguments)
            .env(
                "LD_LIBRARY_PATH",
                std::env::join_paths(libraries).expect("paths without a colon"),
            )
            .env("CUDA_PATH", folder.join("toolkit"))
            // A kernel is compiled once for all algorithms.
            .env("XDG_CACHE_HOME", folder.join("cache").join(capability))
            .env("NULL_DRIVER_CAPABILITY", capability)
            .env("NULL_DRIVER_LOG", folder.join("log"))
            .output()
            .expect("the program starts")
    }
}

fn link(from: &Path, to: &Path) {
    std::os::unix::fs::symlink(from, to).expect("a link");
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
        let machine = Machine::new(&toolkit, true);
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
        let Some(toolkit) = toolkit() else { return };
        let precision = ["dpmd-reference", "--set", "actor.precision=bf16"];
        let machine = Machine::new(&toolkit, false);
        let output = machine.output("90", &[&UPDATE[..], &precision].concat());
        let said = stderr(&output);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("the device failed"), "{said}");
    }

    /// Tensor cores, of the first cards whose `mma` takes bf16 as of the latest.
    #[test]
    fn the_kernels_of_tensor_cores_compile() {
        let Some(toolkit) = toolkit() else { return };
        let machine = Machine::new(&toolkit, true);
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
