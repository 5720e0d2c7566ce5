//! The packages depend on each other only in the direction that ARCHITECTURE.md draws, and
//! the names that `xtask` knows without linking anything are the real ones.

#[path = "../../xtask/src/names.rs"]
mod names;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory as _;
use rescore_tests::sources::{mentioned, sources};
use serde::Deserialize;

/// Who may know whom. A package that is not listed may not exist; development dependencies may be
/// what they like.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("rescore-noise", &[]),
    ("rescore-policy", &["rescore-noise"]),
    ("rescore-envs", &[]),
    ("rescore-kernels", &["rescore-noise"]),
    ("rescore-nn", &["rescore-kernels"]),
    ("rescore-diffusion", &["rescore-nn", "rescore-kernels"]),
    ("rescore-critics", &["rescore-nn", "rescore-kernels"]),
    (
        "rescore-objectives",
        &[
            "rescore-diffusion",
            "rescore-critics",
            "rescore-nn",
            "rescore-kernels",
        ],
    ),
    (
        "rescore-agents",
        &[
            "rescore-objectives",
            "rescore-diffusion",
            "rescore-critics",
            "rescore-nn",
            "rescore-kernels",
        ],
    ),
    ("rescore-store", &[]),
    ("rescore-report", &["rescore-store", "rescore-noise"]),
    (
        "rescore-runner",
        &[
            "rescore-agents",
            "rescore-critics",
            "rescore-nn",
            "rescore-kernels",
            "rescore-envs",
            "rescore-policy",
            "rescore-store",
        ],
    ),
    (
        "rescore",
        &[
            "rescore-runner",
            "rescore-report",
            "rescore-store",
            "rescore-agents",
            "rescore-objectives",
            "rescore-critics",
            "rescore-nn",
            "rescore-kernels",
            "rescore-envs",
        ],
    ),
    (
        "rescore-tests",
        &[
            "rescore-agents",
            "rescore-objectives",
            "rescore-diffusion",
            "rescore-critics",
            "rescore-nn",
            "rescore-kernels",
            "rescore-envs",
            "rescore-policy",
        ],
    ),
    ("rescore-unify", &[]),
    ("xtask", &[]),
];

/// Packages that are usable, and built, without a tensor library.
const KNOW_NO_TENSORS: [&str; 5] = [
    "rescore-envs",
    "rescore-noise",
    "rescore-policy",
    "rescore-store",
    "rescore-report",
];

/// What `cargo metadata` says, as far as it is of interest.
#[derive(Debug, Clone, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Clone, Deserialize)]
struct Package {
    name: String,
    /// Registries that it may go to; `None` for any.
    publish: Option<Vec<String>>,
    dependencies: Vec<Dependency>,
    features: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Clone, Deserialize)]
