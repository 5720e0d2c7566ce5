//! `Reacher`: reach a random target with a two-jointed arm.

use mujoco_rs::prelude::MjModel;

use super::dynamics::{Data, Dynamics, StepView, body, uniform};
use super::numpy::{control_cost, difference, norm};
use crate::mujoco_table::Version;
use crate::{EnvRng, Info, Outcome, TaskOptions};

/// Reward minus the distance of fingertip and target, minus `sum a^2`; version 4 takes the
/// distance before the step, version 5 after it. Never terminates. Observes cosines and sines of
/// the angles, the target, the angular velocities and the way from target to fingertip (its
/// constant z coordinate only in version 4).
pub(super) struct Reacher {
    version: Version,
    fingertip: usize,
    target: usize,
    reward_dist_weight: f64,
    reward_control_weight: f64,
}

impl Reacher {
    pub fn new(version: Version, options: &TaskOptions, model: &MjModel) -> Result<Self, String> {
        Ok(Self {
            version,
            fingertip: body(model, "fingertip")?,
            target: body(model, "target")?,
            reward_dist_weight: options.number("reward_dist_weight"),
            reward_control_weight: options.number("reward_control_weight"),
        })
    }

    fn way(&self, data: &Data) -> [f64; 3] {
        let positions = data.xpos();
        difference(&positions[self.fingertip], &positions[self.target])
    }
}

impl Dynamics for Reacher {
    fn reset(&self, data: &mut Data, rng: &mut EnvRng) {
        for position in data.qpos_mut() {
            *position += uniform(0.1, rng);
        }
        let goal = loop {
            let goal = [uniform(0.2, rng), uniform(0.2, rng)];
            if norm(&goal) < 0.2 {
                break goal;
            }
        };
        let qpos = data.qpos_mut();
        let first = qpos.len() - 2;
        qpos[first..].copy_from_slice(&goal);
        let qvel = data.qvel_mut();
        let first = qvel.len() - 2;
        for velocity in &mut qvel[..first] {
            *velocity += uniform(0.005, rng);
        }
        qvel[first..].fill(0.0);
    }

    fn observe(&self, data: &Data, out: &mut Vec<f64>) {
        let qpos = data.qpos();
        out.extend(qpos[..2].iter().map(|angle| angle.cos()));
        out.extend(qpos[..2].iter().map(|angle| angle.sin()));
        out.extend(&qpos[2..]);
        out.extend(&data.qvel()[..2]);
        let way = self.way(data);
        out.extend(match self.version {
            Version::V4 => &way[..],
            Version::V5 => &way[..2],
        });
    }

    /// The distance.
    fn before(&self, data: &Data) -> [f64; 2] {
        [norm(&self.way(data)), 0.0]
    }

    fn outcome(&self, step: &StepView<'_>, info: &mut Vec<Info>) -> Outcome {
        let [distance, _] = match self.version {
            Version::V4 => step.before,
            Version::V5 => step.after,
        };
        let distance = -distance * self.reward_dist_weight;
        let control = -control_cost(self.reward_control_weight, step.action);
        info.extend([("reward_dist", distance), ("reward_ctrl", control)]);
        Outcome {
            reward: distance + control,
            terminated: false,
        }
    }
}
