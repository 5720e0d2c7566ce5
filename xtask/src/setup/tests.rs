//! Setup against a small made-up library and models, without a network.

use std::cell::Cell;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::fetch::Attempt;
use super::manifest::Platform;
use super::{Check, Failure, Manifest, Missing, Named, Route, Store, obtain};

const MODEL: &[u8] = b"<mujoco/>";

/// Bytes as in a library that carries its versioned name.
fn library(version: &str) -> Vec<u8> {
    format!("\x7fELF...libmujoco.so.{version}\0...").into_bytes()
}

fn sha256(bytes: &[u8]) -> String {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("writable");
    super::files::sha256_file(file.path()).expect("readable")
}

fn manifest() -> Manifest {
    let text = format!(
        r#"
        [mujoco]
        version = "3.17.0"
        release_url = "unused"
        platform = []
        [models]
        version = "1.0.0"
        wheel = "unused"
        wheel_sha256 = "unused"
        wheel_folder = "gymnasium/assets"
        file_url = "unused"
        sha256 = {{ "a.xml" = "{hash}", "b.xml" = "{hash}" }}
        "#,
        hash = sha256(MODEL)
    );
    let mut manifest: Manifest = toml::from_str(&text).expect("a good manifest");
    // This machine's, whichever it is, with the file names of Linux.
    manifest.mujoco.platform.push(Platform {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        pip_tag: "unused".to_owned(),
        wheel: "unused".to_owned(),
        wheel_sha256: "unused".to_owned(),
        library: "libmujoco.so.3.17.0".to_owned(),
        link_name: "libmujoco.so".to_owned(),
        library_sha256: sha256(&library("3.17.0")),
    });
    manifest
}

/// A workspace with its store.
struct Workspace {
    dir: TempDir,
    store: Store,
    manifest: Manifest,
}

impl Workspace {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = Store::new(dir.path());
        Self {
            dir,
            store,
            manifest: manifest(),
        }
    }

    fn folder(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let dir = self.dir.path().join(name);
        for (file, bytes) in files {
            let path = dir.join(file);
            fs::create_dir_all(path.parent().expect("inside dir")).expect("writable");
            fs::write(path, bytes).expect("writable");
        }
        dir
    }

    fn release(&self, version: &str) -> PathBuf {
        self.folder(
            &format!("mujoco-{version}"),
            &[
                (&format!("lib/libmujoco.so.{version}"), &library(version)),
                ("assets/a.xml", MODEL),
                ("assets/b.xml", MODEL),
            ],
        )
    }

    fn setup(&self, from: Option<&Path>, routes: &[&dyn Route]) -> Result<(), Failure> {
        let named = from.map(|dir| Named {
            by: "--from",
            dir: dir.to_owned(),
        });
        obtain(
            &self.store,
            &self.manifest,
            named.as_ref(),
            Check::Hash,
            routes,
        )
    }

    fn installed(&self, file: &str) -> Vec<u8> {
        fs::read(self.dir.path().join(".mujoco").join(file)).expect("installed")
    }

    fn is_whole(&self) -> bool {
        [Check::Stamp, Check::Hash]
            .iter()
            .all(|check| self.store.missing(&self.manifest, *check).is_nothing())
    }
}

/// Delivers good files, and counts how often it was asked.
#[derive(Default)]
struct Courier {
    libraries: Cell<usize>,
    models: Cell<usize>,
}

