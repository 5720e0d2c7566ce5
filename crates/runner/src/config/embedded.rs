//! The configuration files that are compiled into the program.

use rescore_agents::Algorithm;

/// A file of `configs/`: its name relative to the repository and its text.
pub type File = (&'static str, &'static str);

/// Documented defaults of an algorithm.
pub fn algorithm_file(algorithm: Algorithm) -> File {
    match algorithm {
        Algorithm::Dpmd => ("configs/dpmd.toml", include_str!("../../configs/dpmd.toml")),
        Algorithm::Sdac => ("configs/sdac.toml", include_str!("../../configs/sdac.toml")),
        Algorithm::Sac => ("configs/sac.toml", include_str!("../../configs/sac.toml")),
    }
}

/// Lists the task files: `tasks![NAME...]` becomes `(NAME, (path, text))` pairs.
macro_rules! tasks {
    ($($name:literal),* $(,)?) => {
        &[$((
            $name,
            (
                concat!("configs/tasks/", $name, ".toml"),
                include_str!(concat!("../../configs/tasks/", $name, ".toml")),
            ),
        )),*]
    };
}

/// What differs from an algorithm's defaults on small tasks, by the task's name.
pub const TASK_FILES: &[(&str, File)] = tasks![
    "InvertedPendulum-v4",
    "MultiGoal-v0",
    "Pendulum-v1",
    "Probe-ActionReward-v0",
    "Probe-ConstantReward-v0",
    "Probe-Discounting-v0",
    "Probe-ObservationActionReward-v0",
    "Probe-ObservationValue-v0",
];

/// What differs on the task `env`, where something does.
pub fn task_file(env: &str) -> Option<File> {
    TASK_FILES
        .iter()
        .find(|(name, _)| *name == env)
        .map(|(_, file)| *file)
}
