//! `InvertedPendulum`: balance a pole on a cart.

use super::dynamics::{Data, Dynamics, StepView, VelocityNoise, add_noise};
use crate::mujoco_table::Version;
use crate::{EnvRng, Info, Outcome, TaskOptions};

/// Reward 1 in every step (in version 5 not in the terminal one); terminates when the pole leans
/// more than 0.2 rad.
pub(super) struct InvertedPendulum {
    version: Version,
    reset_noise_scale: f64,
}

impl InvertedPendulum {
    pub fn new(version: Version, options: &TaskOptions) -> Self {
        Self {
            version,
            reset_noise_scale: options.number("reset_noise_scale"),
        }
    }
}

impl Dynamics for InvertedPendulum {
    fn reset(&self, data: &mut Data, rng: &mut EnvRng) {
        add_noise(data, self.reset_noise_scale, VelocityNoise::Uniform, rng);
    }

    fn observe(&self, data: &Data, out: &mut Vec<f64>) {
        out.extend(data.qpos());
        out.extend(data.qvel());
    }

    fn outcome(&self, step: &StepView<'_>, info: &mut Vec<Info>) -> Outcome {
        let angle = step.observation[1];
        let finite = step.observation.iter().all(|x| x.is_finite());
        let terminated = !finite || angle.abs() > 0.2;
        let reward = if self.version == Version::V5 && terminated {
            0.0
        } else {
            1.0
        };
        if self.version == Version::V5 {
            info.push(("reward_survive", reward));
        }
        Outcome { reward, terminated }
    }
}
