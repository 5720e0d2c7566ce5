//! Tasks that need no simulator. To add one, add a file here and a row to the table.

pub mod multi_goal;
pub mod pendulum;
pub mod probe;

pub use multi_goal::MultiGoal;
pub use pendulum::Pendulum;
pub use probe::{Probe, ProbeKind};

use crate::{Env, EnvError, Task, TaskEntry, TaskEnv};

/// Makes one environment of a task that has no options.
type Constructor = fn() -> Result<Box<dyn Env>, EnvError>;

/// All built-in tasks.
pub(crate) const BUILTIN_TASKS: &[(TaskEntry, Constructor)] = &[
    (
        TaskEntry {
            description: "swing a pendulum up with too little torque, and hold it",
            observation_dim: 3,
            action_low: -2.0,
            action_high: 2.0,
            time_limit: Some(200),
            ..entry("Pendulum-v1")
        },
        || env(Pendulum::new()),
    ),
    (
        TaskEntry {
            description: "reach one of four equally good goals in the plane (multimodal)",
            observation_dim: 2,
            action_dim: 2,
            time_limit: Some(30),
            ..entry("MultiGoal-v0")
        },
        || env(MultiGoal::new()),
    ),
    (
        TaskEntry {
            description: "probe: value of a constant reward",
            ..entry(ProbeKind::ConstantReward.name())
        },
        || env(Probe::new(ProbeKind::ConstantReward)),
    ),
    (
        TaskEntry {
            description: "probe: value that depends on the observation",
            ..entry(ProbeKind::ObservationValue.name())
        },
        || env(Probe::new(ProbeKind::ObservationValue)),
    ),
    (
        TaskEntry {
            description: "probe: discounting over two steps",
            ..entry(ProbeKind::Discounting.name())
        },
        || env(Probe::new(ProbeKind::Discounting)),
    ),
    (
        TaskEntry {
            description: "probe: reward that depends on the action",
            ..entry(ProbeKind::ActionReward.name())
        },
        || env(Probe::new(ProbeKind::ActionReward)),
    ),
    (
        TaskEntry {
            description: "probe: reward that depends on observation and action",
            ..entry(ProbeKind::ObservationActionReward.name())
        },
        || env(Probe::new(ProbeKind::ObservationActionReward)),
    ),
];

/// A task of one observation and one action within ±1. Steps of the built-in tasks take 0.05 to 0.2
/// microseconds, and handing a step to two threads costs about 20 (`cargo xtask bench envs`).
const fn entry(name: &'static str) -> TaskEntry {
    TaskEntry {
        name,
        description: "",
        observation_dim: 1,
        action_dim: 1,
        action_low: -1.0,
        action_high: 1.0,
        time_limit: None,
        needs_mujoco: false,
        parallel: false,
        options: &[],
    }
}

fn env(task: Result<impl Task + 'static, EnvError>) -> Result<Box<dyn Env>, EnvError> {
    Ok(Box::new(TaskEnv::new(task?)))
}
