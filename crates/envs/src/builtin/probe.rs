//! Five tiny tasks that each isolate one faculty of a learner.
//!
//! An algorithm that fails on one of them has a bug in the place that the probe names. The idea
//! and the choice of faculties follow the test environments of rejax (`tests/environments.py`).
//! Optimal actions and values are known exactly: see [`ProbeKind::optimal_action`] and
//! [`ProbeKind::value`].

use rand::RngExt;

use crate::env::check_action_length;
use crate::{EnvError, EnvRng, EnvState, Outcome, Space, Task};

/// Where the optimal action of the action-dependent probes lies: inside the bounds, away from 0
/// where an untrained policy is centred.
const TARGET: f64 = 0.5;

/// Which probe.
///
/// All have one observation and one action dimension, both bounded by ±1, and actions are used
/// unclipped. `o` is the observation, `a` the action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKind {
    /// `o` = 0, reward 1, one step. `Q(o, a) = 1` for every action.
    /// Fails when the critic cannot learn a constant.
    ConstantReward,
    /// `o` is -1 or 1 with equal chance, reward `o`, one step. `Q(o, a) = o` for every action.
    /// Fails when the critic does not see the observation.
    ObservationValue,
    /// Two steps: `o` = 0 with reward 0, then `o` = 1 with reward 1. `Q(0, a) = gamma` and
    /// `Q(1, a) = 1` for every action.
    /// Fails when bootstrapping or discounting is wrong.
    Discounting,
    /// `o` = 0, reward `1 - (a - 0.5)^2`, one step. `Q(o, a)` is that reward, the optimal action
    /// 0.5 with value 1.
    /// Fails when the policy does not follow the critic.
    ActionReward,
    /// `o` is -1 or 1 with equal chance, reward `1 - (a - 0.5 o)^2`, one step. `Q(o, a)` is that
    /// reward, the optimal action `0.5 o` with value 1.
    /// Fails when the policy does not see the observation.
    ObservationActionReward,
}

impl ProbeKind {
    /// All five, in the order in which they should be made to work.
    pub const ALL: [Self; 5] = [
        Self::ConstantReward,
        Self::ObservationValue,
        Self::Discounting,
        Self::ActionReward,
        Self::ObservationActionReward,
    ];

    /// The name under which the probe is registered.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConstantReward => "Probe-ConstantReward-v0",
            Self::ObservationValue => "Probe-ObservationValue-v0",
            Self::Discounting => "Probe-Discounting-v0",
            Self::ActionReward => "Probe-ActionReward-v0",
            Self::ObservationActionReward => "Probe-ObservationActionReward-v0",
        }
    }

    /// Every observation from which an action is taken.
    pub const fn observations(self) -> &'static [f64] {
        match self {
            Self::ConstantReward | Self::ActionReward => &[0.0],
            Self::ObservationValue | Self::ObservationActionReward => &[-1.0, 1.0],
            Self::Discounting => &[0.0, 1.0],
        }
    }

    /// The optimal action at `observation`; `None` where all actions are equally good.
    pub fn optimal_action(self, observation: f64) -> Option<f64> {
        match self {
            Self::ConstantReward | Self::ObservationValue | Self::Discounting => None,
            Self::ActionReward => Some(TARGET),
            Self::ObservationActionReward => Some(TARGET * observation),
        }
    }

    /// The exact `Q(observation, action)` for the discount factor `gamma`, the same under every
    /// policy. The optimal value is that of [`ProbeKind::optimal_action`], or of any action where
    /// there is none.
    pub fn value(self, observation: f64, action: f64, gamma: f64) -> f64 {
        // The only transition that does not end the episode is the first one of `Discounting`.
        if self == Self::Discounting && observation == 0.0 {
            gamma
        } else {
            self.reward(observation, action)
        }
    }

    fn reward(self, observation: f64, action: f64) -> f64 {
        match self {
            Self::ConstantReward => 1.0,
            Self::ObservationValue | Self::Discounting => observation,
            Self::ActionReward => 1.0 - (action - TARGET).powi(2),
            Self::ObservationActionReward => 1.0 - (action - TARGET * observation).powi(2),
        }
    }
}

/// One of the five probes as a [`Task`].
#[derive(Debug, Clone)]
pub struct Probe {
    kind: ProbeKind,
    space: Space,
    observation: [f64; 1],
}

impl Probe {
    /// The probe of this kind.
    ///
    /// # Errors
    /// None in practice: the bounds are constants.
    pub fn new(kind: ProbeKind) -> Result<Self, EnvError> {
        Ok(Self {
            kind,
            space: Space::uniform(1, -1.0, 1.0)?,
            observation: [kind.observations()[0]],
        })
    }
}

impl Task for Probe {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn observation_space(&self) -> &Space {
        &self.space
    }

    fn action_space(&self) -> &Space {
        &self.space
    }

    fn reset(&mut self, rng: &mut EnvRng) -> Result<(), EnvError> {
        let observations = self.kind.observations();
        let start = match self.kind {
            // Its observations are the two steps of one episode.
            ProbeKind::Discounting => 0,
            _ => rng.random_range(0..observations.len()),
        };
        self.observation = [observations[start]];
        Ok(())
    }

    fn step(&mut self, action: &[f32]) -> Result<Outcome, EnvError> {
        check_action_length(self.name(), action, 1)?;
        let [observation] = self.observation;
        let reward = self.kind.reward(observation, f64::from(action[0]));
        let terminated = !(self.kind == ProbeKind::Discounting && observation == 0.0);
        if self.kind == ProbeKind::Discounting {
            self.observation = [1.0];
        }
        Ok(Outcome { reward, terminated })
    }

    fn observation(&self) -> &[f64] {
        &self.observation
    }

    fn save(&self, state: &mut EnvState) -> Result<(), EnvError> {
        state.put_f64("observation", &self.observation);
        Ok(())
    }

    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.observation
            .copy_from_slice(state.f64("observation", 1)?);
        Ok(())
    }
}
