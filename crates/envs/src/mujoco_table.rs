//! The MuJoCo tasks as a table: everything about them that is a number.
//!
//! To add a task, add a row here (two when its versions differ) and, for a new family, its
//! dynamics in `mujoco/families/`. The rows need no MuJoCo, so the tasks can be listed without.

use crate::registry::TaskEntry;

/// A kind of body: one file of dynamics in `mujoco/families/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    HalfCheetah,
    Hopper,
    InvertedPendulum,
}

/// How a first state is drawn around the model's own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Noise {
    /// Uniform within plus and minus this.
    Uniform(f64),
    /// Normal with this standard deviation.
    Normal(f64),
}

/// One task.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "mujoco"),
    expect(dead_code, reason = "read by the MuJoCo tasks alone")
)]
pub(crate) struct MujocoSpec {
    /// What a user sees in the list of tasks.
    pub entry: TaskEntry,
    pub family: Family,
    /// Name of the model file.
    pub model: &'static str,
    /// Simulator steps per environment step.
    pub frame_skip: u32,
    /// Noise of the first positions.
    pub position_noise: Noise,
    /// Noise of the first velocities.
    pub velocity_noise: Noise,
}

/// All MuJoCo tasks. Dimensions, frame skips, noise and time limits are those of Gymnasium 1.x.
pub(crate) const MUJOCO_TASKS: &[MujocoSpec] = &[
    MujocoSpec {
        entry: entry(
            "HalfCheetah-v4",
            17,
            6,
            1.0,
            1000,
            "run forward as a planar cheetah",
        ),
        family: Family::HalfCheetah,
        model: "half_cheetah.xml",
        frame_skip: 5,
        position_noise: Noise::Uniform(0.1),
        velocity_noise: Noise::Normal(0.1),
    },
    MujocoSpec {
        entry: entry(
            "Hopper-v4",
            11,
            3,
            1.0,
            1000,
            "hop forward on one leg without falling",
        ),
        family: Family::Hopper,
        model: "hopper.xml",
        frame_skip: 4,
        position_noise: Noise::Uniform(0.005),
        velocity_noise: Noise::Uniform(0.005),
    },
    MujocoSpec {
        entry: entry(
            "InvertedPendulum-v4",
            4,
            1,
            3.0,
            1000,
            "balance a pole on a cart",
        ),
        family: Family::InvertedPendulum,
        model: "inverted_pendulum.xml",
        frame_skip: 2,
        position_noise: Noise::Uniform(0.01),
        velocity_noise: Noise::Uniform(0.01),
    },
];

const fn entry(
    name: &'static str,
    observation_dim: usize,
    action_dim: usize,
    action_bound: f32,
    time_limit: u32,
    description: &'static str,
) -> TaskEntry {
    TaskEntry {
        name,
        description,
        observation_dim,
        action_dim,
        action_low: -action_bound,
        action_high: action_bound,
        time_limit: Some(time_limit),
        needs_mujoco: true,
    }
}
