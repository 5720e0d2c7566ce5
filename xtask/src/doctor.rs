//! `cargo xtask doctor`: is this machine fit, and what to do if not.

use std::path::Path;
use std::process::Command;

use crate::failure::Result;
use crate::names::{DEFAULT_BACKEND, OTHER_BACKENDS};
use crate::setup::{self, Check, Installed, Manifest, Store, WITHOUT};

/// The oldest toolchain that builds the project: `rust-version` of the workspace.
const RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");

/// How one check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// As it should be.
    Fine,
    /// Something cannot be used, but training on the processor works.
    Limited,
    /// Training does not work.
    Broken,
}

/// One line of the report.
#[derive(Debug)]
struct Finding {
    verdict: Verdict,
    what: &'static str,
    state: String,
    hint: Option<String>,
}

impl Finding {
    fn fine(what: &'static str, state: impl Into<String>) -> Self {
        Self::new(Verdict::Fine, what, state, None)
    }

    fn new(
        verdict: Verdict,
        what: &'static str,
        state: impl Into<String>,
        hint: Option<&str>,
    ) -> Self {
        Self {
            verdict,
            what,
            state: state.into(),
            hint: hint.map(str::to_owned),
        }
    }
}

/// Prints the report; exit code 0 if training on the processor works, else 1.
///
/// # Errors
/// If `mujoco.toml` cannot be read.
pub fn run(root: &Path) -> Result<u8> {
    let mut findings = vec![rust(), linker(), mujoco(root)?, pip(), backends()];
    findings.extend(devices());
    let width = findings.iter().map(|f| f.what.len()).max().unwrap_or(0);
    for finding in &findings {
        let mark = match finding.verdict {
            Verdict::Fine => "ok",
            Verdict::Limited => "warn",
            Verdict::Broken => "FAIL",
        };
        println!("{mark:<4}  {:<width$}  {}", finding.what, finding.state);
        if let Some(hint) = &finding.hint {
            println!("      {:<width$}  hint: {hint}", "");
        }
    }
    let broken = findings.iter().any(|f| f.verdict == Verdict::Broken);
    Ok(u8::from(broken))
}

fn rust() -> Finding {
    let what = "rust";
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    match first_line(Command::new(rustc).arg("--version")) {
        Some(text) if is_at_least(&text, RUST_VERSION) => Finding::fine(what, text),
        Some(text) => Finding::new(
            Verdict::Broken,
            what,
            format!("{text}, but {RUST_VERSION} is needed"),
            Some("rustup toolchain install (in this folder: rust-toolchain.toml says which)"),
        ),
        None => Finding::new(
            Verdict::Broken,
            what,
            "rustc does not run",
            Some("install it with rustup"),
        ),
    }
}

/// Whether the version in "rustc 1.95.0 (...)" is `wanted` or later.
fn is_at_least(text: &str, wanted: &str) -> bool {
    let numbers = |version: &str| -> Vec<u32> {
        version
            .split(['.', '-'])
            .map_while(|part| part.parse().ok())
            .collect()
    };
    let found = text.split_whitespace().nth(1).unwrap_or_default();
    numbers(found) >= numbers(wanted)
}

fn linker() -> Finding {
    if cfg!(windows) {
        return Finding::fine("linker", "the one that rustc finds");
    }
    match first_line(Command::new("cc").arg("--version")) {
        Some(text) => Finding::fine("linker", text),
        None => Finding::new(
            Verdict::Broken,
            "linker",
            "cc does not run",
            Some("install a C compiler, for example: apt install build-essential"),
        ),
    }
}

fn mujoco(root: &Path) -> Result<Finding> {
    let what = "mujoco";
    let manifest = Manifest::read(root)?;
    let store = Store::new(root);
    let version = &manifest.mujoco.version;
    let place = format!("{version} in {}", store.lib().display());
    Ok(match store.installed(&manifest, Check::Hash) {
        Installed::Pinned => Finding::fine(what, place),
        Installed::Named(by) => Finding::new(
            Verdict::Fine,
            what,
            format!("{place}: not the build that mujoco.toml pins, but the one of {by}"),
            Some("for the pinned build remove the folder .mujoco, then: cargo xtask setup"),
        ),
        Installed::Missing => {
            let state = match setup::installed_version(&store, version) {
                Some(other) if other != *version => format!("{other}, but {version} is needed"),
                Some(_) => "not what setup installed".to_owned(),
                None => "not there yet".to_owned(),
            };
            let hint = format!("cargo xtask setup (the other commands also do it); {WITHOUT}");
            Finding::new(Verdict::Limited, what, state, Some(&hint))
        }
    })
}

fn pip() -> Finding {
    match setup::pip() {
        Some(pip) => Finding::fine("pip", pip.join(" ")),
        None => Finding::new(
            Verdict::Limited,
            "pip",
            "no Python with pip",
            Some("setup fetches MuJoCo with pip; for example: apt install python3-pip"),
        ),
    }
}

fn backends() -> Finding {
    Finding::fine(
        "backends",
        format!(
            "{DEFAULT_BACKEND} in every build; {} with --backend",
            OTHER_BACKENDS.join(", ")
        ),
    )
}

