//! `sweep emit`: what makes a scheduler run a sweep.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use rescore_runner::RunError;
use rescore_runner::sweep::Plan;
use rescore_store::{StoreError, exit_code};

use crate::Error;
use crate::commands::print;

/// Seconds that a run is given to write its last checkpoint, before the time limit of SLURM and after
/// the signal of Kubernetes.
const GRACE: u32 = 120;

/// The scheduler.
#[derive(Debug, Subcommand)]
pub(super) enum Format {
    /// Print a SLURM job array: an element a run, which checkpoints and requeues itself when it must end
    ///
    /// Options of `sbatch` on the command line win over those in the script, for example
    /// `sbatch --partition=NAME --time=12:00:00 --array=0-35%8 FILE`.
    Slurm {
        /// Folder of the sweep, which all nodes see
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Print a Kubernetes Indexed Job: a pod a run, retried when it is pre-empted, the job ended by an
    /// error of configuration
    K8s {
        /// Folder of the sweep
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Image with the program `rescore`
        #[arg(long, value_name = "NAME", default_value = concat!("rescore:", env!("CARGO_PKG_VERSION")))]
        image: String,
        /// Persistent volume claim that holds what is in DIR
        #[arg(long, value_name = "NAME", default_value = "rescore-sweep")]
        claim: String,
    },
}

impl Format {
    /// Prints the script or the manifest.
    pub(super) fn print(self) -> Result<(), Error> {
        let text = match self {
            Self::Slurm { folder } => slurm(&Plan::read(&folder)?, &program()?)?,
            Self::K8s {
                folder,
                image,
                claim,
            } => kubernetes(&Plan::read(&folder)?, &image, &claim)?,
        };
        Ok(print(text.trim_end())?)
    }
}

fn program() -> Result<PathBuf, StoreError> {
    std::env::current_exe().map_err(StoreError::io("find", Path::new("rescore")))
}

/// The job array that runs `plan` with `program`.
fn slurm(plan: &Plan, program: &Path) -> Result<String, RunError> {
    let folder = std::path::absolute(plan.folder());
    let folder = folder.map_err(StoreError::io("find", plan.folder()))?;
    let unfit = |path: &Path| {
        RunError::usage(
            format!(
                "{} cannot be written into a script for SLURM",
                path.display()
            ),
            "rename it to something of letters, digits and spaces",
        )
    };
    let word = |path: &Path| {
        let text = path.to_str().and_then(|text| shlex::try_quote(text).ok());
        text.map(std::borrow::Cow::into_owned)
            .ok_or_else(|| unfit(path))
    };
    // In an option `sbatch` replaces what follows `%`, and ends a line at its end.
    let text = folder
        .to_str()
        .filter(|text| !text.contains(['"', '\\', '\n']));
    let output = text.ok_or_else(|| unfit(&folder))?.replace('%', "%%");
    let (program, folder) = (word(program)?, word(&folder)?);
    let (runs, last) = (plan.runs.len(), plan.runs.len() - 1);
    let (grace, interrupted) = (GRACE, exit_code::INTERRUPTED);
    Ok(format!(
        r#"#!/bin/bash
# A sweep of {runs} runs: element I of this job array makes run I, goes on with it, or finds it done.
#SBATCH --job-name=rescore-sweep
#SBATCH --array=0-{last}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output="{output}/slurm-%a.log"
# Before the time limit this shell is warned, and nobody else.
#SBATCH --signal=B:USR1@{grace}
set -u

cancelled=0
warned=0
# Warnings may come twice, so that they are passed on as a signal of which a second changes nothing.
warn() {{ kill -USR1 "$run" 2>/dev/null; }}

export RAYON_NUM_THREADS="${{SLURM_CPUS_PER_TASK:-1}}"
srun --ntasks=1 --cpus-per-task="${{SLURM_CPUS_PER_TASK:-1}}" \
  {program} sweep run {folder} &
run=$!
trap 'warned=1; warn' USR1
# This one comes to the shell when the job is cancelled, or when SLURM requeues it by itself.
trap 'cancelled=1; warn' TERM

# A signal ends `wait`, not the run.
code=0
wait "$run" || code=$?
while kill -0 "$run" 2>/dev/null; do
  code=0
  wait "$run" || code=$?
done

# {interrupted}: stopped after a checkpoint. Above 128: warned before the run minded signals.
if ((!cancelled && (code == {interrupted} || (warned && code > 128)))); then
  echo "requeued after a checkpoint"
  scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$code"
"#
    ))
}

/// The Indexed Job that runs `plan`.
fn kubernetes(plan: &Plan, image: &str, claim: &str) -> Result<String, RunError> {
    // As JSON, which is YAML whatever is in it.
    let quoted = |text: &str| {
        let text = serde_json::to_string(text).map_err(std::io::Error::from);
        text.map_err(StoreError::io("encode", Path::new("stdout")))
    };
    let (image, claim) = (quoted(image)?, quoted(claim)?);
    let (runs, hash) = (plan.runs.len(), &plan.hash[..8]);
    let (usage, interrupted) = (exit_code::USAGE, exit_code::INTERRUPTED);
    Ok(format!(
        r#"# A sweep of {runs} runs: the pod with completion index I makes run I, goes on with it, or finds it
# done. The claim holds what is in the folder of the sweep, the folder `plan` above all.
apiVersion: batch/v1
kind: Job
metadata:
  name: rescore-sweep-{hash}
spec:
  completionMode: Indexed
  completions: {runs}
  parallelism: {runs}
  backoffLimitPerIndex: 3
  podFailurePolicy:
    rules:
      # Usage or configuration: it would fail again, and so would others.
      - action: FailJob
        onExitCodes:
          containerName: rescore
          operator: In
          values: [{usage}]
      # Stopped after a checkpoint, or its node went away: another pod goes on, and no failure is counted.
      - action: Ignore
        onExitCodes:
          containerName: rescore
          operator: In
          values: [{interrupted}]
      - action: Ignore
        onPodConditions:
          - type: DisruptionTarget
            status: "True"
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: {GRACE}
      containers:
        - name: rescore
          image: {image}
          command: ["rescore", "sweep", "run", "/sweep"]
          env:
            - name: RAYON_NUM_THREADS
              value: "2"
          resources:
            requests:
              cpu: "2"
              memory: 4Gi
          volumeMounts:
            - name: sweep
              mountPath: /sweep
      volumes:
        - name: sweep
          persistentVolumeClaim:
            claimName: {claim}
"#
    ))
}

#[cfg(test)]
mod tests {
    use rescore_runner::sweep::plan;