struct Dependency {
    name: String,
    /// `None` for an ordinary dependency, else `dev` or `build`.
    kind: Option<String>,
    optional: bool,
    /// The versions that will do.
    req: String,
    features: BTreeSet<String>,
    /// The platform that it is for, if not for all.
    target: Option<String>,
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
            if KNOW_NO_TENSORS.contains(&name) && to.starts_with("burn") {
                found.push(format!("{name} -> {to}: it knows no tensors"));
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
    for (name, allowed) in MAY_DEPEND_ON {
        let package = metadata.packages.iter().find(|p| p.name == *name);
        let real: BTreeSet<&str> = package
            .into_iter()
            .flat_map(|package| &package.dependencies)
            .filter(|dependency| dependency.kind.is_none())
            .map(|dependency| dependency.name.as_str())
            .collect();
        for to in *allowed {
            assert!(real.contains(to), "{name} -> {to} is drawn for nothing");
        }
    }
}

/// The real metadata with one more dependency, or package.
fn with_dependency(from: &str, to: &str, kind: Option<&str>) -> Metadata {
    let mut metadata = metadata();
    let dependency = Dependency {
        name: to.to_owned(),
        kind: kind.map(str::to_owned),
        optional: false,
        req: "*".to_owned(),
        features: BTreeSet::new(),
        target: None,
    };
    match metadata.packages.iter_mut().find(|p| p.name == from) {
        Some(package) => package.dependencies.push(dependency),
        None => metadata.packages.push(Package {
            name: from.to_owned(),
            publish: None,
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
        ("rescore-nn", "rescore-critics"),
        ("rescore-diffusion", "rescore-critics"),
        ("rescore-agents", "rescore-envs"),
        ("rescore-agents", "rescore-runner"),
        ("rescore-runner", "rescore"),
        ("rescore-runner", "rescore-report"),
        ("rescore-store", "rescore-agents"),
        ("rescore-report", "rescore-runner"),
        ("xtask", "rescore"),
        ("rescore-policy", "rescore-kernels"),
        ("rescore-policy", "burn"),
        ("rescore-noise", "burn-flex"),
        ("rescore-envs", "burn"),
        ("rescore-store", "burn"),
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

/// Folders of `crates/` in which concrete tensor backends are named.
const NAME_BACKENDS: [&str; 2] = ["kernels", "cli"];
/// What Burn calls its backends and their devices.
const BACKENDS: [&str; 9] = [
    "Flex",
    "FlexDevice",
    "NdArray",
    "NdArrayDevice",
    "Cuda",
    "CudaDevice",
    "Wgpu",
    "WgpuDevice",
    "LibTorch",
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")
}

#[test]
fn tensor_code_is_generic_over_the_backend() {
    let mut named = Vec::new();
    for entry in std::fs::read_dir(crates()).expect("the folder exists") {
        let folder = entry.expect("an entry").path();
        if NAME_BACKENDS.iter().any(|name| folder.ends_with(name)) {
            continue;
        }
        for source in sources(&folder.join("src")) {
            let path = folder.join("src").join(&source.path);
            let found = mentioned(&source.text, &BACKENDS);
            named.extend(
                found
                    .iter()
                    .map(|name| format!("{}: {name}", path.display())),
            );
        }
    }
    assert_eq!(named, Vec::<String>::new());
    let table = sources(&crates().join("cli/src"));
    let found = table
        .iter()
        .any(|source| !mentioned(&source.text, &BACKENDS).is_empty());
    assert!(found, "the table of backends names none");
}

/// Whether `package` is a member of the workspace.
fn is_ours(package: &str) -> bool {
    package == "rescore" || package.starts_with("rescore-")
}

/// What is missing in `rescore-unify`, so that a command for one package would compile Burn with
/// other features than a command for all of them.
fn not_unified(metadata: &Metadata) -> Vec<String> {
    let unify = metadata.packages.iter().find(|p| p.name == "rescore-unify");
    let unify = unify.expect("it is a member");
    let mut missing = BTreeSet::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            let name = &dependency.name;
            let everywhere = !dependency.optional && dependency.target.is_none();
            if is_ours(name) || !everywhere {
                continue;
            }
            let unified = unify.dependencies.iter().find(|d| d.name == *name);
            if unified.is_none_or(|d| !d.features.is_superset(&dependency.features)) {
                missing.insert(format!("{name} with {:?}", dependency.features));
            }
        }
    }
    missing.into_iter().collect()
}

#[test]
fn one_package_is_built_with_the_features_of_all() {
    let metadata = metadata();
    assert_eq!(not_unified(&metadata), Vec::<String>::new());
    let more = with_dependency("rescore-agents", "rustfft", Some("dev"));
    assert_eq!(not_unified(&more), ["rustfft with {}"]);
    for package in &metadata.packages {
        let on = |name: &str| package.dependencies.iter().any(|d| d.name == name);
        assert!(
            !on("burn") || on("rescore-unify") || package.name == "rescore-unify",
            "{} needs the development dependency rescore-unify",
            package.name
        );
        let features = |name: &str| -> BTreeSet<String> {
            let all = package.dependencies.iter().filter(|d| d.name == name);
            all.flat_map(|d| d.features.clone()).collect()
        };
        let kernels = "rescore-kernels";
        let processor = ["flex", "ndarray"].map(str::to_owned).into();
        assert!(
            !on(kernels) || features(kernels).is_superset(&processor),
            "{} needs the development dependency {kernels} with {processor:?}",
            package.name
        );
    }
}

/// Paths of files that `folder` and the folders in it compile in from outside of the package, which
/// is `depth` folders above.
fn compiled_in_from_outside(folder: &Path, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for entry in folder.read_dir().expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(compiled_in_from_outside(&path, depth + 1));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a readable source");
            let included = text.split("include_").skip(1);
            let texts = included.filter_map(|rest| rest.split('"').nth(1));
            let outside = texts.filter(|text| text.matches("../").count() > depth);
            found.extend(outside.map(|text| format!("{}: {text}", path.display())));
        }
    }
    found
}

/// The first Rust block of a README.
fn example(readme: &str) -> Option<&str> {
    let (_, block) = readme.split_once("```rust")?;
    let (_, code) = block.split_once('\n')?;
    Some(code.split_once("```")?.0)
}

/// A package that is published has its texts, compiles nothing in from outside, and knows ours by
/// version. The example of its README is one that is tested.
#[test]
fn what_is_published_can_be() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for package in metadata().packages {
        if package.publish.is_some() {
            continue;
        }
        let name = package.name.strip_prefix("rescore-").unwrap_or("cli");
        let folder = root.join("crates").join(name);
        let text = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(text(file).len() > 100, "{name}: {file} is missing");
        }
        let outside = compiled_in_from_outside(&folder.join("src"), 1);
        assert_eq!(outside, Vec::<String>::new());
        let (readme, library) = (text("README.md"), text("src/lib.rs"));
        let code = example(&readme).unwrap_or_else(|| panic!("{name}: the README has no example"));
        let commented = code.lines().map(|line| format!("//! {line}"));
        let commented: Vec<_> = commented.map(|line| line.trim_end().to_owned()).collect();
        let commented = commented.join("\n");
        assert!(
            library.contains(&commented) || library.contains("include_str!(\"../README.md\")"),
            "{name}: the example of the README is not that of src/lib.rs"
        );
        for dependency in &package.dependencies {
            assert!(
                !is_ours(&dependency.name)
                    || dependency.name == "rescore-unify"
                    || dependency.req != "*",
                "{} -> {} needs a version",
                package.name,
                dependency.name
            );
        }
    }
}