fn devices() -> Vec<Finding> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let features: Vec<&str> = cpu_features()
        .into_iter()
        .filter_map(|(name, present)| present.then_some(name))
        .collect();
    let features = if features.is_empty() {
        "no wide vector instructions".to_owned()
    } else {
        features.join(", ")
    };
    let mut findings = vec![Finding::fine(
        "cpu",
        format!(
            "{} {}, {cores} cores, {features}",
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
    )];
    findings.extend(gpus());
    findings
}

/// What the GPU backends need. Nothing of it is missed on a machine without a GPU, but somebody
/// who asks wants to know what is there.
#[cfg(target_os = "linux")]
fn gpus() -> [Finding; 2] {
    let path = std::env::var("PATH").unwrap_or_default() + ":/sbin:/usr/sbin";
    let libraries = Command::new("ldconfig")
        .arg("-p")
        .env("PATH", path)
        .output();
    let libraries = libraries.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let has = |name: &str| libraries.contains(name);
    [cuda(&has), vulkan(&has)]
}

/// Other systems bring their drivers with them.
#[cfg(not(target_os = "linux"))]
fn gpus() -> [Finding; 0] {
    []
}

#[cfg(target_os = "linux")]
fn cuda(has: &dyn Fn(&str) -> bool) -> Finding {
    let toolkit = std::env::var("CUDA_PATH").unwrap_or_else(|_| "/usr/local/cuda".to_owned());
    let needs = [
        (has("libcuda.so.1"), "the NVIDIA driver (libcuda.so.1)"),
        (
            has("libnvrtc.so"),
            "the run-time compiler of the CUDA toolkit (libnvrtc.so)",
        ),
        (
            Path::new(&toolkit).join("include").is_dir(),
            "the headers of the CUDA toolkit (CUDA_PATH/include)",
        ),
    ];
    let missing: Vec<_> = needs
        .iter()
        .filter(|need| !need.0)
        .map(|need| need.1)
        .collect();
    if missing.is_empty() {
        let gpu = first_line(Command::new("nvidia-smi").arg("-L"));
        return Finding::fine(
            "cuda",
            gpu.unwrap_or_else(|| "driver and toolkit".to_owned()),
        );
    }
    Finding::new(
        Verdict::Limited,
        "cuda",
        format!("without {}", missing.join(", without ")),
        Some("only --backend cuda needs it, and only where it runs, not where it is built"),
    )
}

#[cfg(target_os = "linux")]
fn vulkan(has: &dyn Fn(&str) -> bool) -> Finding {
    let hint = "only --backend wgpu and --backend vulkan need it; \
                for example: apt install libvulkan1 mesa-vulkan-drivers";
    if !has("libvulkan.so.1") {
        let state = "without the Vulkan loader (libvulkan.so.1)";
        return Finding::new(Verdict::Limited, "vulkan", state, Some(hint));
    }
    let folders = [
        "/etc/vulkan/icd.d",
        "/usr/share/vulkan/icd.d",
        "/usr/local/share/vulkan/icd.d",
    ];
    let mut drivers: Vec<String> = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flat_map(Iterator::flatten)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    drivers.sort();
    if drivers.is_empty() {
        return Finding::new(Verdict::Limited, "vulkan", "without a driver", Some(hint));
    }
    Finding::fine(
        "vulkan",
        format!(
            "{} (`cargo xtask devices --backend wgpu`)",
            drivers.join(", ")
        ),
    )
}

/// Vector instructions that matter to tensor code, and whether they are here.
#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<(&'static str, bool)> {
    vec![
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512dq", is_x86_feature_detected!("avx512dq")),
        ("avx512vl", is_x86_feature_detected!("avx512vl")),
        ("avx512_bf16", is_x86_feature_detected!("avx512bf16")),
    ]
}

/// Vector instructions that matter to tensor code, and whether they are here.
#[cfg(target_arch = "aarch64")]
fn cpu_features() -> Vec<(&'static str, bool)> {
    vec![("neon", std::arch::is_aarch64_feature_detected!("neon"))]
}

/// None are looked for on other processors.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_features() -> Vec<(&'static str, bool)> {
    Vec::new()
}

/// First line of what a command prints, if it succeeds.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output
        .status
        .success()
        .then(|| text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_at_least("rustc 1.95.0 (abc 2026-01-01)", "1.95"));
        assert!(is_at_least("rustc 1.100.0 (abc 2026-01-01)", "1.95"));
        assert!(is_at_least("rustc 1.96.0-nightly (abc)", "1.95.0"));
        assert!(!is_at_least("rustc 1.94.1 (abc 2026-01-01)", "1.95"));
        assert!(!is_at_least("nonsense", "1.95"));
    }

    #[test]
    fn a_workspace_without_mujoco_is_limited_and_not_broken() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::copy(root.join("mujoco.toml"), dir.path().join("mujoco.toml")).expect("copied");
        let finding = mujoco(dir.path()).expect("a good manifest");
        assert_eq!(finding.verdict, Verdict::Limited, "{finding:?}");
        assert!(finding.hint.is_some());
    }
}
