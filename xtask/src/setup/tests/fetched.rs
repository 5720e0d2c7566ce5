//! What is fetched, and what is not accepted.

use super::*;

#[test]
fn what_is_missing_is_fetched_once_and_a_broken_route_ends_nothing() {
    let workspace = Workspace::new();
    let courier = Courier::honest();
    let garbage = Courier::of(b"not a wheel".to_vec());
    for _ in 0..3 {
        workspace
            .setup(None, &[&NoNetwork::default(), &garbage, &courier])
            .expect("fetched");
        assert_eq!(workspace.installed(), Installed::Pinned);
    }
    assert_eq!(courier.asked.get(), 1);
    assert_eq!(workspace.read("lib/libmujoco.so"), library("3.17.0"));
    assert_eq!(workspace.read("licenses/LICENSES_THIRD_PARTY.md"), b"parts");
}

#[test]
fn nothing_that_is_not_pinned_is_installed_whoever_brings_it() {
    let bad_library = zip(&[(LIBRARY, &other_build())]);
    for (what, file, manifest) in [
        // A wheel of another hash, with another library or even with the right one.
        ("other wheel", bad_library.clone(), None),
        (
            "repacked wheel",
            zip(&[(LIBRARY, &library("3.17.0")), ("mujoco/x", b"")]),
            None,
        ),
        // The pinned wheel, but not with the pinned library in it.
        (
            "other library",
            bad_library.clone(),
            Some(pinning(&bad_library, &library("3.17.0"))),
        ),
        (
            "no library",
            zip(&[]),
            Some(pinning(&zip(&[]), &library("3.17.0"))),
        ),
        (
            "no archive",
            b"PK".to_vec(),
            Some(pinning(b"PK", &library("3.17.0"))),
        ),
    ] {
        let mut workspace = Workspace::new();
        if let Some(manifest) = manifest {
            workspace.manifest = manifest;
        }
        for _ in 0..2 {
            let courier = Courier::of(file.clone());
            let failure = workspace.setup(None, &[&courier]).expect_err(what);
            assert_eq!(failure.code, 1, "{what}");
            assert!(
                failure.message.contains("by courier: "),
                "{what}: {failure}"
            );
            assert_eq!(workspace.installed(), Installed::Missing, "{what}");
            assert!(!workspace.path("lib").exists(), "{what} reached the store");
        }
    }
}

#[test]
fn a_release_archive_is_opened_if_it_is_the_pinned_one() {
    let mut workspace = Workspace::new();
    workspace.release("3.17.0");
    let mut tar = std::process::Command::new("tar");
    tar.current_dir(workspace.dir.path());
    let made = tar.args(["-czf", "a.tar.gz", "mujoco-3.17.0"]).status();
    assert!(made.is_ok_and(|status| status.success()));
    let archive = fs::read(workspace.dir.path().join("a.tar.gz")).expect("just made");
    let mut courier = Courier::of(archive.clone());
    courier.name = "a.tar.gz";
    workspace
        .setup(None, &[&courier])
        .expect_err("it is not pinned");
    workspace.manifest = pinning(&archive, &library("3.17.0"));
    workspace.setup(None, &[&courier]).expect("fetched");
    assert_eq!(workspace.installed(), Installed::Pinned);
    assert_eq!(workspace.read("licenses/THIRD_PARTY_NOTICES"), b"parts");
}

#[test]
fn a_library_that_nobody_named_is_replaced() {
    // As an earlier version left it: another build, and a stamp that does not say from where.
    let workspace = Workspace::new();
    let file = workspace.path("lib/libmujoco.so.3.17.0");
    workspace.folder(".mujoco/lib", &[("libmujoco.so.3.17.0", &other_build())]);
    fs::copy(&file, workspace.path("lib/libmujoco.so")).expect("writable");
    let entry = serde_json::json!({
        "sha256": sha256(&other_build()), "size": other_build().len(), "modified_ns": 0,
    });
    let stamp = serde_json::json!({
        "mujoco_version": "3.17.0", "files": {"lib/libmujoco.so.3.17.0": entry},
    });
    fs::write(workspace.path("stamp.json"), stamp.to_string()).expect("writable");
    assert_eq!(workspace.installed(), Installed::Missing);
    workspace
        .setup(None, &[&NoNetwork::default()])
        .expect_err("there is no other");
    assert_eq!(workspace.installed(), Installed::Missing);
    workspace
        .setup(None, &[&Courier::honest()])
        .expect("fetched");
    assert_eq!(workspace.installed(), Installed::Pinned);
    assert_eq!(fs::read(file).expect("installed"), library("3.17.0"));
}

