//! The MuJoCo tasks as a table: everything about them that is a number.
//!
//! To add a task, add a row here (two when its versions differ) and, for a new family, its
//! dynamics in `mujoco/families/`. The rows need no MuJoCo, so the tasks can be listed without.

mod options;

#[allow(clippy::wildcard_imports, reason = "one constant for each row")]
use options::*;

use crate::{TaskEntry, TaskOption};

/// A kind of body: one file of dynamics in `mujoco/families/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Ant,
    HalfCheetah,
    Hopper,
    Humanoid,
    HumanoidStandup,
    InvertedDoublePendulum,
    InvertedPendulum,
    Pusher,
    Reacher,
    Swimmer,
    Walker2d,
}

/// Gymnasium's version of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V5,
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
    pub version: Version,
}

/// All MuJoCo tasks. Dimensions, options and time limits are those of Gymnasium 1.x.
pub(crate) const MUJOCO_TASKS: &[MujocoSpec] = &[
    HALF_CHEETAH.task("HalfCheetah-v4", Version::V4, 17, HALF_CHEETAH_V4),
    HALF_CHEETAH.task("HalfCheetah-v5", Version::V5, 17, HALF_CHEETAH_V5),
    HOPPER.task("Hopper-v4", Version::V4, 11, HOPPER_V4),
    HOPPER.task("Hopper-v5", Version::V5, 11, HOPPER_V5),
    WALKER2D.task("Walker2d-v4", Version::V4, 17, WALKER2D_V4),
    WALKER2D.task("Walker2d-v5", Version::V5, 17, WALKER2D_V5),
    ANT.task("Ant-v4", Version::V4, 27, ANT_V4),
    ANT.task("Ant-v5", Version::V5, 105, ANT_V5),
    HUMANOID.task("Humanoid-v4", Version::V4, 376, HUMANOID_V4),
    HUMANOID.task("Humanoid-v5", Version::V5, 348, HUMANOID_V5),
    STANDUP.task("HumanoidStandup-v4", Version::V4, 376, STANDUP_V4),
    STANDUP.task("HumanoidStandup-v5", Version::V5, 348, STANDUP_V5),
    SWIMMER.task("Swimmer-v4", Version::V4, 8, SWIMMER_V4),
    SWIMMER.task("Swimmer-v5", Version::V5, 8, SWIMMER_V5),
    REACHER.task("Reacher-v4", Version::V4, 11, REACHER_V4),
    REACHER.task("Reacher-v5", Version::V5, 10, REACHER_V5),
    PUSHER.task("Pusher-v4", Version::V4, 23, PUSHER_V4),
    PUSHER.task("Pusher-v5", Version::V5, 23, PUSHER_V5),
    PENDULUM.task("InvertedPendulum-v4", Version::V4, 4, PENDULUM_V4),
    PENDULUM.task("InvertedPendulum-v5", Version::V5, 4, PENDULUM_V5),
    DOUBLE.task("InvertedDoublePendulum-v4", Version::V4, 11, DOUBLE_V4),
    DOUBLE.task("InvertedDoublePendulum-v5", Version::V5, 9, DOUBLE_V5),
];

/// What the versions of a family have in common.
struct Body {
    family: Family,
    action_dim: usize,
    action_bound: f32,
    time_limit: u32,
    description: &'static str,
}

impl Body {
    const fn new(
        family: Family,
        action_dim: usize,
        action_bound: f32,
        time_limit: u32,
        description: &'static str,
    ) -> Self {
        Self {
            family,
            action_dim,
            action_bound,
            time_limit,
            description,
        }
    }

    const fn task(
        &self,
        name: &'static str,
        version: Version,
        observation_dim: usize,
        options: &'static [TaskOption],
    ) -> MujocoSpec {
        MujocoSpec {
            entry: TaskEntry {
                name,
                description: self.description,
                observation_dim,
                action_dim: self.action_dim,
                action_low: -self.action_bound,
                action_high: self.action_bound,
                time_limit: Some(self.time_limit),
                needs_mujoco: true,
                // A step takes 20 to 200 microseconds.
                parallel: true,
                options,
            },
            family: self.family,
            version,
        }
    }
}

const HALF_CHEETAH: Body = Body::new(
    Family::HalfCheetah,
    6,
    1.0,
    1000,
    "run forward as a planar cheetah",
);
const HOPPER: Body = Body::new(
    Family::Hopper,
    3,
    1.0,
    1000,
    "hop forward on one leg without falling",
);
const WALKER2D: Body = Body::new(
    Family::Walker2d,
    6,
    1.0,
    1000,
    "walk forward on two planar legs without falling",
);
const ANT: Body = Body::new(
    Family::Ant,
    8,
    1.0,
    1000,
    "run forward on four legs without falling over",
);
const HUMANOID: Body = Body::new(
    Family::Humanoid,
    17,
    0.4,
    1000,
    "walk forward on two legs without falling",
);
const STANDUP: Body = Body::new(
    Family::HumanoidStandup,
    17,
    0.4,
    1000,
    "get up from lying on the back",
);
const SWIMMER: Body = Body::new(
    Family::Swimmer,
    2,
    1.0,
    1000,
    "swim forward as a snake of three links",
);
const REACHER: Body = Body::new(
    Family::Reacher,
    2,
    1.0,
    50,
    "reach a random target with a two-jointed arm",
);
const PUSHER: Body = Body::new(
    Family::Pusher,
    7,
    2.0,
    100,
    "push a cylinder to a goal with a robot arm",
);
const PENDULUM: Body = Body::new(
    Family::InvertedPendulum,
    1,
    3.0,
    1000,
    "balance a pole on a cart",
);
const DOUBLE: Body = Body::new(
    Family::InvertedDoublePendulum,
    1,
    1.0,
    1000,
    "balance a pole on a pole on a cart",
);
