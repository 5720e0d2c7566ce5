//! `InvertedPendulum`: balance a pole on a cart. Gymnasium,
//! `envs/mujoco/inverted_pendulum_v4.py`.

use super::{Data, Dynamics, StepView};
use crate::{Info, Outcome};

/// Reward 1 in every step; terminates when the pole leans more than 0.2 rad.
pub(super) struct InvertedPendulum;

impl Dynamics for InvertedPendulum {
    fn observe(&self, data: &Data, out: &mut Vec<f64>) {
        out.extend(data.qpos());
        out.extend(data.qvel());
    }

    fn outcome(&self, step: &StepView<'_>, _info: &mut Vec<Info>) -> Outcome {
        let angle = step.observation[1];
        let finite = step.observation.iter().all(|x| x.is_finite());
        Outcome {
            reward: 1.0,
            terminated: !finite || angle.abs() > 0.2,
        }
    }
}
