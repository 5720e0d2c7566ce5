//! The packages depend on each other only in the direction that ARCHITECTURE.md draws, and the
//! names that `xtask` knows without linking anything are the real ones.

#[path = "../../xtask/src/names.rs"]
mod names;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory as _;
use serde::Deserialize;

/// Who may know whom. A package that is not listed may not exist; development dependencies may be
/// what they like.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("rescore-noise", &[]),
    ("rescore-policy", &["rescore-noise"]),
    ("rescore-envs", &[]),
    ("rescore-kernels", &["rescore-noise"]),
    ("rescore-diffusion", &["rescore-kernels"]),
    ("rescore-critics", &["rescore-kernels"]),
    (
        "rescore-objectives",
        &["rescore-diffusion", "rescore-critics", "rescore-kernels"],
    ),
    (
        "rescore-agents",
        &[
            "rescore-objectives",
            "rescore-diffusion",
            "rescore-critics",
            "rescore-kernels",
        ],
    ),
    (
        "rescore-runner",
        &[
            "rescore-agents",
            "rescore-objectives",
            "rescore-diffusion",
            "rescore-critics",
            "rescore-kernels",
            "rescore-envs",
        ],
    ),
    (
        "rescore-tests",
        &[
            "rescore-runner",
            "rescore-agents",
            "rescore-objectives",
            "rescore-diffusion",
            "rescore-critics",
            "rescore-kernels",
            "rescore-envs",
            "rescore-policy",
        ],
    ),
    ("xtask", &[]),
];

/// What knows no tensor library.
const WITHOUT_BURN: &[&str] = &["rescore-envs", "rescore-noise", "rescore-policy"];

/// What `cargo metadata` says, as far as it is of interest.
#[derive(Debug, Clone, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Clone, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
    features: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Clone, Deserialize)]
struct Dependency {
    name: String,
    /// `None` for an ordinary dependency, else `dev` or `build`.
    kind: Option<String>,
}

fn metadata() -> Metadata {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .output()
        .expect("cargo runs where its tests run");
    assert!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo's documented format")
}

/// Every dependency that the design does not draw, as one line each.
fn violations(metadata: &Metadata) -> Vec<String> {
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let mut found = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(known, _)| *known == name) else {
            found.push(format!("{name} has no place in the design"));
            continue;
        };
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            if dependency.kind.as_deref() == Some("dev") {
                continue;
            }
            if ours.contains(to) && !allowed.contains(&to) {
                found.push(format!("{name} -> {to} is not an arrow of the design"));
            }
            if WITHOUT_BURN.contains(&name) && to.starts_with("burn") {
                found.push(format!("{name} -> {to}: this package knows no Burn"));
            }
        }
    }
    found
}

#[test]
fn packages_depend_on_each_other_only_as_designed() {
    let metadata = metadata();
    assert_eq!(violations(&metadata), Vec::<String>::new());
    let names: BTreeSet<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let designed: BTreeSet<&str> = MAY_DEPEND_ON.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, designed);
}

/// The real metadata with one more dependency, or package.
fn with_dependency(from: &str, to: &str, kind: Option<&str>) -> Metadata {
    let mut metadata = metadata();
    let dependency = Dependency {
        name: to.to_owned(),
        kind: kind.map(str::to_owned),
    };
    match metadata.packages.iter_mut().find(|p| p.name == from) {
        Some(package) => package.dependencies.push(dependency),
        None => metadata.packages.push(Package {
            name: from.to_owned(),
            dependencies: vec![dependency],
            features: serde_json::Map::new(),
        }),
    }
    metadata
}

#[test]
fn an_arrow_against_the_design_is_named() {
    for (from, to) in [
        ("rescore-kernels", "rescore-diffusion"),
        ("rescore-diffusion", "rescore-critics"),
        ("rescore-agents", "rescore-envs"),
        ("rescore-agents", "rescore-runner"),
        ("xtask", "rescore-runner"),
        ("rescore-policy", "rescore-kernels"),
        ("rescore-policy", "burn"),
        ("rescore-noise", "burn-flex"),
        ("rescore-envs", "burn"),
        ("rescore-envs", "burn-flex"),
    ] {
        let found = violations(&with_dependency(from, to, None));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(&format!("{from} -> {to}")),
            "{found:?}"
        );
    }
    let found = violations(&with_dependency("rescore-extra", "serde", None));
    assert_eq!(found, ["rescore-extra has no place in the design"]);
}

#[test]
fn build_dependencies_count_and_development_dependencies_do_not() {
    let arrow = |kind| violations(&with_dependency("rescore-kernels", "rescore-agents", kind));
    assert_eq!(arrow(Some("build")).len(), 1);
    assert_eq!(arrow(Some("dev")), Vec::<String>::new());
}

fn sorted<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn xtask_knows_the_tasks_and_which_need_mujoco() {
    for (mujoco, known) in [(false, names::BUILTIN_ENVS), (true, names::MUJOCO_ENVS)] {
        let tasks = rescore_envs::list();
        let real = tasks
            .iter()
            .filter(|entry| entry.needs_mujoco == mujoco)
            .map(|entry| entry.name);
        assert_eq!(sorted(known.iter().copied()), sorted(real));
    }
    assert!(
        rescore_envs::find(names::DEFAULT_ENV).is_ok_and(|entry| entry.needs_mujoco),
        "xtask takes the default task for one of MuJoCo's"
    );
}

#[test]
fn xtask_knows_the_algorithms() {
    let real = rescore_agents::Algorithm::ALL
        .iter()
        .map(|algo| algo.name());
    assert_eq!(sorted(names::ALGOS.iter().copied()), sorted(real));
}

#[test]
fn xtask_knows_the_commands_that_it_hands_on() {
    let program = rescore_runner::cli::Cli::command();
    let about = |command: &clap::Command| command.get_about().map(ToString::to_string);
    let real: Vec<(String, String)> = program
        .get_subcommands()
        .map(|command| {
            let about = about(command).unwrap_or_default();
            (command.get_name().to_owned(), about)
        })
        .collect();
    let known: Vec<(String, String)> = names::COMMANDS
        .iter()
        .map(|(name, about)| ((*name).to_owned(), (*about).to_owned()))
        .collect();
    assert_eq!(known, real);
}

#[test]
fn xtask_knows_the_backends_that_the_runner_can_be_built_with() {
    let metadata = metadata();
    let runner = metadata
        .packages
        .iter()
        .find(|package| package.name == "rescore-runner")
        .expect("the runner exists");
    let real = runner
        .features
        .keys()
        .map(String::as_str)
        .filter(|feature| !["default", "mujoco", "render"].contains(feature));
    let known = [names::CPU_BACKENDS, names::GPU_BACKENDS].concat();
    assert_eq!(sorted(known), sorted(real));
}
