//! Environments that cannot save their state, and such that break the promises of their spaces.

mod common;

use common::Countdown;
use rescore_envs::{Env, EnvError, EnvState, RescaleAction, Space, Step, VecEnv};

/// An environment around another one, without its state.
struct Around {
    env: Box<dyn Env>,
    saves: bool,
    observation: Vec<f64>,
    /// The last seed that it was reset with.
    seed: u64,
}

impl Around {
    fn boxed(saves: bool) -> Box<dyn Env> {
        Box::new(Self {
            env: Countdown::env(7, 9),
            saves,
            observation: vec![0.0; 2],
            seed: 0,
        })
    }
}

impl Env for Around {
    fn name(&self) -> &'static str {
        "Around"
    }
    fn observation_space(&self) -> &Space {
        self.env.observation_space()
    }
    fn action_space(&self) -> &Space {
        self.env.action_space()
    }
    fn reset(&mut self, seed: Option<u64>) -> Result<(), EnvError> {
        self.env.reset(seed)?;
        self.seed = seed.unwrap_or(self.seed);
        self.observation = vec![0.0, self.seed as f64];
        Ok(())
    }
    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        let step = self.env.step(action)?;
        self.observation = self.env.observation().to_vec();
        Ok(step)
    }
    fn observation(&self) -> &[f64] {
        &self.observation
    }
    fn save(&self) -> Result<EnvState, EnvError> {
        if self.saves {
            return self.env.save();
        }
        Err(EnvError::StateUnsupported {
            task: self.name().to_owned(),
        })
    }
}

fn envs(saves: bool) -> VecEnv {
    let envs = (0..2).map(|_| Around::boxed(saves)).collect();
    VecEnv::from_envs(envs, 5).expect("equal environments")
}

#[test]
fn what_cannot_be_saved_begins_anew_with_seeds_that_follow_from_the_step() {
    let mut first = envs(false);
    assert!(matches!(first.state(), Err(EnvError::InVector { .. })));
    let mut seen = vec![first.observations().to_vec()];
    for _ in 0..3 {
        first.step(&[1.0, 1.0]).expect("valid actions");
        let state = first.state_or_seeds().expect("seeds");
        // Saving changes nothing.
        assert_eq!(first.state_or_seeds(), Ok(state.clone()));
        let mut restored = [envs(false), envs(false)];
        for other in &mut restored {
            other.step(&[2.0, 2.0]).expect("valid actions");
            other.restore(&state).expect("of its form");
        }
        let [one, two] = restored.each_ref().map(VecEnv::observations);
        assert_eq!(one, two, "one state, one future");
        assert!(
            one[1].to_bits() != one[3].to_bits(),
            "each has its own seed"
        );
        assert!(!seen.contains(&one.to_vec()), "it repeats an earlier one");
        seen.push(one.to_vec());
        // Nor does what begins anew after that repeat it.
        let again = restored[0].state_or_seeds().expect("seeds");
        assert_ne!(again, state);
    }
}

#[test]
fn a_new_episode_has_no_return_of_the_old_one() {
    let mut before = envs(false);
    for _ in 0..4 {
        before.step(&[1.0, 1.0]).expect("valid actions");
    }
    let state = before.state_or_seeds().expect("seeds");
    let mut after = envs(false);
    after.restore(&state).expect("of its form");
    for _ in 0..7 {
        after.step(&[1.0, 1.0]).expect("valid actions");
    }
    for episode in &after.last_step().finished {
        let episode = episode.expect("it ends after 7 steps");
        assert_eq!((episode.length, episode.total_reward), (7, 7.0));
    }
}

#[test]
fn what_can_be_saved_but_not_restored_begins_anew_too() {
    let state = envs(true).state().expect("it can be saved");
    let mut other = envs(true);
    other.step(&[1.0, 1.0]).expect("valid actions");
    other.restore(&state).expect("a new episode");
    assert_eq!(other.observations()[0].to_bits(), 0);
}

/// An environment whose observation is shorter than its space.
struct Short {
    space: Space,
    observation: Vec<f64>,
}

impl Env for Short {
    fn name(&self) -> &'static str {
        "Short"
    }
    fn observation_space(&self) -> &Space {
        &self.space
    }
    fn action_space(&self) -> &Space {
        &self.space
    }
    fn reset(&mut self, _seed: Option<u64>) -> Result<(), EnvError> {
        Ok(())
    }
    fn step(&mut self, _action: &[f32]) -> Result<Step, EnvError> {
        self.observation.pop();
        Ok(Step {
            reward: 0.0,
            terminated: false,
            truncated: false,
            warnings: 0,
        })
    }
    fn observation(&self) -> &[f64] {
        &self.observation
    }
}

#[test]
fn an_observation_of_another_length_than_its_space_is_an_error() {
    let short = |length| -> Box<dyn Env> {
        Box::new(Short {
            space: Space::uniform(3, -1.0, 1.0).expect("valid bounds"),
            observation: vec![0.0; length],
        })
    };
    for length in [2, 4] {
        let error = VecEnv::from_envs(vec![short(length)], 0).err().expect("3");
        let text = error.to_string();
        assert!(
            text.contains(&format!("gives {length} observation values")) && text.contains("has 3"),
            "{text}"
        );
    }
    let mut envs = VecEnv::from_envs(vec![short(3)], 0).expect("three values");
    let error = envs.step(&[0.0; 3]).expect_err("two values").to_string();
    assert!(error.contains("gives 2 observation values"), "{error}");
}

#[test]
fn actions_that_would_do_nothing_are_not_rescaled() {
    for (low, high, expected) in [
        (0.5, 0.5, "equal bounds"),
        (f64::NEG_INFINITY, 1.0, "no finite bounds"),
        (-1e300, 1e300, "no finite bounds"),
        (-f64::MAX, f64::MAX, "no finite bounds"),
        (1.0, 1.0 + 1e-60, "equal bounds"),
    ] {
        let env = Short {
            space: Space::new(vec![-1.0, low], vec![1.0, high]).expect("valid bounds"),
            observation: Vec::new(),
        };
        let error = RescaleAction::new(env).err().expect(expected).to_string();
        assert!(
            error.contains("dimension 1") && error.contains(expected),
            "{error}"
        );
    }
}
