//! `cargo xtask test`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::check::{backend_feature, nearest};
use crate::failure::{Failure, Result};
use crate::program::{self, Physics};

/// Whole-program tests that print a summary line and read a folder named by a variable.
const SUMMARISED: &[&str] = &["parity", "modern", "baselines", "golden"];

/// Variables that name folders for the tests.
const FOLDERS: &[&str] = &[
    "RESCORE_FIXTURES",
    "RESCORE_FIXTURES_MODERN",
    "RESCORE_FIXTURES_BASELINES",
    "RESCORE_GOLDEN",
];

/// What the names on the command line stand for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Selection {
    /// Whole-program tests: files in `tests/tests`.
    programs: Vec<String>,
    /// Filters on the names of all tests.
    filters: Vec<String>,
}

/// The test that counts the launches of an update.
const LAUNCHES: &str = "launches";

/// Test programs that have tests which compute on another backend than the default.
const ON_BACKENDS: [&str; 6] = [
    "ndarray",
    "gpu_kernels",
    "gpu",
    "gpu_parity",
    "modern",
    LAUNCHES,
];

/// Runs the tests (those that compute on `backends`, the default aside, or else those that `names`
/// stand for, or else all that need no GPU) and returns the exit code of cargo.
///
/// # Errors
/// If something that is needed cannot be built or is missing.
pub fn run(root: &Path, names: &[String], backends: &[String]) -> Result<u8> {
    let known = whole_program_tests(root)?;
    let selection = select(names, &known);
    let physics = if selection.programs.iter().any(|name| name == "golden") {
        Physics::Needed
    } else {
        Physics::Wanted
    };
    let mujoco = program::prepare(root, physics)?;
    // Launches are counted on the GPU backend that every machine has a driver for.
    let counted = names.iter().any(|name| name == LAUNCHES);
    let software = ["wgpu".to_owned()];
    let backends = if counted && backends.is_empty() {
        &software
    } else {
        backends
    };
    let others: Vec<&str> = backends
        .iter()
        .filter_map(|name| backend_feature(name))
        .collect();
    let tests = Tests {
        root,
        features: program::features_of_clone(mujoco, &others),
        folders: folders()?,
    };
    if !others.is_empty() {
        let program = program::build_with(root, &tests.features)?;
        // One build has one shader language, and its tests go by one name.
        let name = |backend: &str| match backend {
            "ndarray" => "ndarray::",
            "cuda" => "cuda::",
            _ => "wgpu::",
        };
        let mut arguments = vec!["--include-ignored", "--test-threads", "1"];
        arguments.extend(others.into_iter().map(name));
        if counted {
            arguments.push("--nocapture");
            return tests.run(Some(&program), &["--test", LAUNCHES], &arguments);
        }
        let targets = ON_BACKENDS.map(|name| ["--test", name]);
        return tests.run(Some(&program), targets.as_flattened(), &arguments);
    }
    if names.is_empty() {
        let program = tests.build_program()?;
        return tests.run(Some(&program), &[], &[]);
    }
    let mut code = 0;
    if !selection.programs.is_empty() {
        let only_summarised = selection
            .programs
            .iter()
            .all(|name| SUMMARISED.contains(&name.as_str()));
        let program = if only_summarised {
            None
        } else {
            Some(tests.build_program()?)
        };
        let mut targets = Vec::new();
        for name in &selection.programs {
            targets.extend(["--test", name]);
        }
        let output: &[&str] = if only_summarised {
            &["--nocapture"]
        } else {
            &[]
        };
        code = tests.run(program.as_deref(), &targets, output)?;
    }
    if !selection.filters.is_empty() && code == 0 {
        let program = tests.build_program()?;
        let filters: Vec<&str> = selection.filters.iter().map(String::as_str).collect();
        tests.must_match(&filters, &known)?;
        code = tests.run(Some(&program), &[], &filters)?;
    }
    Ok(code)
}

/// One feature set and one profile for everything, so that nothing is built twice.
struct Tests<'a> {
    root: &'a Path,
    features: String,
    folders: Vec<(&'static str, PathBuf)>,
}

