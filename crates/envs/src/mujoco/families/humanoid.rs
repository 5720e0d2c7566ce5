//! `Humanoid`: walk forward on two legs; and what `HumanoidStandup` observes as well.

use mujoco_rs::prelude::MjModel;

use super::dynamics::{Data, Dynamics, StepView, VelocityNoise, add_noise};
use super::numpy::{norm, sum, sum_of_squares};
use super::planar_walker::pays_health;
use crate::mujoco_table::Version;
use crate::{EnvRng, Info, Outcome, TaskOptions};

/// Reward `1.25 vx + 5 - 0.1 sum ctrl^2` with the velocity of the centre of mass, in version 5 also
/// minus a contact cost and without the 5 on unhealthy steps; terminates when unhealthy. Observes
/// what [`BodyView`] gives.
pub(super) struct Humanoid {
    version: Version,
    forward_reward_weight: f64,
    ctrl_cost_weight: f64,
    /// Weight and range.
    contact_cost: Option<(f64, [f64; 2])>,
    healthy_reward: f64,
    terminate_when_unhealthy: bool,
    healthy_z_range: [f64; 2],
    reset_noise_scale: f64,
    view: BodyView,
    masses: Vec<f64>,
    total_mass: f64,
}

/// All positions and velocities but the position in the plane, and inertias, velocities, actuator
/// forces and external forces of the bodies; version 5 without the world's and without the free
/// joint's actuators.
pub(super) struct BodyView {
    version: Version,
    skipped: usize,
    observed: Vec<Quantity>,
}

/// What is observed besides positions and velocities, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Inertias,
    Velocities,
    Actuators,
    Forces,
}

impl BodyView {
    pub fn new(version: Version, options: &TaskOptions) -> Self {
        let v5 = version == Version::V5;
        let quantities = [
            ("include_cinert_in_observation", Quantity::Inertias),
            ("include_cvel_in_observation", Quantity::Velocities),
            ("include_qfrc_actuator_in_observation", Quantity::Actuators),
            ("include_cfrc_ext_in_observation", Quantity::Forces),
        ];
        // Version 4 observes everything.
        let observed = quantities
            .into_iter()
            .filter(|(option, _)| !v5 || options.flag(option))
            .map(|(_, quantity)| quantity)
            .collect();
        Self {
            version,
            skipped: 2 * usize::from(options.flag("exclude_current_positions_from_observation")),
            observed,
        }
    }

    pub fn observe(&self, data: &Data, out: &mut Vec<f64>) {
        let (body, actuator) = match self.version {
            Version::V4 => (0, 0),
            Version::V5 => (1, 6),
        };
        out.extend(&data.qpos()[self.skipped..]);
        out.extend(data.qvel());
        for quantity in &self.observed {
            out.extend(match quantity {
                Quantity::Inertias => data.cinert()[body..].as_flattened(),
                Quantity::Velocities => data.cvel()[body..].as_flattened(),
                Quantity::Actuators => &data.qfrc_actuator()[actuator..],
                Quantity::Forces => data.cfrc_ext()[body..].as_flattened(),
            });
        }
    }

    /// Whether forces on the bodies are observed.
    pub fn sees_forces(&self) -> bool {
        self.observed.contains(&Quantity::Forces)
    }
}

/// `weight * sum ctrl^2`: of the controls in double precision, unlike the action of other tasks.
pub(super) fn control_cost(weight: f64, data: &Data) -> f64 {
    let controls = data.ctrl();
    weight * sum(controls.len(), |i| controls[i] * controls[i])
}

/// `weight * sum force^2` over all bodies, within a range.
pub(super) fn contact_cost(weight: f64, [low, high]: [f64; 2], data: &Data) -> f64 {
    (weight * sum_of_squares(data.cfrc_ext(), |force| force)).clamp(low, high)
}

impl Humanoid {
    pub fn new(version: Version, options: &TaskOptions, model: &MjModel) -> Self {
        let masses = model.body_mass().to_vec();
        Self {
            version,
            view: BodyView::new(version, options),
            forward_reward_weight: options.number("forward_reward_weight"),
            ctrl_cost_weight: options.number("ctrl_cost_weight"),
            contact_cost: (version == Version::V5).then(|| {
                (
                    options.number("contact_cost_weight"),
                    options.range("contact_cost_range"),
                )
            }),
            healthy_reward: options.number("healthy_reward"),
            terminate_when_unhealthy: options.flag("terminate_when_unhealthy"),
            healthy_z_range: options.range("healthy_z_range"),
            reset_noise_scale: options.number("reset_noise_scale"),
            total_mass: sum(masses.len(), |i| masses[i]),
            masses,
        }
    }
}

impl Dynamics for Humanoid {
    fn reset(&self, data: &mut Data, rng: &mut EnvRng) {
        add_noise(data, self.reset_noise_scale, VelocityNoise::Uniform, rng);
    }

    fn observe(&self, data: &Data, out: &mut Vec<f64>) {
        self.view.observe(data, out);
    }

    /// The centre of mass, in the plane.
    fn before(&self, data: &Data) -> [f64; 2] {
        let mut centre = [0.0; 2];
        for (mass, position) in self.masses.iter().zip(data.xipos()) {
            centre[0] += mass * position[0];
            centre[1] += mass * position[1];
        }
        centre.map(|moment| moment / self.total_mass)
    }

    fn needs_body_forces(&self) -> bool {
        self.view.sees_forces() || self.contact_cost.is_some()
    }

    fn outcome(&self, step: &StepView<'_>, info: &mut Vec<Info>) -> Outcome {
        let [velocity, sideways] = step.velocity();
        let forward = self.forward_reward_weight * velocity;
        let [low, high] = self.healthy_z_range;
        let qpos = step.data.qpos();
        let healthy = low < qpos[2] && qpos[2] < high;
        let paid = pays_health(self.version, healthy, self.terminate_when_unhealthy);
        let survive = if paid { self.healthy_reward } else { 0.0 };
        let control = control_cost(self.ctrl_cost_weight, step.data);
        let contact = (self.contact_cost).map_or(0.0, |(weight, range)| {
            contact_cost(weight, range, step.data)
        });
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
        ]);
        match self.version {
            Version::V4 => info.extend([
                ("reward_linvel", forward),
                ("reward_quadctrl", -control),
                ("reward_alive", survive),
                ("forward_reward", forward),
            ]),
            Version::V5 => info.extend([
                ("reward_survive", survive),
                ("reward_forward", forward),
                ("reward_ctrl", -control),
                ("reward_contact", -contact),
            ]),
        }
        Outcome {
            reward: (forward + survive) - (control + contact),
            terminated: !healthy && self.terminate_when_unhealthy,
        }
    }
}
