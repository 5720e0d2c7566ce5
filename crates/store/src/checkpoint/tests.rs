//! Checkpoints are found, kept and replaced as they should be, and nothing damaged is used.

use super::*;
use crate::arrays::Array;

fn description(step: u64) -> Description {
    Description {
        algo: "dpmd".into(),
        env: "Pendulum-v1".into(),
        observation_dim: 3,
        action_dim: 1,
        settings: "0".repeat(64),
        step,
        update: step / 5,
    }
}

fn agent() -> Arrays {
    let weight = Array::F32 {
        shape: vec![20, 30],
        values: (0..600).map(|i| i as f32 / 7.0).collect(),
    };
    Arrays::from([
        ("policy.weight".to_owned(), weight),
        ("updates".to_owned(), Array::U64(vec![u64::MAX])),
    ])
}

fn environments() -> Arrays {
    Arrays::from([
        ("training.qpos".to_owned(), Array::F64(vec![0.5, -0.0])),
        ("training.rng".to_owned(), Array::U64(vec![u64::MAX])),
    ])
}

fn save(checkpoints: &Checkpoints, step: u64, best: Option<Best>, stopped: bool) -> PathBuf {
    checkpoints
        .save(Contents {
            description: description(step),
            progress: Progress {
                stopped,
                best,
                ..Progress::default()
            },
            replay: ReplayReference::default(),
            agent: &agent(),
            environments: &environments(),
        })
        .expect("writable")
}

fn read(path: &Path) -> Result<(Loaded, Arrays), StoreError> {
    let limits = Limits::new(&agent(), &environments());
    let mut found = Arrays::new();
    let loaded = load(path, &description(0), limits, |arrays| {
        found = arrays;
        if found.keys().eq(agent().keys()) {
            Ok(())
        } else {
            Err("it has other arrays")
        }
    })?;
    Ok((loaded, found))
}

#[test]
fn a_checkpoint_comes_back_bit_for_bit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = save(&Checkpoints::of(folder.path()), 10, None, false);
    let (loaded, found) = read(&path).expect("just written");
    assert_eq!(loaded.file.checkpoint, description(10));
    assert_eq!(found, agent());
    assert_eq!(loaded.environments, environments());
}

#[test]
fn the_last_two_and_the_best_are_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let checkpoints = Checkpoints::of(folder.path());
    let best = Best {
        step: 20,
        mean_return: 1.5,
    };
    for step in [10, 20, 30, 40, 50] {
        save(&checkpoints, step, (step >= 20).then_some(best), false);
    }
    assert_eq!(checkpoints.steps().expect("readable"), [20, 40, 50]);
    let name = |which| {
        checkpoints
            .find(which)
            .map(|p| p.file_name().map(ToOwned::to_owned))
    };
    assert_eq!(name(Which::Last).expect("exists"), Some("50".into()));
    assert_eq!(name(Which::Best).expect("exists"), Some("20".into()));
    let error = name(Which::Step(30)).expect_err("removed");
    assert_eq!(error.hint().as_deref(), Some("there are: best, 20, 40, 50"));
}

#[test]
fn the_checkpoint_of_a_run_that_stopped_goes_when_the_next_is_due() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let checkpoints = Checkpoints::of(folder.path());
    for (step, stopped) in [(10, false), (20, false), (25, true), (27, true)] {
        save(&checkpoints, step, None, stopped);
    }
    assert_eq!(checkpoints.steps().expect("readable"), [10, 20, 27]);
    save(&checkpoints, 30, None, false);
    assert_eq!(checkpoints.steps().expect("readable"), [20, 30]);
}

#[test]
fn what_a_killed_process_left_is_put_in_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let checkpoints = Checkpoints::of(folder.path());
    let path = save(&checkpoints, 10, None, false);
    let below = |name: &str| folder.path().join("checkpoints").join(name);
    fs::create_dir(below(".20.tmp")).expect("writable");
    // Killed between the two renames that replace a checkpoint of the same step.
    fs::rename(&path, below(".10.old")).expect("writable");
    checkpoints.recover().expect("writable");
    assert!(read(&path).is_ok(), "the replaced checkpoint is lost");
    // Killed after them.
    fs::create_dir(below(".10.old")).expect("writable");
    checkpoints.recover().expect("writable");
    assert!(read(&path).is_ok());
    let left = fs::read_dir(below("")).expect("a folder").count();
    assert_eq!(left, 1, "something was left");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let checkpoints = Checkpoints::of(folder.path());
    save(&checkpoints, 10, None, false);
    let below = |name: &str| folder.path().join("checkpoints").join(name);
    let theirs = [
        ".git",
        ".notes.tmp",
        ".old",
        ".tmp",
        ".007.tmp",
        ".+7.old",
        ".7.tmp.old",
        ".7.TMP",
        ".7.bak",
        "7.tmp",
        ".99999999999999999999.tmp",
    ];
    for name in theirs {
        fs::create_dir(below(name)).expect("writable");
        fs::write(below(name).join("notes"), "mine").expect("writable");
    }
    fs::write(below(".20.tmp"), "a file, not a folder").expect("writable");
    fs::create_dir(below(".30.tmp")).expect("writable");
    fs::create_dir(below(".10.old")).expect("writable");
    checkpoints.recover().expect("writable");
    for name in theirs {
        let notes = fs::read_to_string(below(name).join("notes"));
        assert_eq!(notes.expect(name), "mine");
    }
    assert!(below(".20.tmp").exists());
    assert!(!below(".30.tmp").exists() && !below(".10.old").exists());
}