impl Tests<'_> {
    /// Builds `rescore` for the whole-program tests. All packages with their tests are named,
    /// because cargo unites the features of what is built together: the libraries built here are
    /// then the very ones that `cargo test --workspace` uses.
    fn build_program(&self) -> Result<PathBuf> {
        program::build(
            self.root,
            &[
                "build",
                "--release",
                "--workspace",
                "--bins",
                "--tests",
                "--features",
                &self.features,
            ],
        )
    }

    /// `targets` are options of cargo, `arguments` of the test programs.
    fn cargo_test(&self, targets: &[&str], arguments: &[&str]) -> Command {
        let mut command = program::cargo(self.root);
        command
            .args(["test", "--release", "--workspace"])
            .args(["--features", &self.features])
            .args(targets)
            .arg("--")
            .args(arguments)
            .envs(self.folders.iter().map(|(name, dir)| (name, dir)));
        if std::env::var_os("TMPDIR").is_none() {
            command.envs(temporary_folder().map(|dir| ("TMPDIR", dir)));
        }
        command
    }

    fn run(&self, program: Option<&Path>, targets: &[&str], arguments: &[&str]) -> Result<u8> {
        let mut command = self.cargo_test(targets, arguments);
        if let Some(program) = program {
            command.env("RESCORE_BIN", program);
        }
        let status = command
            .status()
            .map_err(|e| Failure::other(format!("cannot run cargo: {e}")))?;
        // cargo says 101 for a failed test; the codes of this program have 1 for it.
        Ok(u8::from(!status.success()))
    }

    /// Refuses filters that no test matches: running nothing must not look like success.
    fn must_match(&self, filters: &[&str], known: &[String]) -> Result<()> {
        let mut arguments = vec!["--list"];
        arguments.extend(filters);
        let output = self
            .cargo_test(&["--quiet"], &arguments)
            .output()
            .map_err(|e| Failure::other(format!("cannot run cargo: {e}")))?;
        let list = String::from_utf8_lossy(&output.stdout);
        let unmatched: Vec<&str> = filters
            .iter()
            .filter(|filter| {
                !list
                    .lines()
                    .filter_map(|line| line.strip_suffix(": test"))
                    .any(|test| test.contains(**filter))
            })
            .copied()
            .collect();
        let Some(first) = unmatched.first() else {
            return Ok(());
        };
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let mut failure = Failure::usage(format!(
            "no test has `{}` in its name",
            unmatched.join("`, `")
        ));
        if let Some(near) = nearest(first, &known) {
            failure = failure.hint(format!("did you mean `{near}`?"));
        }
        Err(failure.hint(format!("whole-program tests: {}", known.join(", "))))
    }
}

/// Where tests keep their files: in memory, where the system has a file system there with room. They
/// make thousands of files durable, for which a disk takes some ten milliseconds each.
fn temporary_folder() -> Option<&'static Path> {
    const ROOM: u64 = 4 << 30;
    let memory = Path::new("/dev/shm");
    let available = fs4::available_space(memory).ok()?;
    (available >= ROOM).then_some(memory)
}

/// The files in `tests/tests`, and the folders that are one program.
fn whole_program_tests(root: &Path) -> Result<Vec<String>> {
    let dir = root.join("tests/tests");
    let entries = std::fs::read_dir(&dir).map_err(|e| Failure::io("read", &dir, &e))?;
    let is_test = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "rs")
            || path.join("main.rs").is_file()
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(is_test)
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn select(names: &[String], whole_program_tests: &[String]) -> Selection {
    let (programs, filters) = names
        .iter()
        .cloned()
        .partition(|name| whole_program_tests.contains(name));
    Selection { programs, filters }
}

/// The folders the user names, made absolute: tests do not run where the user stands.
fn folders() -> Result<Vec<(&'static str, PathBuf)>> {
    let mut folders = Vec::new();
    for name in FOLDERS {
        if let Some(value) = std::env::var_os(name) {
            let dir = std::path::absolute(&value)
                .map_err(|e| Failure::usage(format!("{name} is not a path: {e}")))?;
            if !dir.is_dir() {
                return Err(Failure::usage(format!(
                    "{name} names {}, which is not a folder",
                    dir.display()
                )));
            }
            folders.push((*name, dir));
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_select_them_and_others_are_filters() {
        let known = ["golden", "parity"].map(str::to_owned);
        let names = ["parity", "ring"].map(str::to_owned);
        assert_eq!(
            select(&names, &known),
            Selection {
                programs: vec!["parity".to_owned()],
                filters: vec!["ring".to_owned()],
            }
        );
    }

    #[test]
    fn the_whole_program_tests_are_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let names = whole_program_tests(&root).expect("the folder exists");
        assert!(names.contains(&"architecture".to_owned()), "{names:?}");
    }
}
