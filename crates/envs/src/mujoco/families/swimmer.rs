//! `Swimmer`: swim forward.

use super::dynamics::{Data, Dynamics, StepView, VelocityNoise, add_noise};
use super::numpy::{control_cost, norm};
use crate::mujoco_table::Version;
use crate::{EnvRng, Info, Outcome, TaskOptions};

/// Reward `vx - 0.0001 sum a^2`, never terminates; observes all but the position in the plane.
pub(super) struct Swimmer {
    version: Version,
    forward_reward_weight: f64,
    ctrl_cost_weight: f64,
    reset_noise_scale: f64,
    skipped: usize,
}

impl Swimmer {
    pub fn new(version: Version, options: &TaskOptions) -> Self {
        Self {
            version,
            forward_reward_weight: options.number("forward_reward_weight"),
            ctrl_cost_weight: options.number("ctrl_cost_weight"),
            reset_noise_scale: options.number("reset_noise_scale"),
            skipped: 2 * usize::from(options.flag("exclude_current_positions_from_observation")),
        }
    }
}

impl Dynamics for Swimmer {
    fn reset(&self, data: &mut Data, rng: &mut EnvRng) {
        add_noise(data, self.reset_noise_scale, VelocityNoise::Uniform, rng);
    }

    fn observe(&self, data: &Data, out: &mut Vec<f64>) {
        out.extend(&data.qpos()[self.skipped..]);
        out.extend(data.qvel());
    }

    fn outcome(&self, step: &StepView<'_>, info: &mut Vec<Info>) -> Outcome {
        let [velocity, sideways] = step.velocity();
        let forward = self.forward_reward_weight * velocity;
        let cost = control_cost(self.ctrl_cost_weight, step.action);
        info.extend([
            ("x_position", step.after[0]),
            ("y_position", step.after[1]),
            ("distance_from_origin", norm(&step.after)),
            ("x_velocity", velocity),
            ("y_velocity", sideways),
            ("reward_ctrl", -cost),
        ]);
        match self.version {
            Version::V4 => info.extend([("reward_fwd", forward), ("forward_reward", forward)]),
            Version::V5 => info.push(("reward_forward", forward)),
        }
        Outcome {
            reward: forward - cost,
            terminated: false,
        }
    }
}
