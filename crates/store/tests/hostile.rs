//! Checkpoints made to do harm: each is refused at once and within 64 MiB, and nothing outside the
//! run folder is touched.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use rescore_store::StoreError;
use rescore_store::arrays::{Array, Arrays};
use rescore_store::checkpoint::{Checkpoints, Contents, Description, Limits, Progress, load};
use rescore_store::durable::{sha256_hex, write_json};
use rescore_store::run_folder::RunFolder;
use rescore_store::segments::{Layout, ReplayReference, SegmentReference, Segments};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// A few milliseconds are taken; a disk that stalls is allowed for, work that was asked for by the
/// file is not.
const TIME: Duration = Duration::from_secs(2);
const BYTES: usize = 64 << 20;

fn description() -> Description {
    Description {
        algo: "dpmd".into(),
        env: "Pendulum-v1".into(),
        observation_dim: 3,
        action_dim: 1,
        settings: "0".repeat(64),
        step: 10,
        update: 2,
    }
}

fn agent() -> Arrays {
    let weight = Array::F32 {
        shape: vec![256, 256],
        values: vec![0.5; 65_536],
    };
    Arrays::from([("policy.weight".to_owned(), weight)])
}

/// A run folder with one good checkpoint.
fn run() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let contents = Contents {
        description: description(),
        progress: Progress::default(),
        replay: ReplayReference::default(),
        agent: &agent(),
        environments: &Arrays::new(),
    };
    Checkpoints::of(folder.path())
        .save(contents)
        .expect("writable");
    folder
}

/// Tests that measure memory must be alone: they hold this from beginning to end.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts `bytes` in the place of a file, with the hash that they have.
fn replace(checkpoint: &Path, name: &str, bytes: &[u8]) {
    let file = checkpoint.join(name);
    let old = sha256_hex(&fs::read(&file).expect("there"));
    let sums = fs::read_to_string(checkpoint.join("SHA256SUMS")).expect("there");
    let sums = sums.replace(&old, &sha256_hex(bytes));
    fs::write(checkpoint.join("SHA256SUMS"), sums).expect("writable");
    fs::write(file, bytes).expect("writable");
}

/// Does `attempt`, which must be refused within limits; the error in words.
fn refused<T>(what: &str, attempt: impl FnOnce() -> Result<T, StoreError>) -> String {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let started = Instant::now();
    let result = attempt();
    let (time, bytes) = (
        started.elapsed(),
        MEMORY.peak_usage().saturating_sub(before),
    );
    let Err(error) = result else {
        panic!("{what} is accepted");
    };
    assert!(time < TIME, "{what}: {time:?}");
    assert!(bytes < BYTES, "{what}: {bytes} bytes");
    error.to_string()
}

fn read(checkpoint: &Path) -> Result<(), StoreError> {
    let limits = Limits::new(&agent(), &Arrays::new());
    let same = |arrays: Arrays| {
        if arrays.keys().eq(agent().keys()) {
            Ok(())
        } else {
            Err("it has other arrays")
        }
    };
    load(checkpoint, &description(), limits, same).map(|_| ())
}

/// The bytes of a safetensors file with this header.
fn tensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; data]);
    bytes
}

