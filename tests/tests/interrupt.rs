//! What the program does when it is asked to stop.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rescore_tests::program::{
    binary, command, read, rescore, signal as send, skipped, stdout, tiny, trains,
};
use rescore_tests::runs::assert_same;

/// Long enough for any machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_mins(2);
/// A user has waited for a second or two by then; but a loaded machine is slow to write.
const PROMISE: Duration = Duration::from_secs(30);

fn waits_until(mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

fn end_of(child: &mut Child) -> ExitStatus {
    let ended = waits_until(|| matches!(child.try_wait(), Ok(Some(_))));
    if !ended {
        // It would go on for as long as the machine does.
        child.kill().expect("it has not ended");
    }
    assert!(ended, "the program does not end");
    child.wait().expect("it has ended")
}

fn signal(child: &Child, names: &[&str]) {
    assert!(send(&child.id().to_string(), names));
}

/// A run with `more`, once `file` of its folder is there with something in it.
fn run_until(folder: &Path, more: &[&str], file: &str) -> Child {
    let arguments = tiny(&[more, &["--out", "run"]].concat());
    let mut child = command(folder, &arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let file = folder.join("run").join(file);
    let begun = || std::fs::metadata(&file).is_ok_and(|file| file.len() > 0);
    assert!(waits_until(begun), "no {}", file.display());
    assert!(matches!(child.try_wait(), Ok(None)), "it has ended already");
    child
}

/// The last line of `errors`, typed into a shell in `folder`.
fn type_last_line(folder: &Path, errors: &str) -> std::process::Output {
    let command = errors.lines().last().expect("something was said");
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .output();
    output.expect("sh exists")
}

/// Schedulers and terminals warn, perhaps more than once, and each of them in its own way; what
/// they have warned of may be the end of stderr as well.
#[test]
fn warnings_end_with_75_however_often_and_the_last_line_goes_on() {
    for names in [
        &["-HUP", "-HUP", "-HUP"][..],
        &["-USR1", "-USR1", "-USR1"],
        &["-USR2", "-USR2", "-USR2"],
        &["-USR1", "-HUP", "-USR2", "-TERM"],
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let steps = ["--steps", "100000000", "--out", "my runs/it's one"];
        let mut child = command(folder, &tiny(&[&["--algo", "sac"], &steps[..]].concat()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let run = folder.join("my runs/it's one");
        let begun = || std::fs::metadata(run.join("metrics.jsonl")).is_ok_and(|f| f.len() > 0);
        assert!(waits_until(begun), "it does not begin");
        signal(&child, names);
        assert_eq!(end_of(&mut child).code(), Some(75), "{names:?}");
        let output = child.wait_with_output().expect("it has ended");
        let errors = String::from_utf8_lossy(&output.stderr);
        // The command goes on, and the run can be made to end from there.
        let line = errors.lines().last().expect("a line");
        assert!(line.contains(" train --resume "), "{errors}");
        let step: u64 = std::fs::read_dir(run.join("checkpoints"))
            .expect("a checkpoint")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .max()
            .expect("a checkpoint");
        let output = type_last_line(folder, &format!("{line} --steps {}", step + 10));
        assert!(output.status.success(), "{output:?}");
        assert_eq!(stdout(&output).trim(), "my runs/it's one");
    }
}

#[test]
fn another_program_may_have_started_this_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments = tiny(&["--algo", "sac", "--steps", "100000000", "--out", "run"]);
    let mut child = command(folder.path(), &arguments)
        .env("RESCORE_COMMAND", "cargo xtask")
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    let file = folder.path().join("run/metrics.jsonl");
    assert!(waits_until(
        || std::fs::metadata(&file).is_ok_and(|f| f.len() > 0)
    ));
    signal(&child, &["-TERM"]);
    assert_eq!(end_of(&mut child).code(), Some(75));
    let errors = child.wait_with_output().expect("it has ended").stderr;
    let errors = String::from_utf8_lossy(&errors);
    assert_eq!(
        errors.lines().last(),
        Some("cargo xtask train --resume run")
    );
}

/// A terminal that closes takes stderr with it.
#[test]
fn a_terminal_that_closes_does_not_keep_a_run_from_its_checkpoint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments = tiny(&["--algo", "sac", "--steps", "100000000", "--out", "run"]);
    let mut child = command(folder.path(), &arguments)
        .env("RUST_LOG", "info")
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let file = folder.path().join("run/metrics.jsonl");
    assert!(waits_until(
        || std::fs::metadata(&file).is_ok_and(|f| f.len() > 0)
    ));
    drop((child.stderr.take(), child.stdout.take()));
    // Evaluations are reported meanwhile.
    let length = || std::fs::metadata(folder.path().join("run/eval.csv")).map_or(0, |f| f.len());
    let before = length();
    assert!(waits_until(|| length() > before), "it does not go on");
    signal(&child, &["-HUP"]);
    assert_eq!(end_of(&mut child).code(), Some(75));
}

#[test]
#[cfg(target_os = "linux")]
fn nohup_stays_in_force() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments = tiny(&["--algo", "sac", "--steps", "100000000", "--out", "run"]);
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP && exec \"$@\"", "sh"])
        .arg(binary())
        .args(&arguments)
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh exists");
    let file = folder.path().join("run/metrics.jsonl");
    let length = || std::fs::metadata(&file).map_or(0, |f| f.len());
    assert!(waits_until(|| length() > 0));
    signal(&child, &["-HUP"]);
    let before = length();
    assert!(
        waits_until(|| length() > before + 2000),
        "it does not go on"
    );
    signal(&child, &["-TERM"]);
    assert_eq!(end_of(&mut child).code(), Some(75));
}

