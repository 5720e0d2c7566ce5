//! `Hopper`: hop forward without falling. Gymnasium, `envs/mujoco/hopper_v4.py`.

use super::{Data, Dynamics, StepView, control_cost};
use crate::{Info, Outcome};

/// Reward `vx + 1 - 0.001 sum a^2`, paid on the terminal step too; terminates when unhealthy;
/// observes all but the x position, with velocities clipped to ±10.
pub(super) struct Hopper;

impl Dynamics for Hopper {
    fn observe(&self, data: &Data, out: &mut Vec<f64>) {
        out.extend(&data.qpos()[1..]);
        out.extend(data.qvel().iter().map(|v| v.clamp(-10.0, 10.0)));
    }

    fn outcome(&self, step: &StepView<'_>, info: &mut Vec<Info>) -> Outcome {
        let x = step.data.qpos()[0];
        let velocity = step.velocity(x);
        let cost = control_cost(1e-3, step.action);
        info.extend([("x_position", x), ("x_velocity", velocity)]);
        Outcome {
            reward: (velocity + 1.0) - cost,
            terminated: !is_healthy(step.data),
        }
    }
}

/// Upright, off the ground, and nowhere near diverging. All bounds are exclusive.
fn is_healthy(data: &Data) -> bool {
    let (qpos, qvel) = (data.qpos(), data.qvel());
    let (z, angle) = (qpos[1], qpos[2]);
    let bounded = qpos[2..]
        .iter()
        .chain(qvel)
        .all(|s| -100.0 < *s && *s < 100.0);
    bounded && 0.7 < z && z < f64::INFINITY && -0.2 < angle && angle < 0.2
}