#[test]
fn hostile_tensors_and_descriptions_are_refused() {
    let _alone = alone();
    let entry = |name: &str, shape: &str, offsets: &str| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}"#)
    };
    let one = entry("a", "[2]", "[0,8]");
    let deep = "[".repeat(100_000);
    let agents = [
        ("a header of u64::MAX", u64::MAX.to_le_bytes().to_vec()),
        (
            "a header longer than the file",
            1000_u64.to_le_bytes().to_vec(),
        ),
        ("no header", Vec::new()),
        (
            "overlapping offsets",
            tensors(&format!("{{{one},{}}}", entry("b", "[2]", "[4,12]")), 12),
        ),
        (
            "the same bytes twice",
            tensors(&format!("{{{one},{}}}", entry("b", "[2]", "[0,8]")), 8),
        ),
        (
            "offsets beyond the end",
            tensors(&format!("{{{}}}", entry("a", "[2]", "[0,800]")), 8),
        ),
        (
            "offsets in reverse",
            tensors(&format!("{{{}}}", entry("a", "[2]", "[8,0]")), 8),
        ),
        (
            "a shape that overflows",
            tensors(
                &format!("{{{}}}", entry("a", "[18446744073709551615,4]", "[0,8]")),
                8,
            ),
        ),
        (
            "a shape that overflows to the right size",
            tensors(
                &format!("{{{}}}", entry("a", "[4611686018427387904,4]", "[0,0]")),
                0,
            ),
        ),
        ("deep JSON", tensors(&format!("{{\"a\":{deep}"), 0)),
        (
            "a name that climbs",
            tensors(&format!("{{{}}}", entry("../../evil", "[2]", "[0,8]")), 8),
        ),
    ];
    for (what, bytes) in agents {
        let folder = run();
        let checkpoint = folder.path().join("checkpoints/10");
        replace(&checkpoint, "agent.safetensors", &bytes);
        let error = refused(what, || read(&checkpoint));
        assert!(error.contains("agent.safetensors"), "{what}: {error}");
        let left = folder.path().read_dir().expect("there").count();
        assert_eq!(left, 1, "{what}: something was written");
    }
    let good = fs::read_to_string(run().path().join("checkpoints/10/checkpoint.json"));
    let good = good.expect("just written");
    let descriptions = [
        ("deep JSON", "[".repeat(1_000_000)),
        ("deep objects", r#"{"format_version":"#.repeat(100_000)),
        ("a long text", format!("\"{}", "x".repeat(4_000_000))),
        (
            "a step that is not its own",
            good.replace("\"step\": 10", "\"step\": 11"),
        ),
        (
            "a negative step",
            good.replace("\"step\": 10", "\"step\": -1"),
        ),
        (
            "an unknown key",
            good.replace("\"format_version\"", "\"evil\": 1, \"format_version\""),
        ),
        (
            "a number that is none",
            good.replace(
                "\"latest\": []",
                "\"latest\": [{\"total_reward\": \"NaN\", \"length\": 1}]",
            ),
        ),
    ];
    for (what, text) in descriptions {
        let folder = run();
        let checkpoint = folder.path().join("checkpoints/10");
        assert_ne!(text, good, "{what}");
        replace(&checkpoint, "checkpoint.json", text.as_bytes());
        let error = refused(what, || read(&checkpoint));
        assert!(error.contains("checkpoint.json"), "{what}: {error}");
        assert!(error.len() < 2000, "{what}: {} bytes of words", error.len());
    }
}

