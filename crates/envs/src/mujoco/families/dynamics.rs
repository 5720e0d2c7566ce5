//! What every family provides, and what several share.

use std::sync::Arc;

use mujoco_rs::prelude::{MjData, MjModel, MjtObjBase};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

use crate::{EnvRng, Info, Outcome};

/// The simulator's state, bound to the model it was made for.
pub(in super::super) type Data = MjData<Arc<MjModel>>;

/// What a family adds to the mechanics that all share (see
/// [`MujocoTask`](crate::mujoco::MujocoTask)).
pub(in super::super) trait Dynamics: Send {
    /// Draws a first state around the model's own, which `data` is in.
    fn reset(&self, data: &mut Data, rng: &mut EnvRng);

    /// Writes the observation into `out`, which is empty.
    fn observe(&self, data: &Data, out: &mut Vec<f64>);

    /// What the reward of the next step will depend on of the state before it: positions or
    /// distances, unless a family says otherwise the first two coordinates.
    fn before(&self, data: &Data) -> [f64; 2] {
        [data.qpos()[0], data.qpos()[1]]
    }

    /// Whether forces on bodies are observed or cost something. The simulator computes them only
    /// on request.
    fn needs_body_forces(&self) -> bool {
        false
    }

    /// Reward and termination, after the step; the terms of the reward go into `info`.
    fn outcome(&self, step: &StepView<'_>, info: &mut Vec<Info>) -> Outcome;
}

/// What a reward may depend on.
pub(in super::super) struct StepView<'a> {
    /// The state after the step.
    pub data: &'a Data,
    /// The action as given, not as the actuators clamp it.
    pub action: &'a [f32],
    /// The observation after the step.
    pub observation: &'a [f64],
    /// [`Dynamics::before`] of the state before the step.
    pub before: [f64; 2],
    /// [`Dynamics::before`] of the state after the step: what it will be for the next one.
    pub after: [f64; 2],
    /// Seconds per environment step.
    pub dt: f64,
}

impl StepView<'_> {
    /// Mean velocity over the step of the positions that [`Dynamics::before`] gives.
    pub(super) fn velocity(&self) -> [f64; 2] {
        [0, 1].map(|i| (self.after[i] - self.before[i]) / self.dt)
    }
}

/// Number of the body called `name`, or with this number if none is called so.
pub(super) fn body(model: &MjModel, name: &str) -> Result<usize, String> {
    let called = || {
        let text = !name.contains('\0');
        text.then(|| model.name_to_id(MjtObjBase::mjOBJ_BODY, name))?
    };
    let numbered = || {
        let number: usize = name.parse().ok()?;
        (number < model.ffi().nbody as usize).then_some(number)
    };
    called()
        .or_else(numbered)
        .ok_or_else(|| format!("it has no body called `{name}`"))
}

/// Distribution of the noise of the first velocities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VelocityNoise {
    Uniform,
    Normal,
}

/// Adds noise of this scale to positions (always uniform) and velocities.
pub(super) fn add_noise(data: &mut Data, scale: f64, velocities: VelocityNoise, rng: &mut EnvRng) {
    for position in data.qpos_mut() {
        *position += uniform(scale, rng);
    }
    for velocity in data.qvel_mut() {
        *velocity += match velocities {
            VelocityNoise::Uniform => uniform(scale, rng),
            VelocityNoise::Normal => {
                let normal: f64 = StandardNormal.sample(rng);
                scale * normal
            }
        };
    }
}

/// Uniform within plus and minus `bound`.
pub(super) fn uniform(bound: f64, rng: &mut EnvRng) -> f64 {
    if bound > 0.0 {
        rng.random_range(-bound..bound)
    } else {
        0.0
    }
}