#[test]
fn sigint_and_sigterm_end_with_75_after_a_checkpoint() {
    for name in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut child = run_until(folder.path(), &["--steps", "100000000"], "metrics.jsonl");
        let asked = Instant::now();
        signal(&child, &[name]);
        assert_eq!(end_of(&mut child).code(), Some(75), "{name}");
        assert!(asked.elapsed() < PROMISE, "it took {:?}", asked.elapsed());
        assert!(!folder.path().join("run/DONE").exists());
        let arguments = ["eval", "run", "--episodes", "1", "--json"];
        let output = rescore(folder.path(), &arguments);
        assert!(
            stdout(&output).contains("mean_return"),
            "{name}: {output:?}"
        );
    }
}

/// Where an iteration takes long, because of its updates or its evaluation, nobody waits for its
/// end; and what was left undone is done when the run goes on.
#[test]
fn a_long_iteration_is_left_in_the_middle() {
    let updates = [
        "--set",
        "updates_per_step=30",
        "--steps",
        "40",
        "--algo",
        "sac",
    ];
    let evaluation = [
        "--set",
        "evaluation.episodes=300",
        "--set",
        "evaluation.every=20",
        "--steps",
        "40",
    ];
    for more in [&updates[..], &evaluation[..]] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        trains(folder, &tiny(&[more, &["--out", "whole"]].concat()));
        let mut child = run_until(folder, more, "metrics.jsonl");
        let mut stops = 0;
        loop {
            // Nearly always within such an iteration.
            std::thread::sleep(Duration::from_millis(60));
            if !matches!(child.try_wait(), Ok(None)) {
                break;
            }
            let asked = Instant::now();
            signal(&child, &["-TERM"]);
            let status = end_of(&mut child);
            assert!(asked.elapsed() < PROMISE, "it took {:?}", asked.elapsed());
            if status.success() {
                break;
            }
            assert_eq!(status.code(), Some(75), "{more:?}");
            stops += 1;
            // An evaluation that was left begins anew, so it must be given the time.
            let resume = ["train", "--resume", "run"];
            let manifest = || read(&folder.join("run/manifest.json"));
            let before = manifest();
            child = command(folder, &resume)
                .spawn()
                .expect("the program starts");
            // It notes that it goes on, and from then on minds signals.
            let goes_on = || manifest() != before || !matches!(child.try_wait(), Ok(None));
            assert!(waits_until(goes_on), "it does not go on");
            if stops == 5 {
                break;
            }
        }
        assert!(end_of(&mut child).success());
        assert!(stops > 0, "{more:?} was never interrupted");
        assert_same(&folder.join("whole"), &folder.join("run"));
    }
}

/// Updates that take long (a second or so), so that a second signal comes before the first has
/// been heeded.
const SLOW: &[&str] = &[
    "--algo",
    "sac",
    "--steps",
    "100000000",
    "--set",
    "batch_size=15000",
    "--set",
    "hidden_dims=[256, 256]",
    "--set",
    "checkpoint_every=1",
    "--set",
    "evaluation.every=1000000",
    "--set",
    "updates_per_step=0.5",
];
/// From a checkpoint into the update that follows it.
const INTO_AN_UPDATE: Duration = Duration::from_millis(150);

#[test]
fn a_second_signal_ends_at_once_and_the_checkpoint_before_is_whole() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut child = run_until(folder.path(), SLOW, "checkpoints/2/SHA256SUMS");
    std::thread::sleep(INTO_AN_UPDATE);
    // At once, and of two kinds, of which neither can stand for the other.
    signal(&child, &["-INT", "-TERM"]);
    let asked = Instant::now();
    let status = end_of(&mut child);
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(status.code(), Some(130), "what shells report for SIGINT");
    let output = rescore(folder.path(), &["eval", "run", "--episodes", "1"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_terminal_is_left_as_it_was() {
    let Ok(probe) = Command::new("script").arg("--version").output() else {
        skipped("there is no `script` to make a terminal");
        return;
    };
    assert!(probe.status.success());
    for signals in [&["-TERM"][..], &["-TERM", "-INT"]] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let train: Vec<String> = tiny(&[SLOW, &["--out", "run"]].concat())
            .iter()
            .map(|word| format!("'{word}'"))
            .collect();
        let inside = format!(
            "stty -a > before; '{}' {} & echo $! > pid; wait $!; echo $? > code; stty -a > after",
            binary().display(),
            train.join(" ")
        );
        let mut terminal = Command::new("script")
            .args(["-q", "-c", &inside, "typescript"])
            .current_dir(folder)
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("script starts");
        let checkpoint = folder.join("run/checkpoints/2/SHA256SUMS");
        assert!(waits_until(|| checkpoint.exists()), "no checkpoint");
        std::thread::sleep(INTO_AN_UPDATE);
        let pid = read(&folder.join("pid"));
        assert!(send(pid.trim(), signals));
        end_of(&mut terminal);
        let code = read(&folder.join("code"));
        assert_eq!(code.trim(), if signals.len() == 1 { "75" } else { "130" });
        assert_eq!(read(&folder.join("before")), read(&folder.join("after")));
        let shown =
            String::from_utf8_lossy(&std::fs::read(folder.join("typescript")).expect("there"))
                .into_owned();
        assert!(
            shown.contains("steps") || shown.contains("train"),
            "no progress bar"
        );
        // A cursor that was hidden is shown again, an attribute set is reset.
        assert!(
            shown.rfind("\u{1b}[?25l") <= shown.rfind("\u{1b}[?25h"),
            "{shown:?}"
        );
        assert!(!shown.contains("\u{1b}[?1049h"), "another screen");
    }
}
