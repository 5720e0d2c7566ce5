//! What the program does when it is asked to stop.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rescore_tests::program::{command, rescore, stdout, tiny};

/// Long enough for any machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_mins(2);

fn waits_until(mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn end_of(child: &mut Child) -> ExitStatus {
    let ended = waits_until(|| matches!(child.try_wait(), Ok(Some(_))));
    assert!(ended, "the program does not end");
    child.wait().expect("it has ended")
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status()
        .expect("kill exists");
    assert!(status.success());
}

/// A run that would take hours, once it has begun to train.
fn long_run(folder: &Path) -> Child {
    let arguments = tiny(&["--steps", "100000000", "--out", "run"]);
    let child = command(folder, &arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let metrics = folder.join("run/metrics.jsonl");
    let begun = || std::fs::metadata(&metrics).is_ok_and(|file| file.len() > 0);
    assert!(waits_until(begun), "no metrics");
    child
}

#[test]
fn sigint_and_sigterm_end_with_75_after_a_checkpoint() {
    for name in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut child = long_run(folder.path());
        signal(&child, name);
        assert_eq!(end_of(&mut child).code(), Some(75), "{name}");
        assert!(!folder.path().join("run/DONE").exists());
        let arguments = ["eval", "run", "--episodes", "1", "--json"];
        let output = rescore(folder.path(), &arguments);
        assert!(
            stdout(&output).contains("mean_return"),
            "{name}: {output:?}"
        );
    }
}
