//! A run is killed at every step of writing, its disk is full, its folder cannot be written, its
//! checkpoints are damaged: it loses at most the work since the last checkpoint.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rescore_tests::program::{binary, command, fails, skipped, stderr, tiny, trains};
use rescore_tests::runs::{assert_same, contents};

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A short run whose checkpoints are made, replaced and removed, and whose buffer is overwritten.
fn short(out: &str) -> Vec<&str> {
    tiny(&[
        "--algo",
        "sac",
        "--steps",
        "60",
        "--out",
        out,
        "--set",
        "checkpoint_every=20",
        "--set",
        "evaluation.every=30",
        "--set",
        "log_every=20",
        "--set",
        "replay.capacity=56",
        "--set",
        "evaluation.episodes=1",
    ])
}

fn with_fault(folder: &Path, arguments: &[&str], fault: &str) -> Output {
    command(folder, arguments)
        .env("RESCORE_FAULT", fault)
        .output()
        .expect("the program starts")
}

fn resume(folder: &Path) {
    // A run that was stopped before it had written its configuration has not begun.
    if folder.join("run/config.toml").exists() {
        trains(folder, &["train", "--resume", "run", "--strict"]);
    } else {
        fs::remove_dir_all(folder.join("run")).expect("removable");
        trains(folder, &short("run"));
    }
}

/// At every `stride`-th step of writing of a whole run, `fault` strikes; what the program then does
/// is given to `check`, and the run goes on from what is there. Gives the number of steps tried.
fn at_steps(fault: &str, stride: usize, check: impl Fn(&Output)) -> usize {
    let whole = temporary();
    trains(whole.path(), &short("run"));
    for (tried, step) in (1..).step_by(stride).enumerate() {
        let folder = temporary();
        let folder = folder.path();
        let output = with_fault(folder, &short("run"), &format!("{fault}@{step}"));
        if output.status.success() {
            return tried;
        }
        check(&output);
        resume(folder);
        assert_same(&whole.path().join("run"), &folder.join("run"));
    }
    unreachable!("a run has an end");
}

#[test]
fn an_abort_at_any_step_of_writing_loses_nothing_that_was_saved() {
    let steps = at_steps("abort", 1, |output| {
        assert_eq!(output.status.code(), None, "{}", stderr(output));
    });
    println!("aborted at each of {steps} steps of writing");
    assert!(steps > 100, "{steps} steps");
}

#[test]
fn a_disk_that_is_full_from_any_step_on_is_named_and_can_be_freed() {
    let steps = at_steps("full", 3, |output| {
        let text = stderr(output);
        assert_eq!(output.status.code(), Some(74), "{text}");
        assert!(
            text.contains("run") && text.contains("no storage space"),
            "{text}"
        );
        assert!(!text.contains("panicked"), "{text}");
    });
    println!("the disk was full from each of {steps} steps of writing on");
    assert!(steps > 30, "{steps} steps");
}

/// What a run that goes on changes before it trains is written with the same care.
#[test]
fn an_abort_while_going_on_loses_nothing_either() {
    let whole = temporary();
    trains(whole.path(), &short("run"));
    for step in 1.. {
        let folder = temporary();
        let folder = folder.path();
        // Stopped within the second checkpoint; and what lies behind the first must be cut.
        let output = with_fault(folder, &short("run"), "abort@60");
        assert!(!output.status.success());
        let output = with_fault(
            folder,
            &["train", "--resume", "run"],
            &format!("abort@{step}"),
        );
        // Later steps are those of the test above.
        if output.status.success() || step > 40 {
            return;
        }
        resume(folder);
        assert_same(&whole.path().join("run"), &folder.join("run"));
    }
}

/// A real disk that is full: a small file system where the test may make one, else a limit on the
/// size of files.
#[test]
fn a_small_disk_fills_up_and_is_freed() {
    let folder = temporary();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).expect("writable");
    let mount = |options: &str| {
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(&disk)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !mount("size=600k") {
        skipped("no file system can be mounted here; a limit on files is tested instead");
        return;
    }
    let unmounted = scopeguard(|| {
        let _ = Command::new("umount").arg(&disk).status();
    });
    trains(folder.path(), &short("run"));
    fs::write(disk.join("ballast"), vec![1; 500_000]).expect("it fits");
    fails(
        &disk,
        &short("run"),
        74,
        &["run/", "o space left on device"],
    );
    fs::remove_file(disk.join("ballast")).expect("removable");
    resume(&disk);
    assert_same(&folder.path().join("run"), &disk.join("run"));

    // And a file system that cannot be written.
    assert!(mount("remount,ro"), "it was mounted before");
    let more = ["train", "--resume", "run", "--steps", "80"];
    fails(&disk, &more, 74, &["run/", "ead-only file system"]);
    assert!(mount("remount,rw"));
    trains(&disk, &more);
    drop(unmounted);
}

/// Calls `end` when it is dropped.
fn scopeguard(end: impl FnMut()) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(end)
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_can_be_lifted() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &short("whole"));
    // In blocks of 512 or 1024 bytes: enough for the configuration, too little for a checkpoint.
    let limited = "ulimit -f 8 && exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", limited, "sh"])
        .arg(binary())
        .args(short("run"))
        .current_dir(folder)
        .output()
        .expect("sh exists");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(74), "{text}");
    assert!(text.contains("cannot write run/"), "{text}");
    resume(folder);
    assert_same(&folder.join("whole"), &folder.join("run"));
}

