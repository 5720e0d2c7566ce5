//! Does an environment keep what it promises?

use std::collections::BTreeSet;

use rand::RngExt;

use crate::{Env, EnvError, EnvRng, Step, derive_seed, seeded_rng};

/// Where an action space has no bounds, actions are drawn from within plus and minus this.
const UNBOUNDED: f64 = 1.0;

/// Steps that are repeated in a second environment and after saving.
const REPEATED: u64 = 500;

/// What [`check_env`] saw of an environment that keeps its promises.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Steps taken.
    pub steps: u64,
    /// Episodes that ended with `terminated` alone.
    pub terminated: u64,
    /// Episodes that ended with `truncated` alone.
    pub truncated: u64,
    /// Episodes that ended with both.
    pub both: u64,
    /// Lengths of the episodes that were truncated: one, if a time limit did it.
    pub truncated_lengths: BTreeSet<u64>,
    /// Steps of the longest episode, ended or not.
    pub longest: u64,
    /// Warnings of a simulator.
    pub warnings: u64,
    /// Whether the environment can be saved and restored.
    pub saves: bool,
}

/// A promise of [`Env`] that an environment has broken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{task}`, step {step}: {what}")]
pub struct CheckError {
    /// Name of the environment.
    pub task: String,
    /// Steps taken before.
    pub step: u64,
    /// What is wrong.
    pub what: String,
}

/// Holds an environment of your own, or any other, against everything that [`Env`] promises:
///
/// - observations have the space's length and lie in it, and observations and rewards are finite;
/// - one seed gives one trajectory, in this environment, in another one and in a used one, and no
///   seed at first means seed 0;
/// - stepping before the first reset or after the end of an episode is [`EnvError::ResetNeeded`],
///   actions of wrong length or that are not finite are refused, and a refused step changes
///   nothing;
/// - `warnings` come with `truncated` alone;
/// - if it can be saved, a restored copy goes on to the bit.
///
/// `make` must give a fresh environment on each call. The environment is stepped `steps` times with
/// uniformly random actions within its action space.
///
/// ```
/// use rescore_envs::{TaskSettings, check_env, make};
/// let report = check_env(|| make("Pendulum-v1", &TaskSettings::default()), 1_000)?;
/// assert_eq!(report.truncated, 5); // of 200 steps each
/// assert_eq!(report.terminated, 0);
/// # Ok::<(), rescore_envs::CheckError>(())
/// ```
///
/// # Errors
/// The first broken promise.
pub fn check_env<E: Env>(
    mut make: impl FnMut() -> Result<E, EnvError>,
    steps: u64,
) -> Result<CheckReport, CheckError> {
    let mut fresh = || {
        make().map_err(|error| CheckError {
            task: "the environment".to_owned(),
            step: 0,
            what: format!("cannot be made: {error}"),
        })
    };
    let mut check = Check {
        env: fresh()?,
        report: CheckReport::default(),
        rng: seeded_rng(derive_seed(0, 1)),
        length: 0,
    };
    check.refuses_to_step("before the first reset")?;
    let first = check.trace(None)?;
    check.env = fresh()?;
    if check.trace(Some(0))? != first {
        return Err(check.error("without a seed its random stream is not that of seed 0"));
    }
    let seven = check.trace(Some(7))?;
    check.env = fresh()?;
    if check.trace(Some(7))? != seven {
        return Err(check.error("one seed gives two trajectories"));
    }
    check.saves(&mut fresh)?;
    check.run(steps)?;
    Ok(check.report)
}

/// A check under way.
struct Check<E> {
    env: E,
    report: CheckReport,
    rng: EnvRng,
    length: u64,
}

