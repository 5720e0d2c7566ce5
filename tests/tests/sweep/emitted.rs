//! What is emitted for clusters.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rescore_tests::program::{end_of, read, rescore, signal, skipped, stderr, stdout, waits_until};
use serde_json::Value;

use super::{folders, plan, states, sweep, temporary};

/// The program `name` below `folder`, with this text.
fn script(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(folder).expect("writable");
    fs::write(&path, text).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its owner");
}

/// The script that `sweep emit slurm` prints, as a file.
pub(super) fn emitted(folder: &Path) -> PathBuf {
    let output = rescore(folder, &["sweep", "emit", "slurm", "sweep"]);
    assert!(output.status.success(), "{}", stderr(&output));
    script(folder, "job.sh", &stdout(&output));
    folder.join("job.sh")
}

/// With programs in the place of SLURM's: what the script does with signals and exit codes.
#[test]
fn the_script_for_slurm_requeues_a_run_that_was_warned_and_no_other() {
    let folder = temporary();
    let folder = folder.path();
    plan(folder, &sweep("[0, 1]", 4000, ""));
    let job = emitted(folder);
    let text = read(&job);
    let checked = Command::new("bash").arg("-n").arg(&job).output();
    let checked = checked.expect("bash exists");
    assert!(
        checked.status.success() && checked.stderr.is_empty(),
        "{checked:?}"
    );
    assert!(text.contains("\n#SBATCH --array=0-1\n"), "{text}");
    assert!(text.contains("\n#SBATCH --signal=B:USR1@"), "{text}");
    let fakes = folder.join("fakes");
    let srun = "#!/bin/sh\nwhile [ \"${1#--}\" != \"$1\" ]; do shift; done\nexec \"$@\"\n";
    script(&fakes, "srun", srun);
    let requeued = folder.join("requeued");
    script(
        &fakes,
        "scontrol",
        &format!("#!/bin/sh\necho \"$@\" >> '{}'\n", requeued.display()),
    );
    let path = std::env::var("PATH").unwrap_or_default();
    let start = || {
        Command::new("bash")
            .arg(&job)
            .env("PATH", format!("{}:{path}", fakes.display()))
            .env("SLURM_ARRAY_JOB_ID", "7")
            .env("SLURM_ARRAY_TASK_ID", "1")
            .env("RUST_LOG", "warn")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash starts")
    };
    let run = folders(folder).remove(1);
    let manifest = || fs::read_to_string(run.join("manifest.json")).unwrap_or_default();
    let logged = || fs::metadata(run.join("metrics.jsonl")).map_or(0, |file| file.len());
    let (mut before, mut length) = (manifest(), 0);
    for (name, times) in [("-USR1", 1), ("-USR1", 2), ("-TERM", 2)] {
        let mut child = start();
        assert!(
            waits_until(|| manifest() != before && logged() > length),
            "it does not go on"
        );
        assert!(signal(&child.id().to_string(), &[name]));
        assert_eq!(end_of(&mut child).code(), Some(75), "{name}");
        (before, length) = (manifest(), logged());
        // Whoever cancels a job does not want it again.
        let lines = fs::read_to_string(&requeued).unwrap_or_default();
        assert_eq!(lines, "requeue 7_1\n".repeat(times), "{name}");
    }
    assert_eq!(states(folder), ["not_started", "stopped"]);
    let mut child = start();
    assert_eq!(end_of(&mut child).code(), Some(0));
    assert_eq!(read(&requeued).lines().count(), 2);
    assert_eq!(states(folder), ["not_started", "done"]);
    // Wrong usage is not tried again.
    fs::remove_dir_all(folder.join("sweep/plan")).expect("there");
    assert_eq!(end_of(&mut start()).code(), Some(2));
    assert_eq!(read(&requeued).lines().count(), 2);
}

#[test]
fn the_job_for_kubernetes_has_an_index_a_run() {
    let folder = temporary();
    let folder = folder.path();
    plan(folder, &sweep("[0, 1, 2]", 60, ""));
    let output = rescore(
        folder,
        &["sweep", "emit", "k8s", "sweep", "--image", "here/it:1"],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    for line in [
        "kind: Job",
        "completionMode: Indexed",
        "completions: 3",
        "- action: FailJob",
        "values: [2]",
        "- action: Ignore",
        "values: [75]",
        "- type: DisruptionTarget",
        "image: \"here/it:1\"",
    ] {
        assert!(
            text.lines().any(|found| found.trim() == line),
            "no `{line}` in {text}"
        );
    }
    fs::write(folder.join("job.yaml"), text).expect("writable");
    // It is read as a job by Kubernetes' own program, which asks no cluster for this.
    let output = Command::new("kubectl")
        .args([
            "annotate", "--local", "-f", "job.yaml", "read=yes", "-o", "json",
        ])
        .current_dir(folder)
        .output();
    let Ok(output) = output else {
        skipped("there is no `kubectl` that reads the manifest");
        return;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    let job: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(job["spec"]["completions"], 3);
    let rules = &job["spec"]["podFailurePolicy"]["rules"];
    assert_eq!(rules[0]["onExitCodes"]["values"][0], 2);
    assert_eq!(rules[1]["action"], "Ignore");
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Never");
    assert_eq!(pod["containers"][0]["command"][3], "/sweep");
}
