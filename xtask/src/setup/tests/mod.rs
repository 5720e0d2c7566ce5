//! Setup against a small made-up library and models, without a network.

mod fetched;
mod named;

use std::cell::Cell;
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::fetch::{Attempt, Curl, Pin};
use super::manifest::{Platform, Wheel};
use super::{Check, Effort, Failure, Installed, LINK_DIR, Manifest, Named, Route, Store, obtain};

const LIBRARY: &str = "mujoco/libmujoco.so.3.17.0";
const PARTS: &str = "mujoco-3.17.0.dist-info/licenses/LICENSES_THIRD_PARTY.md";

/// Bytes as in a library that carries its versioned name.
fn library(version: &str) -> Vec<u8> {
    format!("\x7fELF...libmujoco.so.{version}\0...").into_bytes()
}

/// A library of the right version that nobody has pinned.
fn other_build() -> Vec<u8> {
    [library("3.17.0"), b"built elsewhere".to_vec()].concat()
}

fn sha256(bytes: &[u8]) -> String {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("writable");
    super::files::sha256_file(file.path()).expect("readable")
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in files {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(*path, options).expect("writable");
        zip.write_all(bytes).expect("writable");
    }
    zip.finish().expect("writable").into_inner()
}

/// The wheel that is pinned.
fn wheel() -> Vec<u8> {
    zip(&[(LIBRARY, &library("3.17.0")), (PARTS, b"parts")])
}

/// A manifest that pins this wheel and a library in it for this machine, whichever it is.
fn pinning(wheel: &[u8], library: &[u8]) -> Manifest {
    let text = "[mujoco]\nversion = \"3.17.0\"\nplatform = []";
    let mut manifest: Manifest = toml::from_str(text).expect("a good manifest");
    manifest.mujoco.platform.push(Platform {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        note: None,
        wheel: Some(Wheel {
            file: "unused".to_owned(),
            pip_tag: "some_tag".to_owned(),
            sha256: sha256(wheel),
            library_sha256: sha256(library),
        }),
        archive: None,
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
            manifest: pinning(&wheel(), &library("3.17.0")),
        }
    }

    fn folder(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir).expect("writable");
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
                ("THIRD_PARTY_NOTICES", b"parts"),
            ],
        )
    }

    fn with_effort(
        &self,
        effort: Effort,
        named: Option<&Named>,
        routes: &[&dyn Route],
    ) -> Result<(), Failure> {
        let how = (Check::Hash, effort);
        obtain(&self.store, &self.manifest, named, how, routes)
    }

    fn setup(&self, from: Option<&Path>, routes: &[&dyn Route]) -> Result<(), Failure> {
        let named = from.map(|dir| Named {
            by: "--from",
            dir: dir.to_owned(),
        });
        self.with_effort(Effort::Full, named.as_ref(), routes)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(".mujoco").join(file)
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).expect("installed")
    }

    fn installed(&self) -> Installed {
        let [quick, thorough] =
            [Check::Stamp, Check::Hash].map(|check| self.store.installed(&self.manifest, check));
        assert_eq!(quick, thorough);
        thorough
    }
}

/// Delivers a file as what was pinned, and counts how often it was asked.
struct Courier {
    name: &'static str,
    file: Vec<u8>,
    asked: Cell<usize>,
}

impl Courier {
    fn of(file: Vec<u8>) -> Self {
        Self {
            name: "some.whl",
            file,
            asked: Cell::new(0),
        }
    }

    fn honest() -> Self {
        Self::of(wheel())
    }
}

impl Route for Courier {
    fn name(&self) -> &'static str {
        "courier"
    }

    fn pin<'a>(&self, platform: &'a Platform) -> Attempt<Pin<'a>> {
        let wheel = platform.wheel.as_ref().ok_or("no wheel")?;
        Ok(Pin {
            sha256: &wheel.sha256,
            library_sha256: &wheel.library_sha256,
        })
    }

    fn download(&self, _: &str, _: &Platform, into: &Path) -> Attempt<PathBuf> {
        self.asked.set(self.asked.get() + 1);
        let path = into.join(self.name);
        fs::write(&path, &self.file).map_err(|e| e.to_string())?;
        Ok(path)
    }
}

/// Delivers nothing, and counts how often it was asked.
#[derive(Default)]
struct NoNetwork {
    asked: Cell<usize>,
}

impl Route for NoNetwork {
    fn name(&self) -> &'static str {
        "raven"
    }

    fn pin<'a>(&self, platform: &'a Platform) -> Attempt<Pin<'a>> {
        Courier::honest().pin(platform)
    }

    fn download(&self, _: &str, _: &Platform, _: &Path) -> Attempt<PathBuf> {
        self.asked.set(self.asked.get() + 1);
        Err("the line is dead".to_owned())
    }
}

#[test]
fn a_machine_that_cannot_obtain_it_is_told_the_ways_by_hand_and_what_works_without() {
    let mut workspace = Workspace::new();
    let failure = workspace
        .setup(None, &[&NoNetwork::default(), &Curl])
        .expect_err("cannot");
    let text = failure.to_string();
    for part in [
        "the MuJoCo 3.17.0 library",
        "by raven: the line is dead",
        "by curl: mujoco.toml pins no archive for this platform",
        "pip download",
        "--platform some_tag",
        "cargo xtask setup --from wheels",
        "cargo xtask setup --from mujoco-3.17.0",
        "--env Pendulum-v1",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let platform = &mut workspace.manifest.mujoco.platform[0];
    platform.wheel = None;
    platform.note = Some("ask a friend".to_owned());
    let text = workspace
        .setup(None, &[&super::Pip, &Curl])
        .expect_err("cannot")
        .to_string();
    assert!(
        text.contains("by pip: mujoco.toml names no wheel"),
        "{text}"
    );
    assert!(text.contains("hint: ask a friend"), "{text}");
}

#[test]
fn downloads_go_over_tls_and_end() {
    let command = Curl::command("https://example.org/a.tar.gz", Path::new("to"));
    let words: Vec<_> = command
        .get_args()
        .map(|word| word.to_string_lossy())
        .collect();
    for wanted in [
        &["--proto", "=https"][..],
        &["--tlsv1.2"],
        &["--fail"],
        &["--max-time", "600"],
    ] {
        assert!(
            words.windows(wanted.len()).any(|part| part == wanted),
            "{words:?}"
        );
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
    for platform in &manifest.mujoco.platform {
        let wheel = platform.wheel.iter();
        let wheel = wheel.flat_map(|wheel| [&wheel.sha256, &wheel.library_sha256]);
        let archive = platform.archive.iter().flat_map(|archive| {
            assert!(archive.url.starts_with("https://"), "{}", archive.url);
            [&archive.sha256, &archive.library_sha256]
        });
        let hashes: Vec<_> = wheel.chain(archive).collect();
        for hash in &hashes {
            assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
        }
        assert!(
            !hashes.is_empty() || platform.note.is_some(),
            "{platform:?}"
        );
    }
}
