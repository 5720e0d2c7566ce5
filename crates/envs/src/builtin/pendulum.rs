//! `Pendulum-v1`: swing a pendulum up with too little torque, and hold it.

use std::f64::consts::{PI, TAU};

use rand::RngExt;

use crate::env::check_action_length;
use crate::{EnvError, EnvRng, EnvState, Outcome, Space, Task};

const MAX_SPEED: f64 = 8.0;
const MAX_TORQUE: f32 = 2.0;
const TIME_STEP: f64 = 0.05;
const GRAVITY: f64 = 10.0;

/// Gymnasium's `Pendulum-v1` (`gymnasium/envs/classic_control/pendulum.py`, version 1.0.0), with
/// its single-precision observation and torque.
///
/// - State: angle `th` (0 is upright) and angular velocity `thdot` (rad/s).
/// - Observation `[cos th, sin th, thdot]`.
/// - Action: torque in N m, within ±2; the task clips it.
/// - Step of 0.05 s: `thdot += (3 g / 2 sin th + 3 torque) dt`, clipped to ±8, then
///   `th += thdot dt`, with `g` = 10 and unit mass and length.
/// - Reward, from the state before the step: `-(th^2 + 0.1 thdot^2 + 0.001 torque^2)`, with `th`
///   wrapped into `[-pi, pi)`. It lies between -16.2736 and 0.
/// - Start: `th` uniform in ±pi, `thdot` uniform in ±1. Never terminates; 200 steps.
#[derive(Debug, Clone)]
pub struct Pendulum {
    observation_space: Space,
    action_space: Space,
    angle: f64,
    velocity: f64,
    observation: [f64; 3],
}

impl Pendulum {
    /// A pendulum hanging at rest.
    ///
    /// # Errors
    /// None in practice: the bounds are constants.
    pub fn new() -> Result<Self, EnvError> {
        let high = vec![1.0, 1.0, MAX_SPEED];
        let low = high.iter().map(|h| -h).collect();
        let mut task = Self {
            observation_space: Space::new(low, high)?,
            action_space: Space::uniform(1, f64::from(-MAX_TORQUE), f64::from(MAX_TORQUE))?,
            angle: 0.0,
            velocity: 0.0,
            observation: [0.0; 3],
        };
        task.set_state(PI, 0.0);
        Ok(task)
    }

    /// Puts the pendulum at `angle` (rad, 0 upright) with `velocity` (rad/s).
    pub fn set_state(&mut self, angle: f64, velocity: f64) {
        self.angle = angle;
        self.velocity = velocity;
        self.observation = [angle.cos(), angle.sin(), velocity].map(|x| f64::from(x as f32));
    }
}

impl Task for Pendulum {
    fn name(&self) -> &'static str {
        "Pendulum-v1"
    }

    fn observation_space(&self) -> &Space {
        &self.observation_space
    }

    fn action_space(&self) -> &Space {
        &self.action_space
    }

    fn reset(&mut self, rng: &mut EnvRng) -> Result<(), EnvError> {
        let angle = rng.random_range(-PI..PI);
        let velocity = rng.random_range(-1.0..1.0);
        self.set_state(angle, velocity);
        Ok(())
    }

    fn step(&mut self, action: &[f32]) -> Result<Outcome, EnvError> {
        check_action_length(self.name(), action, 1)?;
        let torque = action[0].clamp(-MAX_TORQUE, MAX_TORQUE);
        let from_upright = (self.angle + PI).rem_euclid(TAU) - PI;
        let effort = f64::from(0.001 * (torque * torque));
        let cost = from_upright.powi(2) + 0.1 * self.velocity.powi(2) + effort;

        let acceleration = 1.5 * GRAVITY * self.angle.sin() + f64::from(3.0 * torque);
        let velocity = (self.velocity + acceleration * TIME_STEP).clamp(-MAX_SPEED, MAX_SPEED);
        self.set_state(self.angle + velocity * TIME_STEP, velocity);
        Ok(Outcome {
            reward: -cost,
            terminated: false,
        })
    }

    fn observation(&self) -> &[f64] {
        &self.observation
    }

    fn save(&self, state: &mut EnvState) -> Result<(), EnvError> {
        state.put_f64("angle_and_velocity", &[self.angle, self.velocity]);
        Ok(())
    }

    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        let values = state.f64("angle_and_velocity", 2)?;
        self.set_state(values[0], values[1]);
        Ok(())
    }
}