impl Route for Courier {
    fn name(&self) -> &'static str {
        "courier"
    }

    fn library(&self, _: &Manifest, into: &Path) -> Attempt<()> {
        self.libraries.set(self.libraries.get() + 1);
        fs::write(into.join("libmujoco.so.3.17.0"), library("3.17.0")).map_err(|e| e.to_string())
    }

    fn models(&self, _: &Manifest, names: &[String], into: &Path) -> Attempt<()> {
        self.models.set(self.models.get() + names.len());
        for name in names {
            fs::write(into.join(name), MODEL).map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

/// Delivers nothing.
struct NoNetwork;

impl Route for NoNetwork {
    fn name(&self) -> &'static str {
        "raven"
    }

    fn library(&self, _: &Manifest, _: &Path) -> Attempt<()> {
        Err("the line is dead".to_owned())
    }

    fn models(&self, _: &Manifest, _: &[String], _: &Path) -> Attempt<()> {
        Err("the line is dead".to_owned())
    }
}

#[test]
fn what_is_missing_is_fetched_once() {
    let workspace = Workspace::new();
    let courier = Courier::default();
    for _ in 0..3 {
        workspace
            .setup(None, &[&NoNetwork, &courier])
            .expect("fetched");
        assert!(workspace.is_whole());
    }
    assert_eq!((courier.libraries.get(), courier.models.get()), (1, 2));
    assert_eq!(workspace.installed("lib/libmujoco.so"), library("3.17.0"));
    assert_eq!(workspace.installed("assets/b.xml"), MODEL);
    let platform = workspace.manifest.this_platform().expect("this machine's");
    assert!(workspace.store.is_pinned_build(platform));
}

#[test]
fn a_corrupted_file_is_detected_and_fetched_again() {
    for (file, fetched) in [
        ("lib/libmujoco.so.3.17.0", (2, 2)),
        ("assets/a.xml", (1, 3)),
    ] {
        let workspace = Workspace::new();
        let courier = Courier::default();
        workspace.setup(None, &[&courier]).expect("fetched");
        let good = workspace.installed(file);
        let mut bad = good.clone();
        bad[0] ^= 1;
        fs::write(workspace.dir.path().join(".mujoco").join(file), &bad).expect("writable");
        assert!(!workspace.is_whole(), "{file}");

        workspace.setup(None, &[&courier]).expect("fetched again");
        assert_eq!(workspace.installed(file), good);
        assert_eq!((courier.libraries.get(), courier.models.get()), fetched);
        assert!(workspace.is_whole(), "{file}");
    }
}

#[test]
fn a_corrupted_library_that_cannot_be_fetched_again_is_not_recorded_as_good() {
    let workspace = Workspace::new();
    workspace
        .setup(None, &[&Courier::default()])
        .expect("fetched");
    let path = workspace.store.lib().join("libmujoco.so.3.17.0");
    fs::write(path, b"libmujoco.so.3.17.0 and garbage").expect("writable");
    for _ in 0..2 {
        let failure = workspace.setup(None, &[&NoNetwork]).expect_err("cannot");
        assert!(failure.message.contains("by raven: the line is dead"));
    }
    assert!(!workspace.is_whole());
}

#[test]
fn a_lost_stamp_costs_no_fetching() {
    let workspace = Workspace::new();
    workspace
        .setup(None, &[&Courier::default()])
        .expect("fetched");
    for damage in ["", "not JSON"] {
        fs::write(workspace.dir.path().join(".mujoco/stamp.json"), damage).expect("writable");
        workspace.setup(None, &[&NoNetwork]).expect("all is there");
        assert!(workspace.is_whole());
    }
}

#[test]
fn leftovers_of_a_killed_setup_are_removed() {
    let workspace = Workspace::new();
    let leftover = workspace.folder(".mujoco/tmp-killed", &[("half.whl", b"PK")]);
    workspace
        .setup(None, &[&Courier::default()])
        .expect("fetched");
    assert!(!leftover.exists());
}

#[test]
fn two_at_once_fetch_once_and_both_succeed() {
    let workspace = Workspace::new();
    let (store, manifest) = (&workspace.store, &workspace.manifest);
    let fetched: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let courier = Courier::default();
                    obtain(store, manifest, None, Check::Stamp, &[&courier]).expect("fetched");
                    courier.libraries.get()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .sum()
    });
    assert_eq!(fetched, 1);
    assert!(workspace.is_whole());
}

#[test]
fn a_release_is_taken_from_a_folder_without_fetching() {
    let workspace = Workspace::new();
    let release = workspace.release("3.17.0");
    workspace.setup(Some(&release), &[]).expect("complete");
    assert!(workspace.is_whole());
}

#[test]
fn a_folder_of_another_version_is_refused_with_both_versions_named() {
    let workspace = Workspace::new();
    let release = workspace.release("3.2.6");
    let refuse = || {
        let failure = workspace.setup(Some(&release), &[]).expect_err("wrong");
        assert_eq!(failure.code, 2);
        assert!(failure.message.contains("is MuJoCo 3.2.6"), "{failure}");
        assert!(failure.message.contains("needs 3.17.0"), "{failure}");
    };
    refuse();
    // Also where nothing is missing.
    workspace
        .setup(None, &[&Courier::default()])
        .expect("fetched");
    refuse();
}

