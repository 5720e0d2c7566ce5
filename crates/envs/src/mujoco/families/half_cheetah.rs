//! `HalfCheetah`: run forward. Gymnasium, `envs/mujoco/half_cheetah_v4.py`.

use super::{Data, Dynamics, StepView, control_cost};
use crate::{Info, Outcome};

/// Reward `vx - 0.1 sum a^2`, never terminates; observes all but the x position.
pub(super) struct HalfCheetah;

impl Dynamics for HalfCheetah {
    fn observe(&self, data: &Data, out: &mut Vec<f64>) {
        out.extend(&data.qpos()[1..]);
        out.extend(data.qvel());
    }

    fn outcome(&self, step: &StepView<'_>, info: &mut Vec<Info>) -> Outcome {
        let x = step.data.qpos()[0];
        let velocity = step.velocity(x);
        let cost = control_cost(0.1, step.action);
        info.extend([
            ("x_position", x),
            ("x_velocity", velocity),
            ("reward_run", velocity),
            ("reward_ctrl", -cost),
        ]);
        Outcome {
            reward: velocity - cost,
            terminated: false,
        }
    }
}
