//! Replays recorded Gymnasium trajectories on the MuJoCo tasks and compares.
//!
//! A golden folder holds `index.json` and one safetensors file per task; `tests/golden/README.md`
//! describes them. [`check`] is what the golden test calls.

mod data;
mod replay;
mod resets;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rescore_envs::mujoco::{MujocoTask, library_version, model_xml};
use rescore_envs::{Task, TaskEntry, list};
use sha2::{Digest, Sha256};

use data::{Arrays, Index, Recording};

/// Deviations are relative to the recorded value, but never to less than 1.
///
/// Both sides run the same simulator; what differs is the order of a few additions outside of it
/// (NumPy may use fused multiply-adds), about 1e-16, which contacts amplify over a trajectory.
const TOLERANCE: f64 = 1e-9;

/// What [`check`] compared.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Report {
    /// Names of the tasks replayed.
    pub tasks: BTreeSet<String>,
    /// Number of cases replayed.
    pub cases: usize,
    /// Number of steps replayed.
    pub steps: usize,
    /// The largest deviation, in the sense of the tolerance.
    pub worst: f64,
    /// Where it was found, as `TASK:CASE`.
    pub worst_at: String,
    /// MuJoCo tasks of which the folder has no recording.
    pub skipped: Vec<String>,
    /// Recorded `info` arrays that the tasks do not give, as `TASK:CASE.info.NAME`.
    pub not_compared: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.skipped.is_empty() {
            writeln!(
                f,
                "golden: skipped, not recorded: {}",
                self.skipped.join(", ")
            )?;
        }
        if !self.not_compared.is_empty() {
            writeln!(f, "golden: not compared: {}", self.not_compared.join(", "))?;
        }
        write!(
            f,
            "golden: {} tasks, {} cases, {} steps, worst {:.1e} in {}",
            self.tasks.len(),
            self.cases,
            self.steps,
            self.worst,
            self.worst_at
        )
    }
}

impl Report {
    /// Compares one number and remembers the largest deviation.
    fn compare(&mut self, at: &str, got: f64, recorded: f64) -> Result<()> {
        let deviation = (got - recorded).abs() / recorded.abs().max(1.0);
        // NaN is no number of at most the tolerance, and fails.
        ensure!(
            deviation <= TOLERANCE,
            "got {got:e}, recorded {recorded:e}, deviation {deviation:.1e} > {TOLERANCE:e}"
        );
        if deviation > self.worst || self.worst_at.is_empty() {
            self.worst = deviation;
            at.clone_into(&mut self.worst_at);
        }
        Ok(())
    }

    /// Compares two rows, naming the column that differs.
    fn compare_row(&mut self, at: &str, what: &str, got: &[f64], recorded: &[f64]) -> Result<()> {
        ensure!(
            got.len() == recorded.len(),
            "{what}: {} values for {}",
            got.len(),
            recorded.len()
        );
        for (column, (got, recorded)) in got.iter().zip(recorded).enumerate() {
            self.compare(at, *got, *recorded)
                .with_context(|| format!("{what}[{column}]"))?;
        }
        Ok(())
    }
}

/// Replays every task of a golden folder.
///
/// # Errors
/// The first deviation, and anything that would leave a part of the folder unchecked: no or an
/// empty index, a listed file that is missing or has another hash, a file that is not listed, a
/// task that there is none of, an array of unknown form, another version of MuJoCo, or
/// nothing to compare at all. The message says in which file, case, step and column.
pub fn check(folder: &Path) -> Result<Report> {
    let index = Index::read(folder)?;
    let library = library_version();
    ensure!(
        index.mujoco == library,
        "{} was recorded on MuJoCo {}, but {library} is loaded; trajectories of different \
         versions differ",
        folder.display(),
        index.mujoco
    );
    let tasks = list();
    let mut report = Report::default();
    for recording in &index.files {
        let path = folder.join(&recording.file);
        check_file(recording, &path, &tasks, &mut report)
            .with_context(|| path.display().to_string())?;
    }
    let mujoco = tasks.iter().filter(|task| task.needs_mujoco);
    let missing = mujoco.filter(|task| !report.tasks.contains(task.name));
    report.skipped = missing.map(|task| task.name.to_owned()).collect();
    Ok(report)
}

fn check_file(
    recording: &Recording,
    path: &Path,
    tasks: &[TaskEntry],
    report: &mut Report,
) -> Result<()> {
    let bytes = std::fs::read(path).context("listed in index.json, but cannot be read")?;
    if let Some(expected) = &recording.sha256 {
        let found = sha256(&bytes);
        ensure!(
            &found == expected,
            "has the hash {found}, index.json says {expected}"
        );
    }
    let name = &recording.env_id;
    let entry = tasks
        .iter()
        .find(|entry| entry.name == name && entry.needs_mujoco)
        .with_context(|| format!("`{name}` is no MuJoCo task"))?;
    let mut task = MujocoTask::with_options(name, &recording.options)?;
    check_facts(recording, entry, &task).context("index.json")?;
    let arrays = Arrays::read(&bytes, recording)?;
    for (case, keys) in arrays.cases()? {
        let at = format!("{name}:{case}");
        if let Some(samples) = case.strip_prefix("reset").and_then(|n| n.parse().ok()) {
            resets::check(&arrays, case, &keys, &mut task, samples).context(at)?;
        } else {
            replay::check(&arrays, case, &keys, &mut task, entry, report).context(at)?;
            report.cases += 1;
        }
    }
    report.tasks.insert(name.clone());
    Ok(())
}

/// Compares what the index says about a task and its model with the task.
fn check_facts(recording: &Recording, entry: &TaskEntry, task: &MujocoTask) -> Result<()> {
    let model_name = task.model_file().to_string_lossy();
    let model = model_xml(&model_name).context("the model is not one of Gymnasium's")?;
    let facts = task.model_facts();
    let exact = [
        ("xml", recording.xml == model_name),
        (
            "xml_sha256",
            recording.xml_sha256 == sha256(model.as_bytes()),
        ),
        ("obs_dim", recording.obs_dim == task.observation().len()),
        ("act_dim", recording.act_dim == task.action_space().dim()),
        ("act_low", recording.act_low == task.action_space().low()),
        ("act_high", recording.act_high == task.action_space().high()),
        ("frame_skip", recording.frame_skip == facts.frame_skip),
        ("integrator", recording.integrator == facts.integrator),
        ("time_limit", Some(recording.time_limit) == entry.time_limit),
        ("nq", recording.nq == facts.nq),
        ("nv", recording.nv == facts.nv),
        ("nu", recording.nu == facts.nu),
        ("nbody", recording.nbody == facts.nbody),
    ];
    for (key, holds) in exact {
        ensure!(
            holds,
            "`{key}` is not what the task has: {facts:?}, {entry:?}"
        );
    }
    // Products of rounded decimals, so not to the last bit.
    let mut unused = Report::default();
    unused
        .compare("", facts.timestep, recording.timestep)
        .context("`timestep`")?;
    unused.compare("", facts.dt, recording.dt).context("`dt`")?;
    unused.compare_row("", "`init_qpos`", &facts.initial_qpos, &recording.init_qpos)
}

/// The SHA-256 of `bytes`, in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