#[test]
fn a_folder_that_is_absent_or_useless_is_refused() {
    let workspace = Workspace::new();
    let empty = workspace.folder("empty", &[("readme", b"")]);
    for dir in [empty, "/no/such/folder".into()] {
        let failure = workspace.setup(Some(&dir), &[]).expect_err("useless");
        assert_eq!(failure.code, 2);
        assert!(failure.message.contains(&*dir.to_string_lossy()));
    }
}

#[test]
fn another_build_of_the_version_replaces_the_installed_one_and_is_watched_too() {
    let workspace = Workspace::new();
    workspace
        .setup(None, &[&Courier::default()])
        .expect("fetched");
    let mut build = library("3.17.0");
    build.extend(b"built elsewhere");
    let dir = workspace.folder("mine", &[("libmujoco.so", &build)]);
    for _ in 0..2 {
        workspace.setup(Some(&dir), &[]).expect("the right version");
        assert_eq!(workspace.installed("lib/libmujoco.so.3.17.0"), build);
        assert!(workspace.is_whole());
    }
    // It stays without being named again, until it changes.
    workspace.setup(None, &[]).expect("still there");
    assert_eq!(workspace.installed("lib/libmujoco.so"), build);
    let path = workspace.store.lib().join("libmujoco.so.3.17.0");
    fs::write(path, &build[..20]).expect("writable");
    assert!(!workspace.is_whole());
}

#[test]
fn wheels_in_a_folder_are_opened() {
    let workspace = Workspace::new();
    let dir = workspace.folder("wheels", &[]);
    fs::create_dir_all(&dir).expect("writable");
    let write = |name: &str, files: &[(&str, &[u8])]| {
        let file = fs::File::create(dir.join(name)).expect("writable");
        let mut zip = zip::ZipWriter::new(file);
        for (path, bytes) in files {
            let options = zip::write::SimpleFileOptions::default();
            zip.start_file(*path, options).expect("writable");
            zip.write_all(bytes).expect("writable");
        }
        zip.finish().expect("writable");
    };
    write(
        "mujoco.whl",
        &[("mujoco/libmujoco.so.3.17.0", &library("3.17.0"))],
    );
    write(
        "gymnasium.whl",
        &[
            ("gymnasium/assets/a.xml", MODEL),
            ("gymnasium/assets/b.xml", MODEL),
        ],
    );
    workspace.setup(Some(&dir), &[]).expect("complete");
    assert!(workspace.is_whole());

    let other = Workspace::new();
    let dir = other.folder("wheels", &[("mujoco.whl", b"cut off")]);
    let failure = other.setup(Some(&dir), &[]).expect_err("damaged");
    assert!(failure.message.contains("mujoco.whl is not a whole wheel"));
}

#[test]
fn a_model_with_another_content_is_not_installed() {
    let workspace = Workspace::new();
    let release = workspace.release("3.17.0");
    fs::write(release.join("assets/a.xml"), b"<other/>").expect("writable");
    let failure = workspace
        .setup(Some(&release), &[])
        .expect_err("incomplete");
    assert!(failure.message.contains("the task models"), "{failure}");
    let missing = workspace.store.missing(&workspace.manifest, Check::Hash);
    assert_eq!(
        missing,
        Missing {
            library: false,
            models: vec!["a.xml".to_owned()],
        }
    );
}

#[test]
fn a_machine_that_cannot_obtain_it_is_told_the_ways_by_hand_and_what_works_without() {
    let workspace = Workspace::new();
    let failure = workspace.setup(None, &[&NoNetwork]).expect_err("cannot");
    let text = failure.to_string();
    for part in [
        "the MuJoCo 3.17.0 library and the task models",
        "by raven: the line is dead",
        "pip download",
        "cargo xtask setup --from wheels",
        "cargo xtask setup --from mujoco-3.17.0",
        "--env Pendulum-v1",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn the_manifest_of_the_workspace_belongs_to_the_pinned_bindings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifest = Manifest::read(&root).expect("a good manifest");
    let lock = fs::read_to_string(root.join("Cargo.lock")).expect("readable");
    let wanted = format!("+mj-{}\"", manifest.mujoco.version);
    assert!(
        lock.contains(&wanted),
        "Cargo.lock has no mujoco-rs {wanted}"
    );
    let hashes = manifest
        .mujoco
        .platform
        .iter()
        .flat_map(|p| [&p.wheel_sha256, &p.library_sha256])
        .chain(manifest.models.sha256.values());
    for hash in hashes {
        assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
    }
}
