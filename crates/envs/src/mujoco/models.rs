//! Gymnasium's models, compiled in from `models/` (MIT licence, beside them).

/// Text of a model file, from its name.
macro_rules! models {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../../models/", $file)))),*]
    };
}

/// File name and MJCF text of every model.
const MODELS: &[(&str, &str)] = models![
    "ant.xml",
    "half_cheetah.xml",
    "hopper.xml",
    "humanoid.xml",
    "humanoidstandup.xml",
    "inverted_double_pendulum.xml",
    "inverted_pendulum.xml",
    "pusher.xml",
    "pusher_v5.xml",
    "reacher.xml",
    "swimmer.xml",
    "walker2d.xml",
    "walker2d_v5.xml",
];

/// The MJCF text of one of Gymnasium's models, such as `hopper.xml`.
pub fn model_xml(name: &str) -> Option<&'static str> {
    MODELS
        .iter()
        .find(|(file, _)| *file == name)
        .map(|(_, text)| *text)
}

/// File names of all models.
pub(super) fn model_names() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|(file, _)| *file)
}