/// Files that are long, endless, elsewhere, or no files.
#[cfg(unix)]
#[test]
fn hostile_files_are_refused() {
    use std::os::unix::fs::symlink;
    type Spoil<'a> = &'a dyn Fn(&Path);
    let _alone = alone();
    let outside = tempfile::tempdir().expect("a temporary folder");
    let precious = outside.path().join("precious");
    fs::write(&precious, "mine").expect("writable");
    for name in [
        "agent.safetensors",
        "environments.safetensors",
        "checkpoint.json",
        "SHA256SUMS",
    ] {
        let spoil: [(&str, Spoil<'_>); 5] = [
            ("a link", &|file| {
                symlink(&precious, file).expect("writable");
            }),
            ("an endless device", &|file| {
                symlink("/dev/zero", file).expect("writable");
            }),
            ("a folder", &|file| fs::create_dir(file).expect("writable")),
            ("a pipe that nobody writes to", &|file| {
                let status = std::process::Command::new("mkfifo").arg(file).status();
                assert!(status.is_ok_and(|status| status.success()));
            }),
            ("a tebibyte", &|file| {
                let file = fs::File::create(file).expect("writable");
                file.set_len(1 << 40).expect("sparse");
            }),
        ];
        for (what, spoil) in spoil {
            let folder = run();
            let checkpoint = folder.path().join("checkpoints/10");
            fs::remove_file(checkpoint.join(name)).expect("there");
            spoil(&checkpoint.join(name));
            let error = refused(what, || read(&checkpoint));
            assert!(error.contains(name), "{what}: {error}");
        }
    }
    let sums = |text: &str| {
        let folder = run();
        let checkpoint = folder.path().join("checkpoints/10");
        fs::write(checkpoint.join("SHA256SUMS"), text).expect("writable");
        refused(text, || read(&checkpoint))
    };
    let hash = "0".repeat(64);
    assert!(sums(&format!("{hash}  ../../precious\n")).contains("SHA256SUMS"));
    assert!(sums(&format!("{hash}  /etc/passwd\n")).contains("SHA256SUMS"));

    // Folders and temporary files of a run that lead elsewhere.
    for name in ["checkpoints", "replay", "LOCK"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("config.toml"), "").expect("writable");
        let to = if name == "LOCK" {
            &precious
        } else {
            outside.path()
        };
        symlink(to, folder.path().join(name)).expect("writable");
        let error = refused(name, || RunFolder::open(folder.path()));
        assert!(error.contains("is a link that leads elsewhere"), "{error}");
    }
    // Files of the run that are none are neither read nor removed.
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("config.toml"), "").expect("writable");
    let open = RunFolder::open(folder.path()).expect("it is a run");
    for name in ["DONE", "crash.json"] {
        fs::create_dir_all(folder.path().join(name).join("notes")).expect("writable");
        let error = refused(name, || open.forget(name));
        assert!(error.contains("not a regular file"), "{error}");
        assert!(folder.path().join(name).join("notes").exists());
    }
    assert!(!open.is_done());
    drop(open);
    let lock = folder.path().join("LOCK");
    fs::remove_file(&lock).expect("there");
    let status = std::process::Command::new("mkfifo").arg(&lock).status();
    assert!(status.is_ok_and(|status| status.success()));
    let error = refused("a pipe", || RunFolder::open(folder.path()));
    assert!(error.contains("LOCK"), "{error}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    symlink(&precious, folder.path().join(".DONE.tmp")).expect("writable");
    write_json(&folder.path().join("DONE"), &1).expect("writable");
    assert_eq!(fs::read_to_string(&precious).expect("there"), "mine");
    let left = outside.path().read_dir().expect("there").count();
    assert_eq!(left, 1, "something was written elsewhere");
}

#[test]
fn hostile_segments_are_refused() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let replay = folder.path().join("replay");
    fs::create_dir(&replay).expect("writable");
    let capacity = u32::MAX as usize;
    let layout = Layout::new(capacity, 376, 17);
    let segment = |file: &str, rows| SegmentReference {
        file: file.into(),
        rows,
        sha256: "0".repeat(64),
    };
    let refuse = |what: &str, stored: u64, segments: Vec<SegmentReference>| {
        let reference = ReplayReference {
            stored,
            held: stored.min(capacity as u64),
            segments,
        };
        refused(what, || {
            Segments::load(&replay, layout, capacity, &reference, |_| ()).map(|_| ())
        })
    };
    refuse("more transitions than there can be", u64::MAX, Vec::new());
    refuse("a name that climbs", 5, vec![segment("../precious", 5)]);
    refuse(
        "more records than there are",
        5,
        vec![segment("seg-00000000.bin", u64::MAX)],
    );
    let path = folder.path().join("replay/seg-00000000.bin");
    fs::write(&path, vec![0; 20_000]).expect("writable");
    let error = refuse("a header of zeros", 5, vec![segment("seg-00000000.bin", 5)]);
    assert!(error.contains("seg-00000000.bin"), "{error}");
}
