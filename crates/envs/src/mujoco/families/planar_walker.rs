//! `Hopper` and `Walker2d`: go forward in a plane without falling.

use mujoco_rs::prelude::MjModel;

use super::dynamics::{Data, Dynamics, StepView, VelocityNoise, add_noise};
use super::numpy::control_cost;
use crate::mujoco_table::{Family, Version};
use crate::{EnvRng, Info, Outcome, TaskOptions};

/// Reward `vx + 1 - 0.001 sum a^2`, where version 5 leaves out the 1 on unhealthy steps;
/// terminates when unhealthy; observes all but the x position, with velocities clipped to ±10.
pub(super) struct PlanarWalker {
    version: Version,
    forward_reward_weight: f64,
    ctrl_cost_weight: f64,
    healthy_reward: f64,
    terminate_when_unhealthy: bool,
    /// Of the hopper alone.
    healthy_state_range: Option<[f64; 2]>,
    healthy_z_range: [f64; 2],
    healthy_angle_range: [f64; 2],
    reset_noise_scale: f64,
    skipped: usize,
    initial_height: f64,
}

impl PlanarWalker {
    pub fn new(family: Family, version: Version, options: &TaskOptions, model: &MjModel) -> Self {
        Self {
            version,
            forward_reward_weight: options.number("forward_reward_weight"),
            ctrl_cost_weight: options.number("ctrl_cost_weight"),
            healthy_reward: options.number("healthy_reward"),
            terminate_when_unhealthy: options.flag("terminate_when_unhealthy"),
            healthy_state_range: (family == Family::Hopper)
                .then(|| options.range("healthy_state_range")),
            healthy_z_range: options.range("healthy_z_range"),
            healthy_angle_range: options.range("healthy_angle_range"),
            reset_noise_scale: options.number("reset_noise_scale"),
            skipped: options
                .flag("exclude_current_positions_from_observation")
                .into(),
            initial_height: model.qpos0()[1],
        }
    }

    /// Upright, off the ground, and (the hopper) nowhere near diverging. All bounds are exclusive.
    fn is_healthy(&self, data: &Data) -> bool {
        let within = |[low, high]: [f64; 2], x: f64| low < x && x < high;
        let (qpos, qvel) = (data.qpos(), data.qvel());
        self.healthy_state_range.is_none_or(|range| {
            let mut state = qpos[2..].iter().chain(qvel);
            state.all(|s| within(range, *s))
        }) && within(self.healthy_z_range, qpos[1])
            && within(self.healthy_angle_range, qpos[2])
    }
}

/// Whether a healthy reward is paid: version 4 pays it on unhealthy steps too, if these end the
/// episode.
pub(super) fn pays_health(version: Version, healthy: bool, terminates: bool) -> bool {
    healthy || (version == Version::V4 && terminates)
}

impl Dynamics for PlanarWalker {
    fn reset(&self, data: &mut Data, rng: &mut EnvRng) {
        add_noise(data, self.reset_noise_scale, VelocityNoise::Uniform, rng);
    }

    fn observe(&self, data: &Data, out: &mut Vec<f64>) {
        out.extend(&data.qpos()[self.skipped..]);
        out.extend(data.qvel().iter().map(|v| v.clamp(-10.0, 10.0)));
    }

    fn outcome(&self, step: &StepView<'_>, info: &mut Vec<Info>) -> Outcome {
        let [velocity, _] = step.velocity();
        let forward = self.forward_reward_weight * velocity;
        let cost = control_cost(self.ctrl_cost_weight, step.action);
        let healthy = self.is_healthy(step.data);
        let paid = pays_health(self.version, healthy, self.terminate_when_unhealthy);
        let survive = if paid { self.healthy_reward } else { 0.0 };
        info.extend([("x_position", step.after[0]), ("x_velocity", velocity)]);
        if self.version == Version::V5 {
            info.extend([
                (
                    "z_distance_from_origin",
                    step.after[1] - self.initial_height,
                ),
                ("reward_forward", forward),
                ("reward_ctrl", -cost),
                ("reward_survive", survive),
            ]);
        }
        Outcome {
            reward: (forward + survive) - cost,
            terminated: !healthy && self.terminate_when_unhealthy,
        }
    }
}