#[test]
fn damaged_checkpoints_are_set_aside_one_beside_the_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let checkpoints = Checkpoints::of(folder.path());
    let mut names = Vec::new();
    for _ in 0..3 {
        save(&checkpoints, 10, None, false);
        let aside = checkpoints.set_aside(10).expect("writable");
        assert!(aside.join(AGENT_FILE).exists());
        names.push(aside.file_name().expect("a name").to_owned());
    }
    assert_eq!(names, ["damaged-10", "damaged-10-2", "damaged-10-3"]);
}

/// Every file of a checkpoint, cut at every offset of its first 4 KiB and at 200 others, and with
/// 1,000 bits flipped one at a time.
#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = save(&Checkpoints::of(folder.path()), 10, None, false);
    let mut random = 1_u64;
    let mut below = |limit: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % limit
    };
    let files = [AGENT_FILE, ENVIRONMENTS_FILE, DESCRIPTION_FILE, SUMS_FILE];
    for name in files {
        let file = path.join(name);
        let whole = fs::read(&file).expect("just written");
        let refused = |bytes: &[u8], how: &str| {
            fs::write(&file, bytes).expect("writable");
            let error = read(&path).expect_err(how);
            assert!(
                matches!(
                    error,
                    StoreError::Corrupt { .. } | StoreError::Mismatch { .. }
                ),
                "{how}: {error}"
            );
            let text = error.to_string();
            if name != SUMS_FILE {
                assert!(text.contains(name), "{how}: {text}");
                assert!(text.contains(&sha256_hex(&whole)), "{how}: {text}");
            }
        };
        let first = 0..whole.len().min(4096);
        let others = (0..200).map(|_| below(whole.len())).collect::<Vec<_>>();
        for length in first.chain(others) {
            refused(&whole[..length], &format!("{name} cut at {length}"));
        }
        for _ in 0..1000 {
            let (byte, bit) = (below(whole.len()), below(8));
            let mut flipped = whole.clone();
            flipped[byte] ^= 1 << bit;
            refused(
                &flipped,
                &format!("{name} with bit {bit} of byte {byte} flipped"),
            );
        }
        fs::write(&file, &whole).expect("writable");
        assert!(read(&path).is_ok());
        fs::remove_file(&file).expect("there");
        let error = read(&path).expect_err("missing").to_string();
        assert!(error.contains(name), "{error}");
        fs::write(&file, &whole).expect("writable");
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = save(&Checkpoints::of(folder.path()), 10, None, false);
    let other = Description {
        observation_dim: 17,
        ..description(0)
    };
    let limits = Limits::new(&agent(), &environments());
    let error =
        load_agent(&path, &other, limits, |_| Ok::<(), String>(())).expect_err("other dimensions");
    assert!(matches!(error, StoreError::Mismatch { .. }));
    assert!(
        error
            .to_string()
            .contains("its observation length is 3, but the run's is 17"),
        "{error}"
    );
}

/// Replaces `checkpoint.json` of the checkpoint in the folder `path`, its hash too.
fn redescribe(path: &Path, edit: impl Fn(&str) -> String) {
    let file = path.join(DESCRIPTION_FILE);
    let text = fs::read_to_string(&file).expect("there");
    let edited = edit(&text);
    let sums = path.join(SUMS_FILE);
    let listed = fs::read_to_string(&sums).expect("there");
    let hash = |text: &str| sha256_hex(text.as_bytes());
    fs::write(&sums, listed.replace(&hash(&text), &hash(&edited))).expect("writable");
    fs::write(&file, edited).expect("writable");
}

#[test]
fn a_checkpoint_of_another_version_says_so_and_what_to_do() {
    for version in [1, 2, 3, FORMAT_VERSION + 1] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = save(&Checkpoints::of(folder.path()), 10, None, false);
        redescribe(&path, |_| {
            format!(r#"{{"format_version": {version}, "sha256": "..."}}"#)
        });
        let error = read(&path).expect_err("another version").to_string();
        assert!(
            error.contains(&format!("its format version is {version}")),
            "{error}"
        );
        assert!(error.contains("manifest.json"), "{error}");
    }
}
