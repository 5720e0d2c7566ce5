//! `Pusher`: push a cylinder to a goal.

use mujoco_rs::prelude::MjModel;
use rand::RngExt;

use super::dynamics::{Data, Dynamics, StepView, body, uniform};
use super::numpy::{control_cost, difference, norm};
use crate::mujoco_table::Version;
use crate::{EnvRng, Info, Outcome, TaskOptions};

/// Inverse translational weight of the object as MuJoCo 2 computed it.
const OLD_INVERSE_WEIGHT: f64 = 16.67;

/// Reward minus the distance of object and goal, minus half the distance of object and arm, minus
/// `0.1 sum a^2`; version 4 takes the distances before the step, version 5 after it. Never
/// terminates. Observes the arm's angles and velocities and the places of its tip, the object and
/// the goal.
pub(super) struct Pusher {
    version: Version,
    object: usize,
    tip: usize,
    goal: usize,
    reward_near_weight: f64,
    reward_dist_weight: f64,
    reward_control_weight: f64,
}

/// Makes the object of version 4 movable. MuJoCo 3 computes its inverse weight, which scales the
/// forces of contacts, from its mass alone, a millionth of what the joints' armature makes it;
/// contacts with it then have no force to speak of.
///
/// # Errors
/// When the model has no object.
pub(in super::super) fn repair(model: &mut MjModel) -> Result<(), String> {
    let object = body(model, "object")?;
    model.body_invweight0_mut()[object][0] = OLD_INVERSE_WEIGHT;
    Ok(())
}

impl Pusher {
    pub fn new(version: Version, options: &TaskOptions, model: &MjModel) -> Result<Self, String> {
        Ok(Self {
            version,
            object: body(model, "object")?,
            tip: body(model, "tips_arm")?,
            goal: body(model, "goal")?,
            reward_near_weight: options.number("reward_near_weight"),
            reward_dist_weight: options.number("reward_dist_weight"),
            reward_control_weight: options.number("reward_control_weight"),
        })
    }
}

impl Dynamics for Pusher {
    fn reset(&self, data: &mut Data, rng: &mut EnvRng) {
        let object = loop {
            let object = [rng.random_range(-0.3..0.0), uniform(0.2, rng)];
            if norm(&object) > 0.17 {
                break object;
            }
        };
        // The arm starts in the model's own pose, the goal is where the model has it.
        let qpos = data.qpos_mut();
        let first = qpos.len() - 4;
        qpos[first..].copy_from_slice(&[object[0], object[1], 0.0, 0.0]);
        let qvel = data.qvel_mut();
        let first = qvel.len() - 4;
        for velocity in &mut qvel[..first] {
            *velocity += uniform(0.005, rng);
        }
        qvel[first..].fill(0.0);
    }

    fn observe(&self, data: &Data, out: &mut Vec<f64>) {
        out.extend(&data.qpos()[..7]);
        out.extend(&data.qvel()[..7]);
        let positions = data.xpos();
        for body in [self.tip, self.object, self.goal] {
            out.extend(positions[body]);
        }
    }

    /// The object's distances to the arm's tip and to the goal.
    fn before(&self, data: &Data) -> [f64; 2] {
        let positions = data.xpos();
        [self.tip, self.goal]
            .map(|other| norm(&difference(&positions[self.object], &positions[other])))
    }

    fn outcome(&self, step: &StepView<'_>, info: &mut Vec<Info>) -> Outcome {
        let [near, distance] = match self.version {
            Version::V4 => step.before,
            Version::V5 => step.after,
        };
        let near = -near * self.reward_near_weight;
        let distance = -distance * self.reward_dist_weight;
        let control = -control_cost(self.reward_control_weight, step.action);
        info.push(("reward_dist", distance));
        match self.version {
            // Gymnasium tells this one without its weight.
            Version::V4 => info.push(("reward_ctrl", -control_cost(1.0, step.action))),
            Version::V5 => info.extend([("reward_ctrl", control), ("reward_near", near)]),
        }
        Outcome {
            reward: (distance + control) + near,
            terminated: false,
        }
    }
}