impl<E: Env> Check<E> {
    fn error(&self, what: impl Into<String>) -> CheckError {
        CheckError {
            task: self.env.name().to_owned(),
            step: self.report.steps,
            what: what.into(),
        }
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<(), CheckError> {
        let result = self.env.reset(seed);
        result.map_err(|e| self.error(format!("cannot be reset: {e}")))?;
        self.length = 0;
        self.observation_is_valid()
    }

    /// A random action within the space.
    fn action(&mut self) -> Vec<f32> {
        let space = self.env.action_space();
        let bounds = space.low().iter().zip(space.high());
        let rng = &mut self.rng;
        bounds
            .map(|(low, high)| {
                let low = if low.is_finite() {
                    *low
                } else {
                    high.min(UNBOUNDED) - 2.0 * UNBOUNDED
                };
                let high = if high.is_finite() {
                    *high
                } else {
                    low + 2.0 * UNBOUNDED
                };
                (low + (high - low) * rng.random_range(0.0..1.0)) as f32
            })
            .collect()
    }

    fn observation_is_valid(&self) -> Result<(), CheckError> {
        let (observation, space) = (self.env.observation(), self.env.observation_space());
        if observation.len() != space.dim() {
            return Err(self.error(format!(
                "the observation has {} values, its space {}",
                observation.len(),
                space.dim()
            )));
        }
        for (i, x) in observation.iter().enumerate() {
            let (low, high) = (space.low()[i], space.high()[i]);
            if !(x.is_finite() && low <= *x && *x <= high) {
                return Err(self.error(format!(
                    "observation[{i}] is {x}, but its space is [{low}, {high}]"
                )));
            }
        }
        Ok(())
    }

    /// One valid step.
    fn step(&mut self, action: &[f32]) -> Result<Step, CheckError> {
        let result = self.env.step(action);
        let step = result.map_err(|e| self.error(format!("refuses a valid action: {e}")))?;
        self.length += 1;
        if !step.reward.is_finite() {
            return Err(self.error(format!("the reward is {}", step.reward)));
        }
        if step.warnings > 0 && (step.terminated || !step.truncated) {
            return Err(self.error("a step with warnings must be truncated and nothing else"));
        }
        if step.warnings == 0 {
            self.observation_is_valid()?;
        }
        Ok(step)
    }

    /// Bits of what a number of random steps give; the actions are the same each time.
    fn trace(&mut self, seed: Option<u64>) -> Result<Vec<u64>, CheckError> {
        self.reset(seed)?;
        self.rng = seeded_rng(derive_seed(0, 2));
        self.trace_on(REPEATED)
    }

    fn trace_on(&mut self, steps: u64) -> Result<Vec<u64>, CheckError> {
        let mut trace: Vec<u64> = Vec::new();
        let observe = |env: &E, trace: &mut Vec<u64>| {
            trace.extend(env.observation().iter().map(|x| x.to_bits()));
        };
        observe(&self.env, &mut trace);
        for _ in 0..steps {
            let action = self.action();
            let step = self.step(&action)?;
            trace.extend([
                step.reward.to_bits(),
                step.terminated.into(),
                step.truncated.into(),
            ]);
            observe(&self.env, &mut trace);
            if step.done() {
                self.reset(None)?;
                observe(&self.env, &mut trace);
            }
        }
        Ok(trace)
    }

    /// Saving and restoring, if the environment can do it.
    fn saves(
        &mut self,
        fresh: &mut impl FnMut() -> Result<E, CheckError>,
    ) -> Result<(), CheckError> {
        let state = match self.env.save() {
            Err(EnvError::StateUnsupported { .. }) => return Ok(()),
            other => other.map_err(|e| self.error(format!("cannot be saved: {e}")))?,
        };
        let rng = self.rng.clone();
        let expected = self.trace_on(REPEATED)?;
        let after = self.env.save();
        for used in [false, true] {
            if !used {
                self.env = fresh()?;
            }
            self.rng = rng.clone();
            let restored = self.env.restore(&state);
            restored.map_err(|e| self.error(format!("its own state is refused: {e}")))?;
            if self.trace_on(REPEATED)? != expected || self.env.save() != after {
                return Err(self.error(format!(
                    "a {} environment does not go on as the one whose state it restored",
                    if used { "used" } else { "fresh" }
                )));
            }
        }
        self.report.saves = true;
        Ok(())
    }

    fn refuses(&mut self, action: &[f32], what: &str) -> Result<EnvError, CheckError> {
        let before = self.env.observation().to_vec();
        match self.env.step(action) {
            Ok(_) => Err(self.error(format!("can be stepped {what}"))),
            Err(_) if bits(self.env.observation()) != bits(&before) => Err(self.error(format!(
                "a step {what} is refused, but changes the observation"
            ))),
            Err(error) => Ok(error),
        }
    }

    fn refuses_to_step(&mut self, when: &str) -> Result<(), CheckError> {
        let action = self.action();
        match self.refuses(&action, when)? {
            EnvError::ResetNeeded { .. } => Ok(()),
            other => Err(self.error(format!(
                "a step {when} gives the wrong error, `ResetNeeded` is right: {other}"
            ))),
        }
    }

    fn refuses_bad_actions(&mut self) -> Result<(), CheckError> {
        let mut action = self.action();
        for value in [f32::NAN, f32::INFINITY] {
            let last = action.len() - 1;
            let good = std::mem::replace(&mut action[last], value);
            let error = self.refuses(&action, "with an action that is not finite")?;
            if !matches!(error, EnvError::ActionNotFinite { .. }) {
                return Err(self.error(format!(
                    "an action of {value} gives the wrong error, `ActionNotFinite` is right: {error}"
                )));
            }
            action[last] = good;
        }
        action.push(0.0);
        let error = self.refuses(&action, "with an action of wrong length")?;
        if !matches!(error, EnvError::ActionLength { .. }) {
            return Err(self.error(format!(
                "a long action gives the wrong error, `ActionLength` is right: {error}"
            )));
        }
        Ok(())
    }

    /// The long run.
    fn run(&mut self, steps: u64) -> Result<(), CheckError> {
        self.reset(Some(derive_seed(0, 3)))?;
        while self.report.steps < steps {
            if self.length == 0 {
                self.refuses_bad_actions()?;
            }
            let action = self.action();
            let step = self.step(&action)?;
            self.report.steps += 1;
            self.report.warnings += u64::from(step.warnings);
            self.report.longest = self.report.longest.max(self.length);
            let counter = match (step.terminated, step.truncated) {
                (false, false) => continue,
                (true, false) => &mut self.report.terminated,
                (false, true) => &mut self.report.truncated,
                (true, true) => &mut self.report.both,
            };
            *counter += 1;
            if step.truncated {
                self.report.truncated_lengths.insert(self.length);
            }
            self.refuses_to_step("after the end of an episode")?;
            self.reset(None)?;
        }
        Ok(())
    }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|x| x.to_bits()).collect()
}