    use super::*;
    use crate::backend::request;

    const SWEEP: &str =
        "algorithms = [\"sac\"]\ntasks = [\"Pendulum-v1\"]\nseeds = [0, 1, 2]\nsteps = 20_000\n";

    fn planned(name: &str) -> (tempfile::TempDir, Plan) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runs = plan("sweep.toml", SWEEP, &request()).expect("valid");
        let plan = Plan::write(&folder.path().join(name), SWEEP, runs).expect("writable");
        (folder, plan)
    }

    #[test]
    fn paths_are_quoted_for_the_shell_and_for_sbatch() {
        let (_folder, plan) = planned("100% mine");
        let script = slurm(&plan, Path::new("/opt/my programs/rescore")).expect("text");
        assert!(script.contains("100%% mine/slurm-%a.log\"\n"), "{script}");
        let words = shlex::split(
            script
                .lines()
                .find(|line| line.contains(" sweep run "))
                .expect("the command"),
        );
        let words = words.expect("words of a shell");
        let folder = plan.folder().to_str().expect("text");
        let expected = ["/opt/my programs/rescore", "sweep", "run", folder, "&"];
        assert_eq!(words, expected);
        let (_folder, plan) = planned("a\"b");
        let error = slurm(&plan, Path::new("rescore")).expect_err("no line of sbatch");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_job_of_kubernetes_is_told_apart_by_exit_codes() {
        let (_folder, plan) = planned("sweep");
        let text = kubernetes(&plan, "registry/rescore:1", "my \"claim\"").expect("text");
        for line in [
            "  completions: 3",
            "          values: [2]",
            "          values: [75]",
            "      restartPolicy: Never",
            "          image: \"registry/rescore:1\"",
            "            claimName: \"my \\\"claim\\\"\"",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "no `{line}` in {text}"
            );
        }
    }
}
