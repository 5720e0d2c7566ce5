//! Folders that the user names.

use super::*;

#[test]
fn a_release_is_taken_from_a_folder_without_fetching() {
    let workspace = Workspace::new();
    let release = workspace.release("3.17.0");
    workspace.setup(Some(&release), &[]).expect("complete");
    // It holds the very library that is pinned.
    assert_eq!(workspace.installed(), Installed::Pinned);
    assert_eq!(workspace.read("licenses/THIRD_PARTY_NOTICES"), b"parts");
}

#[test]
fn an_import_library_comes_with_what_programs_load() {
    let workspace = Workspace::new();
    let release = workspace.folder(
        "mujoco-3.17.0",
        &[("lib/mujoco.lib", b"import"), ("bin/mujoco.dll", b"code")],
    );
    workspace.setup(Some(&release), &[]).expect("complete");
    let Installed::Named(by) = workspace.installed() else {
        panic!("nothing is pinned");
    };
    assert!(
        by.starts_with("--from ") && by.contains("mujoco-3.17.0"),
        "{by}"
    );
    assert_eq!(workspace.read("lib/mujoco.dll"), b"code");
    fs::write(workspace.path("lib/mujoco.dll"), b"damaged").expect("writable");
    assert_eq!(workspace.installed(), Installed::Missing);
}

#[test]
fn a_folder_of_another_version_is_refused_with_both_versions_named() {
    let workspace = Workspace::new();
    let release = workspace.release("3.2.6");
    let wheel = zip(&[("mujoco/libmujoco.so.3.2.6", &library("3.2.6"))]);
    let wheels = workspace.folder("wheels", &[("mujoco.whl", &wheel)]);
    let refuse = || {
        for folder in [&release, &wheels] {
            let failure = workspace.setup(Some(folder), &[]).expect_err("wrong");
            assert_eq!(failure.code, 2);
            assert!(failure.message.contains("is MuJoCo 3.2.6"), "{failure}");
            assert!(failure.message.contains("needs 3.17.0"), "{failure}");
        }
    };
    refuse();
    // Also where nothing is missing.
    workspace
        .setup(None, &[&Courier::honest()])
        .expect("fetched");
    refuse();
}

#[test]
fn a_folder_that_is_absent_or_useless_is_refused() {
    let workspace = Workspace::new();
    let empty = workspace.folder("empty", &[("readme", b"")]);
    let wheels = workspace.folder("wheels", &[("numpy.whl", &zip(&[("numpy/a", b"")]))]);
    for dir in [empty, wheels, "/no/such/folder".into()] {
        let failure = workspace.setup(Some(&dir), &[]).expect_err("useless");
        assert_eq!(failure.code, 2);
        assert!(failure.message.contains(&*dir.to_string_lossy()));
    }
}

#[test]
fn another_build_that_is_named_replaces_the_installed_one_and_is_watched_too() {
    let build = other_build();
    let wheel = zip(&[(LIBRARY, &build)]);
    for files in [("libmujoco.so", &build), ("mujoco.whl", &wheel)] {
        let workspace = Workspace::new();
        workspace
            .setup(None, &[&Courier::honest()])
            .expect("fetched");
        let dir = workspace.folder("mine", &[(files.0, files.1)]);
        let named = Installed::Named(format!("--from {}", dir.display()));
        for _ in 0..2 {
            workspace.setup(Some(&dir), &[]).expect("the right version");
            assert_eq!(workspace.read("lib/libmujoco.so.3.17.0"), build);
            assert_eq!(workspace.installed(), named);
        }
        // It stays without being named again, until it changes; a new time of the file is no change.
        let path = workspace.path("lib/libmujoco.so.3.17.0");
        fs::write(&path, &build).expect("writable");
        let how = (Check::Stamp, Effort::Full);
        obtain(&workspace.store, &workspace.manifest, None, how, &[]).expect("still there");
        assert_eq!(workspace.installed(), named);
        fs::write(path, &build[..20]).expect("writable");
        assert_eq!(workspace.installed(), Installed::Missing);
    }
}

#[test]
fn a_damaged_wheel_in_a_named_folder_is_an_error() {
    let workspace = Workspace::new();
    let dir = workspace.folder("wheels", &[("mujoco.whl", b"cut off")]);
    let failure = workspace.setup(Some(&dir), &[]).expect_err("damaged");
    assert!(failure.message.contains("mujoco.whl is not a whole wheel"));
}
