//! `Ant`: run forward on four legs.

use mujoco_rs::prelude::MjModel;

use super::dynamics::{Data, Dynamics, StepView, VelocityNoise, add_noise, body};
use super::numpy::{control_cost, norm, sum_of_squares};
use super::planar_walker::pays_health;
use crate::mujoco_table::Version;
use crate::{EnvRng, Info, Outcome, TaskOptions};

/// Reward `vx + 1 - 0.5 sum a^2`, in version 5 also minus a contact cost and without the 1 on
/// unhealthy steps; terminates when unhealthy; observes all but the position in the plane, in
/// version 5 also the clipped external forces on all bodies but the world.
pub(super) struct Ant {
    version: Version,
    main_body: usize,
    forward_reward_weight: f64,
    ctrl_cost_weight: f64,
    /// Whether contacts cost something.
    contact_cost_weight: Option<f64>,
    /// From which body on external forces are observed.
    observed_forces: Option<usize>,
    healthy_reward: f64,
    terminate_when_unhealthy: bool,
    healthy_z_range: [f64; 2],
    contact_force_range: [f64; 2],
    reset_noise_scale: f64,
    skipped: usize,
}

impl Ant {
    pub fn new(version: Version, options: &TaskOptions, model: &MjModel) -> Result<Self, String> {
        let (costs, observed_forces) = match version {
            Version::V4 => {
                let used = options.flag("use_contact_forces");
                (used, used.then_some(0))
            }
            Version::V5 => {
                let observed = options.flag("include_cfrc_ext_in_observation");
                (true, observed.then_some(1))
            }
        };
        Ok(Self {
            version,
            main_body: body(model, options.text("main_body"))?,
            forward_reward_weight: options.number("forward_reward_weight"),
            ctrl_cost_weight: options.number("ctrl_cost_weight"),
            contact_cost_weight: costs.then(|| options.number("contact_cost_weight")),
            observed_forces,
            healthy_reward: options.number("healthy_reward"),
            terminate_when_unhealthy: options.flag("terminate_when_unhealthy"),
            healthy_z_range: options.range("healthy_z_range"),
            contact_force_range: options.range("contact_force_range"),
            reset_noise_scale: options.number("reset_noise_scale"),
            skipped: 2 * usize::from(options.flag("exclude_current_positions_from_observation")),
        })
    }

    fn clip(&self, force: f64) -> f64 {
        let [low, high] = self.contact_force_range;
        force.clamp(low, high)
    }

    /// Nowhere near diverging, and neither on the ground nor in the air; bounds inclusive.
    fn is_healthy(&self, data: &Data) -> bool {
        let (qpos, qvel) = (data.qpos(), data.qvel());
        let [low, high] = self.healthy_z_range;
        qpos.iter().chain(qvel).all(|x| x.is_finite()) && low <= qpos[2] && qpos[2] <= high
    }
}

impl Dynamics for Ant {
    fn reset(&self, data: &mut Data, rng: &mut EnvRng) {
        add_noise(data, self.reset_noise_scale, VelocityNoise::Normal, rng);
    }

    fn observe(&self, data: &Data, out: &mut Vec<f64>) {
        out.extend(&data.qpos()[self.skipped..]);
        out.extend(data.qvel());
        if let Some(first) = self.observed_forces {
            let forces = data.cfrc_ext()[first..].as_flattened();
            out.extend(forces.iter().map(|force| self.clip(*force)));
        }
    }

    fn before(&self, data: &Data) -> [f64; 2] {
        let [x, y, _] = data.xpos()[self.main_body];
        [x, y]
    }

    fn needs_body_forces(&self) -> bool {
        self.contact_cost_weight.is_some() || self.observed_forces.is_some()
    }

    fn outcome(&self, step: &StepView<'_>, info: &mut Vec<Info>) -> Outcome {
        let [velocity, sideways] = step.velocity();
        let forward = velocity * self.forward_reward_weight;
        let healthy = self.is_healthy(step.data);
        let paid = pays_health(self.version, healthy, self.terminate_when_unhealthy);
        let survive = if paid { self.healthy_reward } else { 0.0 };
        let control = control_cost(self.ctrl_cost_weight, step.action);
        let contact = self.contact_cost_weight.map_or(0.0, |weight| {
            weight * sum_of_squares(step.data.cfrc_ext(), |force| self.clip(force))
        });
        let qpos = step.data.qpos();
        let position = match self.version {
            Version::V4 => step.after,
            Version::V5 => [qpos[0], qpos[1]],
        };
        info.extend([
            ("x_position", position[0]),
            ("y_position", position[1]),
            ("distance_from_origin", norm(&position)),
            ("x_velocity", velocity),
            ("y_velocity", sideways),
            ("reward_forward", forward),
            ("reward_survive", survive),
        ]);
        match self.version {
            // With contact costs Gymnasium overwrites `reward_ctrl` by their negative.
            Version::V4 => info.extend([
                (
                    "reward_ctrl",
                    self.contact_cost_weight.map_or(-control, |_| -contact),
                ),
                ("forward_reward", forward),
            ]),
            Version::V5 => {
                info.extend([("reward_ctrl", -control), ("reward_contact", -contact)]);
            }
        }
        Outcome {
            reward: (forward + survive) - (control + contact),
            terminated: !healthy && self.terminate_when_unhealthy,
        }
    }
}