#[test]
fn a_corrupted_file_is_detected_and_fetched_again() {
    let workspace = Workspace::new();
    let courier = Courier::honest();
    let setup = || workspace.setup(None, &[&courier]).expect("fetched");
    setup();
    let file = workspace.path("lib/libmujoco.so.3.17.0");
    fs::write(&file, b"libmujoco.so.3.17.0 and garbage").expect("writable");
    assert_eq!(workspace.installed(), Installed::Missing);
    for _ in 0..2 {
        let failure = workspace
            .setup(None, &[&NoNetwork::default()])
            .expect_err("cannot");
        assert!(failure.message.contains("by raven: the line is dead"));
        assert_eq!(workspace.installed(), Installed::Missing);
    }
    setup();
    assert_eq!(workspace.read("lib/libmujoco.so"), library("3.17.0"));
    assert_eq!(courier.asked.get(), 2);
}

#[test]
fn a_lost_stamp_costs_no_fetching() {
    let workspace = Workspace::new();
    workspace
        .setup(None, &[&Courier::honest()])
        .expect("fetched");
    for damage in ["", "not JSON"] {
        fs::write(workspace.path("stamp.json"), damage).expect("writable");
        workspace.setup(None, &[]).expect("all is there");
        assert_eq!(workspace.installed(), Installed::Pinned);
    }
}

#[test]
fn a_failure_is_remembered_by_those_who_do_without() {
    let workspace = Workspace::new();
    let raven = NoNetwork::default();
    let brief = || workspace.with_effort(Effort::Brief, None, &[&raven]);
    for _ in 0..3 {
        brief().expect_err("cannot");
    }
    assert_eq!(raven.asked.get(), 1);
    let failure = brief().expect_err("cannot").to_string();
    assert!(failure.contains("0 minutes ago"), "{failure}");
    assert!(failure.contains("by raven: the line is dead"), "{failure}");
    // Who needs it tries again.
    workspace.setup(None, &[&raven]).expect_err("cannot");
    assert_eq!(raven.asked.get(), 2);
    // After an hour, with a clock that was put back, or for another version everybody does.
    let path = workspace.path("failed.json");
    let now: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).expect("written")).expect("JSON");
    let time = now["time"].as_u64().expect("seconds");
    let mut asked = 2;
    for (key, value) in [
        ("time", (time - 3601).into()),
        ("time", (time + 3600).into()),
        ("mujoco_version", "3.16.0".into()),
        ("time", "yesterday".into()),
    ] {
        let mut other = now.clone();
        other[key] = value;
        fs::write(&path, other.to_string()).expect("writable");
        brief().expect_err("cannot");
        asked += 1;
        assert_eq!(raven.asked.get(), asked, "{other}");
    }
    // A folder that is named is looked at, and nothing is remembered after a success.
    let release = workspace.release("3.17.0");
    let named = Named {
        by: LINK_DIR,
        dir: release,
    };
    workspace
        .with_effort(Effort::Brief, Some(&named), &[&raven])
        .expect("taken");
    assert!(!path.exists());
    assert_eq!(raven.asked.get(), asked);
}

#[test]
fn leftovers_of_a_killed_setup_are_removed() {
    let workspace = Workspace::new();
    let leftover = workspace.folder(".mujoco/tmp-killed", &[("half.whl", b"PK")]);
    workspace
        .setup(None, &[&Courier::honest()])
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
                    let courier = Courier::honest();
                    let how = (Check::Stamp, Effort::Full);
                    obtain(store, manifest, None, how, &[&courier]).expect("fetched");
                    courier.asked.get()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .sum()
    });
    assert_eq!(fetched, 1);
    assert_eq!(workspace.installed(), Installed::Pinned);
}