/// Permissions mean nothing to root, for whom the test above has a read-only file system.
#[test]
fn a_folder_that_may_not_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &short("run"));
    let allow = |mode| {
        for path in ["run", "run/checkpoints", "run/replay"] {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(folder.join(path), mode).expect("our own");
        }
    };
    allow(0o555);
    let root = fs::write(folder.join("run/probe"), "").is_ok();
    if root {
        skipped("permissions do not bind this user");
        fs::remove_file(folder.join("run/probe")).expect("removable");
    } else {
        let more = ["train", "--resume", "run", "--steps", "80"];
        fails(folder, &more, 74, &["run", "ermission denied"]);
    }
    allow(0o755);
    trains(folder, &["train", "--resume", "run", "--steps", "80"]);
}

/// What is done to a file that had these bytes.
type Damage = fn(&Path, Vec<u8>);

/// One bit of each file of the last checkpoint, and each file cut in half and removed.
#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_used() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &short("run"));
    let run = folder.join("run");
    let whole = contents(&run);
    let files = [
        "checkpoints/60/agent.safetensors",
        "checkpoints/60/environments.safetensors",
        "checkpoints/60/checkpoint.json",
        "checkpoints/60/SHA256SUMS",
        "replay/seg-00000015.bin",
    ];
    let damages: [(&str, Damage); 3] = [
        ("flipped", |path, mut bytes| {
            let place = bytes.len() * 2 / 3;
            bytes[place] ^= 4;
            fs::write(path, bytes).expect("writable");
        }),
        ("cut", |path, bytes| {
            fs::write(path, &bytes[..bytes.len() / 2]).expect("writable");
        }),
        ("removed", |path, _| fs::remove_file(path).expect("there")),
    ];
    for file in files {
        for (how, damage) in damages {
            let copy = temporary();
            let status = Command::new("cp")
                .arg("-a")
                .arg(&run)
                .arg(copy.path())
                .status();
            assert!(status.is_ok_and(|status| status.success()));
            let path = copy.path().join("run").join(file);
            // As a run that was killed before it could say that it was done.
            fs::remove_file(copy.path().join("run/DONE")).expect("there");
            damage(&path, whole[Path::new(file)].clone());
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("text");
            let before = contents(&copy.path().join("run"));
            let strict = ["train", "--resume", "run", "--strict"];
            fails(copy.path(), &strict, 74, &[name]);
            assert!(
                contents(&copy.path().join("run")) == before,
                "--strict changed something"
            );

            let output = trains(copy.path(), &["train", "--resume", "run"]);
            let text = stderr(&output);
            assert!(text.contains(name), "{how} {file}: {text}");
            assert!(text.contains("trying the checkpoint before it"), "{text}");
            let mut after = contents(&copy.path().join("run"));
            after.retain(|name, _| !name.starts_with("checkpoints/damaged-60"));
            assert!(after == whole, "{how} {file}: the run is another");
        }
    }
}

/// When no checkpoint is whole the run is not begun again: that would remove what is left of it.
#[test]
fn a_run_without_a_whole_checkpoint_is_left_alone() {
    let folder = temporary();
    let folder = folder.path();
    trains(folder, &short("run"));
    fs::remove_file(folder.join("run/DONE")).expect("there");
    for entry in folder.join("run/checkpoints").read_dir().expect("there") {
        let agent = entry.expect("an entry").path().join("agent.safetensors");
        if agent.exists() {
            fs::write(agent, "nonsense").expect("writable");
        }
    }
    let before = contents(&folder.join("run"));
    fails(
        folder,
        &["train", "--resume", "run"],
        74,
        &["agent.safetensors", "hash"],
    );
    assert!(contents(&folder.join("run")) == before);
}

/// Some file systems of clusters have no locks, some cannot bring a folder to the disk: the run is
/// the same, and the user is told once.
#[test]
fn a_file_system_that_lacks_something_is_no_obstacle() {
    let whole = temporary();
    trains(whole.path(), &short("run"));
    // ENOLCK, ENOSYS, EOPNOTSUPP; EINVAL, EBADF: the numbers of Linux.
    #[cfg(target_os = "linux")]
    for (fault, words) in [
        ("nolock@37", "LOCK cannot be locked"),
        ("nolock@38", "LOCK cannot be locked"),
        ("nolock@95", "LOCK cannot be locked"),
        ("nofoldersync@22", "cannot be synchronised"),
        ("nofoldersync@9", "cannot be synchronised"),
    ] {
        let folder = temporary();
        let folder = folder.path();
        let output = with_fault(folder, &short("run"), fault);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{fault}: {text}");
        assert_eq!(text.matches(words).count(), 1, "{fault}: {text}");
        assert_same(&whole.path().join("run"), &folder.join("run"));
    }
    // A disk that fails is another matter: EIO.
    for fault in ["nolock@5", "nofoldersync@5"] {
        let folder = temporary();
        let output = with_fault(folder.path(), &short("run"), fault);
        assert_eq!(
            output.status.code(),
            Some(74),
            "{fault}: {}",
            stderr(&output)
        );
    }
}

/// The night's test, for a moment: that it can be run, and fails where it should.
#[test]
fn the_soak_test_runs() {
    let folder = temporary();
    let soak = ["soak", "--hours", "0", "--kills", "2", "--out", "soak"];
    let output = trains(folder.path(), &soak);
    let said = rescore_tests::program::stdout(&output);
    let algorithms = rescore_agents::Algorithm::all().len();
    let same = said.matches("the same to the bit").count();
    assert_eq!(same, algorithms, "{said}");
    assert!(!folder.path().join("soak").exists());
    fs::create_dir(folder.path().join("soak")).expect("writable");
    fails(folder.path(), &soak, 2, &["soak", "not empty"]);
}
