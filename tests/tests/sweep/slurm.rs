//! A job array of a real SLURM.

use std::fs;
use std::path::Path;
use std::process::Command;

use rescore_tests::program::{signal, skipped, stdout, tiny, trains, waits_until};
use rescore_tests::runs::assert_same;

use super::emitted::emitted;
use super::{folders, plan, states, sweep, temporary};

/// What SLURM of one node needs. Ports, folders and whether there is a service that tells users apart
/// are its own, so that it disturbs no other.
fn slurm_conf(folder: &Path) -> String {
    let port = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound").port()
    };
    let host = Command::new("hostname")
        .arg("-s")
        .output()
        .expect("hostname");
    let (host, at) = (stdout(&host), folder.display());
    let host = host.trim();
    format!(
        "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nSlurmUser=root\nSlurmdUser=root\n\
         AuthType=auth/none\nCredType=cred/none\nSlurmctldPort={}\nSlurmdPort={}\n\
         StateSaveLocation={at}/state\nSlurmdSpoolDir={at}/spool\n\
         SlurmctldPidFile={at}/slurmctld.pid\nSlurmdPidFile={at}/slurmd.pid\n\
         SlurmctldLogFile={at}/slurmctld.log\nSlurmdLogFile={at}/slurmd.log\n\
         ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
         JobAcctGatherType=jobacct_gather/none\nMpiDefault=none\nReturnToService=2\n\
         SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\n\
         PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n\
         NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN\n\
         PartitionName=low Nodes={host} Default=YES State=UP PriorityTier=1 GraceTime=20\n\
         PartitionName=high Nodes={host} State=UP PriorityTier=10 PreemptMode=OFF\n",
        port(),
        port()
    )
}

/// A SLURM of one node for as long as it lives.
struct Slurm {
    folder: tempfile::TempDir,
}

impl Slurm {
    fn start() -> Self {
        let slurm = Self {
            folder: temporary(),
        };
        let at = slurm.folder.path();
        fs::create_dir(at.join("state")).expect("writable");
        fs::create_dir(at.join("spool")).expect("writable");
        fs::write(at.join("slurm.conf"), slurm_conf(at)).expect("writable");
        slurm.run("slurmctld", &[]);
        slurm.run("slurmd", &[]);
        assert!(waits_until(|| slurm
            .run("sinfo", &["-h", "-o", "%t"])
            .contains("idle")));
        slurm
    }

    /// What the program `name` prints.
    fn run(&self, name: &str, arguments: &[&str]) -> String {
        let output = Command::new(name)
            .args(arguments)
            .env("SLURM_CONF", self.folder.path().join("slurm.conf"))
            .output()
            .expect("SLURM is installed");
        stdout(&output)
    }

    /// How often the element of an array was requeued.
    fn restarts(&self, element: &str) -> u32 {
        let shown = self.run("scontrol", &["show", "job", element]);
        let restarts = shown
            .split_whitespace()
            .find_map(|word| word.strip_prefix("Restarts="));
        restarts
            .and_then(|restarts| restarts.parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        self.run("scancel", &["--user=root"]);
        for name in ["slurmd.pid", "slurmctld.pid"] {
            let pid = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            if !pid.trim().is_empty() {
                signal(pid.trim(), &["-TERM"]);
            }
        }
    }
}

/// On a SLURM of its own: an element that is warned, and one that is pre-empted, checkpoint, are
/// requeued and end in the bytes of the run made alone; one that is cancelled stays away.
///
/// By hand, as root: `apt-get install slurmctld slurmd slurm-client`, which `RESCORE_INSTALL_SLURM=1`
/// does, and `cargo xtask test sweep`'s program with `--ignored`.
#[test]
#[ignore = "starts SLURM, which it installs where RESCORE_INSTALL_SLURM is set"]
fn a_job_array_of_slurm_goes_on_after_warnings_and_preemption() {
    if std::env::var_os("RESCORE_INSTALL_SLURM").is_some() {
        let install = "apt-get install -y --no-install-recommends slurmctld slurmd slurm-client";
        let installed = Command::new("sh").args(["-c", install]).status();
        assert!(installed.is_ok_and(|status| status.success()), "{install}");
    }
    if Command::new("slurmctld").arg("-V").output().is_err() {
        skipped("there is no SLURM");
        return;
    }
    let folder = temporary();
    let folder = folder.path();
    plan(
        folder,
        &sweep("[0, 1, 2]", 20_000, "\"evaluation.max_steps\" = 20\n"),
    );
    let slurm = Slurm::start();
    let job = emitted(folder);
    let job = job.to_str().expect("text");
    let submit = |elements: &str| {
        let array = format!("--array={elements}");
        let options = [
            "--parsable",
            "--cpus-per-task=1",
            "--partition=low",
            &array,
            job,
        ];
        slurm.run("sbatch", &options).trim().to_owned()
    };
    let begins = |index: usize| {
        let log = folders(folder)[index].join("metrics.jsonl");
        let has_begun = || {
            let is_there = fs::metadata(&log).is_ok_and(|file| file.len() > 0);
            is_there && states(folder)[index] == "running"
        };
        assert!(waits_until(has_begun), "run {index} does not begin");
    };
    let array = submit("0-1");
    let element = |index: usize| format!("{array}_{index}");
    begins(0);
    slurm.run("scancel", &["--signal=USR1", "--batch", &element(0)]);
    assert!(
        waits_until(|| slurm.restarts(&element(0)) == 1),
        "it is not requeued"
    );
    begins(1);
    // Both processors for a job that comes before it.
    let urgent = [
        "--partition=high",
        "--cpus-per-task=2",
        "--wrap=true",
        "--output=/dev/null",
    ];
    slurm.run("sbatch", &urgent);
    assert!(
        waits_until(|| slurm.restarts(&element(1)) == 1),
        "it is not requeued"
    );
    for index in 0..2 {
        assert_eq!(states(folder)[index], "stopped");
        let goes_on = || {
            // SLURM would wait for two minutes.
            let now = format!("jobid={}", element(index));
            slurm.run("scontrol", &["update", &now, "starttime=now"]);
            states(folder)[index] == "done"
        };
        assert!(waits_until(goes_on), "{:?}", states(folder));
        let out = format!("alone-{index}");
        let seed = index.to_string();
        let options = [
            "--algo", "sac", "--steps", "20000", "--seed", &seed, "--out", &out,
        ];
        let setting = ["--set", "evaluation.max_steps=20"];
        trains(folder, &tiny(&[&options, &setting[..]].concat()));
        assert_same(&folder.join(&out), &folders(folder)[index]);
    }
    let array = submit("2");
    begins(2);
    slurm.run("scancel", &[&array]);
    assert!(
        waits_until(|| states(folder)[2] == "stopped"),
        "it does not stop"
    );
    assert!(waits_until(|| slurm
        .run("squeue", &["-h"])
        .trim()
        .is_empty()));
    assert_eq!(slurm.restarts(&format!("{array}_2")), 0);
}
