//! The names a user may give, known here so that a typing error is found before anything is built.
//!
//! The real lists live in the crates, which xtask does not link. `tests/tests/architecture.rs`
//! includes this file and compares: adding a task, an algorithm or a command means adding it here.

/// Commands of `rescore`, and what they say of themselves.
pub const COMMANDS: &[(&str, &str)] = &[
    ("train", "Train a policy; prints the run folder"),
    (
        "sweep",
        "Plan many runs, make them here or on a cluster, and collect their returns",
    ),
    (
        "config",
        "Print the complete configuration of an algorithm, every key with what it is for",
    ),
    ("eval", "Play evaluation episodes with a trained policy"),
    ("envs", "List the tasks with their dimensions"),
    ("devices", "List what this program could compute on"),
    (
        "bench",
        "Measure milliseconds per update or per act, or steps per second of the tasks",
    ),
    ("render", "Film a policy, or random actions, as GIF or MP4"),
    (
        "soak",
        "Kill runs again and again, and watch the memory of one for hours",
    ),
    (
        "export",
        "Write a trained policy as one file that acts without a tensor library",
    ),
    (
        "prune",
        "Remove the replay buffer, and all checkpoints but the last and the best, of finished runs",
    ),
    ("plot", "Draw learning curves as SVG or PNG"),
    (
        "report",
        "Write tables, statistics and a page with all curves of runs",
    ),
    ("watch", "Show runs in the terminal while they go on"),
];

/// The cargo feature with which a clone builds the program: `bench`, `soak`, and the faults of the
/// tests. What `bundle` packs has none of them.
pub const DEVELOPER: &str = "developer";

/// Algorithms.
pub const ALGOS: &[&str] = &[
    "dpmd",
    "sdac",
    "dpmd-reference",
    "sdac-reference",
    "sac",
    "td3",
    "qsm",
    "idem",
    "qvpo",
    "dipo",
    "idql",
    "score-sde",
];

/// Tasks that need no MuJoCo.
pub const BUILTIN_ENVS: &[&str] = &[
    "Pendulum-v1",
    "MultiGoal-v0",
    "Probe-ConstantReward-v0",
    "Probe-ObservationValue-v0",
    "Probe-Discounting-v0",
    "Probe-ActionReward-v0",
    "Probe-ObservationActionReward-v0",
];

/// MuJoCo tasks.
pub const MUJOCO_ENVS: &[&str] = &[
    "HalfCheetah-v4",
    "HalfCheetah-v5",
    "Hopper-v4",
    "Hopper-v5",
    "Walker2d-v4",
    "Walker2d-v5",
    "Ant-v4",
    "Ant-v5",
    "Humanoid-v4",
    "Humanoid-v5",
    "HumanoidStandup-v4",
    "HumanoidStandup-v5",
    "Swimmer-v4",
    "Swimmer-v5",
    "Reacher-v4",
    "Reacher-v5",
    "Pusher-v4",
    "Pusher-v5",
    "InvertedPendulum-v4",
    "InvertedPendulum-v5",
    "InvertedDoublePendulum-v4",
    "InvertedDoublePendulum-v5",
];

/// The backend of every build.
pub const DEFAULT_BACKEND: &str = "flex";

/// The other backends, each a cargo feature of its own: every one more is minutes of compiling.
pub const OTHER_BACKENDS: &[&str] = &["ndarray", "cuda", "wgpu", "vulkan", "metal"];

/// All backends.
pub fn backends() -> Vec<&'static str> {
    [&[DEFAULT_BACKEND], OTHER_BACKENDS].concat()
}

/// The task that is trained on when none is named.
pub const DEFAULT_ENV: &str = "InvertedPendulum-v4";
