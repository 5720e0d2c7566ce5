//! The configuration files that are compiled into the program.

/// A file of this package's `configs/`: its name and its text.
pub type File = (&'static str, &'static str);

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

/// What differs from the defaults on small tasks, by the task's name.
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

/// A run for a processor.
const SMALL: File = (
    "configs/presets/small.toml",
    include_str!("../../configs/presets/small.toml"),
);
/// A run for a GPU.
const FULL: File = (
    "configs/presets/full.toml",
    include_str!("../../configs/presets/full.toml"),
);
/// How the published implementation counts.
const PUBLISHED: File = (
    "configs/presets/published.toml",
    include_str!("../../configs/presets/published.toml"),
);

/// What the preset `preset` of the algorithm `algo` brings for the training loop, where it does.
pub fn preset_file(algo: &str, preset: &str) -> Option<File> {
    match (algo, preset) {
        ("dpmd" | "sdac" | "sac", "small") => Some(SMALL),
        ("dpmd" | "sdac" | "sac", "full") => Some(FULL),
        ("dpmd-reference" | "sdac-reference", _) => Some(PUBLISHED),
        _ => None,
    }
}

/// Whether `name` is the name of a file that comes with the program.
pub fn is_file(name: &str) -> bool {
    let presets = [SMALL, FULL, PUBLISHED];
    let tasks = TASK_FILES.iter().map(|(_, file)| *file);
    presets
        .into_iter()
        .chain(tasks)
        .any(|(known, _)| known == name)
}

/// What differs on the task `env`, where something does.
pub fn task_file(env: &str) -> Option<File> {
    TASK_FILES
        .iter()
        .find(|(name, _)| *name == env)
        .map(|(_, file)| *file)
}