/// The gate runs the README's commands; an example that is none of them is run by nobody.
#[test]
fn every_example_is_a_command_of_the_readme() {
    let readme = crates().join("../README.md");
    let readme = std::fs::read_to_string(readme).expect("a text");
    let blocks = readme.split("```sh\n").skip(1);
    let commands: Vec<&str> = blocks
        .filter_map(|block| block.split("```").next())
        .flat_map(str::lines)
        .collect();
    let mut names = BTreeSet::new();
    for package in crates().read_dir().expect("the folder exists").flatten() {
        let examples = package.path().join("examples").read_dir();
        for example in examples.into_iter().flatten().flatten() {
            let path = example.path();
            let name = path.file_stem().and_then(std::ffi::OsStr::to_str);
            let name = name.expect("a name of letters").to_owned();
            let words = ["example", &name];
            let is_run = |command: &&str| {
                let command: Vec<&str> = command.split_whitespace().collect();
                command.windows(2).any(|pair| pair == words)
            };
            assert!(commands.iter().any(is_run), "{name}");
            // Their programs lie in one folder.
            assert!(names.insert(name.clone()), "two examples called {name}");
        }
    }
    assert!(names.len() > 1, "{names:?}");
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
    let real = rescore_agents::Algorithm::all();
    let real = real.iter().map(|algo| algo.name);
    assert_eq!(sorted(names::ALGOS.iter().copied()), sorted(real));
}

#[test]
fn xtask_knows_the_commands_that_it_hands_on() {
    let program = rescore::commands::Cli::command();
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
fn xtask_knows_the_backends_that_the_program_can_be_built_with() {
    let metadata = metadata();
    let program = metadata
        .packages
        .iter()
        .find(|package| package.name == "rescore")
        .expect("the program exists");
    let real = program
        .features
        .keys()
        .map(String::as_str)
        .filter(|feature| !["default", "mujoco", "render", names::DEVELOPER].contains(feature));
    let known = names::backends();
    assert_eq!(sorted(known), sorted(real));
}
