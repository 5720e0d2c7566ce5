//! Replaying one recorded case.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use rescore_envs::mujoco::MujocoTask;
use rescore_envs::{Task, TaskEntry};

use super::Report;
use super::data::Arrays;

const START: [&str; 3] = ["qpos0", "qvel0", "obs0"];
const PER_STEP: [&str; 7] = [
    "actions",
    "obs",
    "reward",
    "terminated",
    "truncated",
    "qpos",
    "qvel",
];
const RESETS: [&str; 4] = ["reset_after_step", "reset_qpos", "reset_qvel", "reset_obs"];

/// Replays `case` and compares every array it has.
///
/// A case with resets starts a new episode after each step that ended one; a case without goes on
/// past termination and past the time limit, which then stays exceeded.
pub(super) fn check(
    arrays: &Arrays,
    case: &str,
    keys: &BTreeSet<&str>,
    task: &mut MujocoTask,
    entry: &TaskEntry,
    report: &mut Report,
) -> Result<()> {
    let at = format!("{}:{case}", entry.name);
    let infos = check_form(keys)?;
    let recorded = Recorded::read(arrays, case, keys, task)?;

    task.set_state(recorded.qpos0, recorded.qvel0)?;
    report.compare_row(&at, "obs0", task.observation(), recorded.obs0)?;
    let mut missing = BTreeSet::new();
    let mut elapsed = 0;
    let mut next_reset = 0;
    for step in 0..recorded.steps {
        let outcome = task.step(recorded.action(step))?;
        elapsed += 1;
        let truncated = entry.time_limit.is_some_and(|limit| elapsed >= limit);
        recorded
            .compare_step(report, &at, step, task, outcome.reward)
            .and_then(|()| recorded.compare_flags(step, outcome.terminated, truncated))
            .with_context(|| format!("step {step}"))?;
        for info in &infos {
            match task.info().iter().find(|(name, _)| name == info) {
                None => _ = missing.insert(*info),
                Some((_, value)) => {
                    let column = arrays.f64(&format!("{case}.info.{info}"), &[recorded.steps])?;
                    report
                        .compare(&at, *value, column[step])
                        .with_context(|| format!("step {step}: info.{info}"))?;
                }
            }
        }
        if let Some(resets) = &recorded.resets
            && (outcome.terminated || truncated)
        {
            resets
                .apply(next_reset, step, task, report, &at)
                .with_context(|| format!("reset {next_reset} after step {step}"))?;
            next_reset += 1;
            elapsed = 0;
        }
    }
    let resets = recorded.resets.map_or(0, |resets| resets.after_step.len());
    ensure!(
        next_reset == resets,
        "{resets} resets are recorded, {next_reset} took place"
    );
    report.steps += recorded.steps;
    report
        .not_compared
        .extend(missing.iter().map(|info| format!("{at}.info.{info}")));
    Ok(())
}

/// Makes sure that the case has all arrays it needs and none of unknown form; returns the names
/// of its `info` arrays.
fn check_form<'a>(keys: &BTreeSet<&'a str>) -> Result<Vec<&'a str>> {
    let mut infos = Vec::new();
    for key in keys {
        if let Some(info) = key.strip_prefix("info.") {
            infos.push(info);
        } else if !START
            .iter()
            .chain(&PER_STEP)
            .chain(&RESETS)
            .any(|known| known == key)
        {
            bail!("array `{key}` is of unknown form");
        }
    }
    Ok(infos)
}

/// The arrays of a case.
struct Recorded<'a> {
    steps: usize,
    qpos0: &'a [f64],
    qvel0: &'a [f64],
    obs0: &'a [f64],
    actions: &'a [f32],
    obs: &'a [f64],
    reward: &'a [f64],
    terminated: &'a [u8],
    truncated: &'a [u8],
    qpos: &'a [f64],
    qvel: &'a [f64],
    resets: Option<Resets<'a>>,
}

