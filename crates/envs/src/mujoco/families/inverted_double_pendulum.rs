//! `InvertedDoublePendulum`: balance a pole on a pole on a cart.

use mujoco_rs::prelude::MjModel;

use super::dynamics::{Data, Dynamics, StepView, VelocityNoise, add_noise};
use crate::mujoco_table::Version;
use crate::{EnvRng, Info, Outcome, TaskOptions};

/// Reward 10 (in version 5 not in the terminal step) minus penalties of the tip's place and the
/// angular velocities; terminates when the tip is at or below height 1. Observes the cart, sines
/// and cosines of the angles, velocities and constraint forces (version 5: only the cart's), the
/// last two clipped to ±10.
pub(super) struct InvertedDoublePendulum {
    version: Version,
    healthy_reward: f64,
    reset_noise_scale: f64,
}

impl InvertedDoublePendulum {
    pub fn new(version: Version, options: &TaskOptions, model: &MjModel) -> Result<Self, String> {
        if model.ffi().nsite < 1 {
            return Err("it has no site that marks the tip".to_owned());
        }
        Ok(Self {
            version,
            healthy_reward: options.number("healthy_reward"),
            reset_noise_scale: options.number("reset_noise_scale"),
        })
    }
}

impl Dynamics for InvertedDoublePendulum {
    fn reset(&self, data: &mut Data, rng: &mut EnvRng) {
        add_noise(data, self.reset_noise_scale, VelocityNoise::Normal, rng);
    }

    fn observe(&self, data: &Data, out: &mut Vec<f64>) {
        let clip = |x: &f64| x.clamp(-10.0, 10.0);
        let qpos = data.qpos();
        out.push(qpos[0]);
        out.extend(qpos[1..].iter().map(|angle| angle.sin()));
        out.extend(qpos[1..].iter().map(|angle| angle.cos()));
        out.extend(data.qvel().iter().map(clip));
        let forces = data.qfrc_constraint();
        let observed = match self.version {
            Version::V4 => forces,
            Version::V5 => &forces[..1],
        };
        out.extend(observed.iter().map(clip));
    }

    fn outcome(&self, step: &StepView<'_>, info: &mut Vec<Info>) -> Outcome {
        let [x, _, y] = step.data.site_xpos()[0];
        let [_, v1, v2, ..] = step.data.qvel() else {
            unreachable!("models with fewer velocities are refused");
        };
        let distance = 0.01 * (x * x) + (y - 2.0) * (y - 2.0);
        let velocity = 1e-3 * (v1 * v1) + 5e-3 * (v2 * v2);
        let terminated = y <= 1.0;
        let survive = if self.version == Version::V5 && terminated {
            0.0
        } else {
            self.healthy_reward
        };
        if self.version == Version::V5 {
            info.extend([
                ("reward_survive", survive),
                ("distance_penalty", -distance),
                ("velocity_penalty", -velocity),
            ]);
        }
        Outcome {
            reward: survive - distance - velocity,
            terminated,
        }
    }
}
