//! Every task keeps the promises of an environment, and the checker notices one that does not.

mod common;

use std::collections::BTreeSet;

use common::Countdown;
use rayon::prelude::*;
use rescore_envs::{Env, EnvError, EnvState, Space, Step, TaskSettings, check_env, list, make};

const STEPS: u64 = 10_000;

#[test]
fn every_task_keeps_its_promises() {
    let tasks: Vec<_> = list()
        .into_iter()
        .filter(|entry| cfg!(feature = "mujoco") || !entry.needs_mujoco)
        .collect();
    tasks.par_iter().for_each(|entry| {
        let settings = TaskSettings::default();
        let report = match check_env(|| make(entry.name, &settings), STEPS) {
            Ok(report) => report,
            Err(error) => panic!("{error}"),
        };
        let limit = entry.time_limit.map(u64::from);
        assert_eq!(report.steps, STEPS, "{}", entry.name);
        assert_eq!(report.warnings, 0, "{}", entry.name);
        assert!(report.saves, "{}", entry.name);
        // Only the time limit truncates, and it always does.
        let ends: BTreeSet<u64> = report.truncated_lengths.clone();
        assert!(ends.iter().all(|length| Some(*length) == limit), "{ends:?}");
        assert!(limit.is_none_or(|limit| report.longest <= limit));
        let never_terminates = [
            "Pendulum",
            "HalfCheetah",
            "HumanoidStandup",
            "Swimmer",
            "Reacher",
            "Pusher",
        ]
        .iter()
        .any(|family| entry.name.starts_with(family));
        let ended = report.terminated + report.both;
        assert_eq!(ended == 0, never_terminates, "{}: {report:?}", entry.name);
    });
}

/// An environment that breaks one promise.
struct Broken {
    env: Box<dyn Env>,
    flaw: Flaw,
    observation: Vec<f64>,
    steps: u32,
    over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    GoesOnAfterTheEnd,
    WrongErrorAfterTheEnd,
    ShortObservation,
    InfiniteReward,
    OutOfItsSpace,
    TakesNan,
    WarnsButGoesOn,
    IgnoresItsSeed,
    ForgetsWhatItSaved,
    ChangesWhenRefusing,
    RefusesAtRandom,
}

impl Broken {
    fn new(flaw: Flaw) -> Self {
        let observation = vec![0.0; 3];
        let settings = TaskSettings {
            time_limit: Some(40),
            ..TaskSettings::default()
        };
        Self {
            env: make("Pendulum-v1", &settings).expect("a registered task"),
            flaw,
            observation,
            steps: 0,
            over: false,
        }
    }

    fn observe(&mut self) {
        self.observation.clear();
        self.observation.extend(self.env.observation());
        match self.flaw {
            Flaw::ShortObservation => _ = self.observation.pop(),
            Flaw::OutOfItsSpace if self.steps == 9 => self.observation[2] = 8.5,
            _ => {}
        }
    }
}

impl Env for Broken {
    fn name(&self) -> &str {
        self.env.name()
    }
    fn observation_space(&self) -> &Space {
        self.env.observation_space()
    }
    fn action_space(&self) -> &Space {
        self.env.action_space()
    }
    fn reset(&mut self, seed: Option<u64>) -> Result<(), EnvError> {
        let seed = if self.flaw == Flaw::IgnoresItsSeed {
            None
        } else {
            seed
        };
        self.env.reset(seed)?;
        self.over = false;
        self.observe();
        Ok(())
    }
    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        if self.over && self.flaw == Flaw::GoesOnAfterTheEnd {
            self.env.reset(None)?;
        }
        if self.over && self.flaw == Flaw::WrongErrorAfterTheEnd {
            return Err(EnvError::InvalidArgument("over".into()));
        }
        if self.flaw == Flaw::RefusesAtRandom && self.steps == 13 {
            return Err(EnvError::InvalidArgument("no".into()));
        }
        if action.first().is_some_and(|a| !a.is_finite()) {
            if self.flaw == Flaw::TakesNan {
                return self.env.step(&[0.0]);
            }
            if self.flaw == Flaw::ChangesWhenRefusing {
                self.observation[0] = -2.0;
            }
        }
        let mut step = self.env.step(action)?;
        self.steps += 1;
        self.over = step.done();
        self.observe();
        match self.flaw {
            Flaw::InfiniteReward if self.steps == 11 => step.reward = f64::INFINITY,
            Flaw::WarnsButGoesOn if self.steps == 11 => step.warnings = 1,
            _ => {}
        }
        Ok(step)
    }
    fn observation(&self) -> &[f64] {
        &self.observation
    }
    fn save(&self) -> Result<EnvState, EnvError> {
        self.env.save()
    }
    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        if self.flaw == Flaw::ForgetsWhatItSaved {
            self.env.reset(Some(0))?;
        } else {
            self.env.restore(state)?;
        }
        self.observe();
        Ok(())
    }
}

#[test]
fn a_broken_promise_is_noticed() {
    let check = |flaw| check_env(|| Ok(Broken::new(flaw)), 200);
    check(Flaw::None).expect("the wrapper itself is sound");
    for (flaw, message) in [
        (Flaw::GoesOnAfterTheEnd, "can be stepped after the end"),
        (Flaw::WrongErrorAfterTheEnd, "`ResetNeeded` is right"),
        (Flaw::ShortObservation, "the observation has 2 values"),
        (Flaw::InfiniteReward, "the reward is inf"),
        (Flaw::OutOfItsSpace, "observation[2] is 8.5"),
        (Flaw::TakesNan, "with an action that is not finite"),
        (Flaw::WarnsButGoesOn, "must be truncated"),
        (Flaw::IgnoresItsSeed, "two trajectories"),
        (Flaw::ForgetsWhatItSaved, "does not go on"),
        (Flaw::ChangesWhenRefusing, "changes the observation"),
        (Flaw::RefusesAtRandom, "refuses a valid action: no"),
    ] {
        let error = check(flaw).expect_err("it is broken").to_string();
        assert!(error.contains(message), "{flaw:?}: {error}");
    }
}

#[test]
fn what_was_seen_is_told() {
    let report = check_env(|| Ok(Countdown::env(3, 10)), 90).expect("a sound environment");
    assert_eq!(
        (report.terminated, report.truncated, report.both),
        (30, 0, 0)
    );
    assert_eq!(report.longest, 3);
    let report = check_env(|| Ok(Countdown::env(3, 3)), 90).expect("a sound environment");
    assert_eq!(
        (report.terminated, report.truncated, report.both),
        (0, 0, 30)
    );
    assert_eq!(report.truncated_lengths, BTreeSet::from([3]));
}