/// The states in which the episodes after the first began.
struct Resets<'a> {
    after_step: &'a [i64],
    qpos: &'a [f64],
    qvel: &'a [f64],
    obs: &'a [f64],
}

impl<'a> Recorded<'a> {
    fn read(
        arrays: &'a Arrays,
        case: &str,
        keys: &BTreeSet<&str>,
        task: &MujocoTask,
    ) -> Result<Self> {
        let name = |key: &str| format!("{case}.{key}");
        let (nq, nv) = (task.qpos().len(), task.qvel().len());
        let (obs, act) = (task.observation().len(), task.action_space().dim());
        let steps = arrays.rows(&name("actions"))?;
        ensure!(steps > 0, "the case has no steps");
        let resets = if RESETS.iter().any(|key| keys.contains(key)) {
            let count = arrays.rows(&name("reset_after_step"))?;
            Some(Resets {
                after_step: arrays.i64(&name("reset_after_step"), &[count])?,
                qpos: arrays.f64(&name("reset_qpos"), &[count, nq])?,
                qvel: arrays.f64(&name("reset_qvel"), &[count, nv])?,
                obs: arrays.f64(&name("reset_obs"), &[count, obs])?,
            })
        } else {
            None
        };
        Ok(Self {
            steps,
            qpos0: arrays.f64(&name("qpos0"), &[nq])?,
            qvel0: arrays.f64(&name("qvel0"), &[nv])?,
            obs0: arrays.f64(&name("obs0"), &[obs])?,
            actions: arrays.f32(&name("actions"), &[steps, act])?,
            obs: arrays.f64(&name("obs"), &[steps, obs])?,
            reward: arrays.f64(&name("reward"), &[steps])?,
            terminated: arrays.flags(&name("terminated"), &[steps])?,
            truncated: arrays.flags(&name("truncated"), &[steps])?,
            qpos: arrays.f64(&name("qpos"), &[steps, nq])?,
            qvel: arrays.f64(&name("qvel"), &[steps, nv])?,
            resets,
        })
    }

    fn action(&self, step: usize) -> &'a [f32] {
        row(self.actions, step, self.steps)
    }

    fn compare_step(
        &self,
        report: &mut Report,
        at: &str,
        step: usize,
        task: &MujocoTask,
        reward: f64,
    ) -> Result<()> {
        let n = self.steps;
        report.compare_row(at, "qpos", task.qpos(), row(self.qpos, step, n))?;
        report.compare_row(at, "qvel", task.qvel(), row(self.qvel, step, n))?;
        report.compare_row(at, "obs", task.observation(), row(self.obs, step, n))?;
        report
            .compare(at, reward, self.reward[step])
            .context("reward")
    }

    fn compare_flags(&self, step: usize, terminated: bool, truncated: bool) -> Result<()> {
        for (what, got, recorded) in [
            ("terminated", terminated, self.terminated[step] == 1),
            ("truncated", truncated, self.truncated[step] == 1),
        ] {
            ensure!(got == recorded, "{what} is {got}, recorded {recorded}");
        }
        Ok(())
    }
}

impl Resets<'_> {
    /// Begins episode `index` (the first one after a reset is 0).
    fn apply(
        &self,
        index: usize,
        step: usize,
        task: &mut MujocoTask,
        report: &mut Report,
        at: &str,
    ) -> Result<()> {
        let count = self.after_step.len();
        ensure!(index < count, "only {count} resets are recorded");
        let recorded = self.after_step[index];
        ensure!(
            usize::try_from(recorded) == Ok(step),
            "recorded after step {recorded}"
        );
        task.set_state(row(self.qpos, index, count), row(self.qvel, index, count))?;
        report.compare_row(
            at,
            "reset_obs",
            task.observation(),
            row(self.obs, index, count),
        )
    }
}

/// Row `index` of a matrix of `rows` rows.
fn row<T>(matrix: &[T], index: usize, rows: usize) -> &[T] {
    let width = matrix.len() / rows;
    &matrix[index * width..(index + 1) * width]
}
