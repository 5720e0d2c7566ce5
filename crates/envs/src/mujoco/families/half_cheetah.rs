//! `HalfCheetah`: run forward.

use super::dynamics::{Data, Dynamics, StepView, VelocityNoise, add_noise};
use super::numpy::control_cost;
use crate::mujoco_table::Version;
use crate::{EnvRng, Info, Outcome, TaskOptions};

/// Reward `vx - 0.1 sum a^2`, never terminates; observes all but the x position.
pub(super) struct HalfCheetah {
    version: Version,
    forward_reward_weight: f64,
    ctrl_cost_weight: f64,
    reset_noise_scale: f64,
    skipped: usize,
}

impl HalfCheetah {
    pub fn new(version: Version, options: &TaskOptions) -> Self {
        Self {
            version,
            forward_reward_weight: options.number("forward_reward_weight"),
            ctrl_cost_weight: options.number("ctrl_cost_weight"),
            reset_noise_scale: options.number("reset_noise_scale"),
            skipped: options
                .flag("exclude_current_positions_from_observation")
                .into(),
        }
    }
}

impl Dynamics for HalfCheetah {
    fn reset(&self, data: &mut Data, rng: &mut EnvRng) {
        add_noise(data, self.reset_noise_scale, VelocityNoise::Normal, rng);
    }

    fn observe(&self, data: &Data, out: &mut Vec<f64>) {
        out.extend(&data.qpos()[self.skipped..]);
        out.extend(data.qvel());
    }

    fn outcome(&self, step: &StepView<'_>, info: &mut Vec<Info>) -> Outcome {
        let [velocity, _] = step.velocity();
        let forward = self.forward_reward_weight * velocity;
        let cost = control_cost(self.ctrl_cost_weight, step.action);
        let reward_name = match self.version {
            Version::V4 => "reward_run",
            Version::V5 => "reward_forward",
        };
        info.extend([
            ("x_position", step.after[0]),
            ("x_velocity", velocity),
            (reward_name, forward),
            ("reward_ctrl", -cost),
        ]);
        Outcome {
            reward: forward - cost,
            terminated: false,
        }
    }
}
