//! Names of the files and folders of a run.

/// The resolved configuration.
pub const CONFIG: &str = "config.toml";
/// Where and how the run was made.
pub const MANIFEST: &str = "manifest.json";
/// Losses and other metrics, one object a line.
pub const METRICS: &str = "metrics.jsonl";
/// The evaluations, one row each.
pub const EVALUATIONS: &str = "eval.csv";
/// Why the run stopped, where a number was not finite.
pub const CRASH: &str = "crash.json";
/// Locked while a process writes to the folder.
pub const LOCK: &str = "LOCK";
/// Exists when the run has reached its last step.
pub const DONE: &str = "DONE";
/// Exists when the run lacks what only resuming needs.
pub const PRUNED: &str = "PRUNED";
/// The folder of the checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// The folder of TensorBoard's event files.
pub const TENSORBOARD: &str = "tensorboard";
/// The folder of the segments of the replay buffer.
pub const REPLAY: &str = "replay";
