//! `HumanoidStandup`: get up from lying on the back.

use mujoco_rs::prelude::MjModel;

use super::dynamics::{Data, Dynamics, StepView, VelocityNoise, add_noise};
use super::humanoid::{BodyView, contact_cost, control_cost};
use crate::mujoco_table::Version;
use crate::{EnvRng, Info, Outcome, TaskOptions};

/// Reward `z / timestep - 0.1 sum ctrl^2 - impact cost + 1` with the height of the torso (of the
/// simulator's step, not the environment's) and the squared forces on all bodies; never terminates.
/// Observes what [`BodyView`] gives.
pub(super) struct HumanoidStandup {
    version: Version,
    ctrl_cost_weight: f64,
    impact_cost_weight: f64,
    impact_cost_range: [f64; 2],
    reset_noise_scale: f64,
    view: BodyView,
    timestep: f64,
    initial_height: f64,
}

impl HumanoidStandup {
    pub fn new(version: Version, options: &TaskOptions, model: &MjModel) -> Self {
        Self {
            version,
            ctrl_cost_weight: options.number("ctrl_cost_weight"),
            impact_cost_weight: options.number("impact_cost_weight"),
            impact_cost_range: options.range("impact_cost_range"),
            reset_noise_scale: options.number("reset_noise_scale"),
            view: BodyView::new(version, options),
            timestep: model.opt().timestep,
            initial_height: model.qpos0()[2],
        }
    }
}

impl Dynamics for HumanoidStandup {
    fn reset(&self, data: &mut Data, rng: &mut EnvRng) {
        add_noise(data, self.reset_noise_scale, VelocityNoise::Uniform, rng);
    }

    fn observe(&self, data: &Data, out: &mut Vec<f64>) {
        self.view.observe(data, out);
    }

    fn needs_body_forces(&self) -> bool {
        true
    }

    fn outcome(&self, step: &StepView<'_>, info: &mut Vec<Info>) -> Outcome {
        let qpos = step.data.qpos();
        let height = qpos[2] / self.timestep;
        let control = control_cost(self.ctrl_cost_weight, step.data);
        let impact = contact_cost(self.impact_cost_weight, self.impact_cost_range, step.data);
        if self.version == Version::V5 {
            info.extend([
                ("x_position", qpos[0]),
                ("y_position", qpos[1]),
                ("z_distance_from_origin", qpos[2] - self.initial_height),
            ]);
        }
        info.extend([
            ("reward_linup", height),
            ("reward_quadctrl", -control),
            ("reward_impact", -impact),
        ]);
        Outcome {
            reward: height - control - impact + 1.0,
            terminated: false,
        }
    }
}
