//! The crate's error type.

use std::path::PathBuf;

use crate::StateError;

/// What can go wrong when an environment is made or stepped.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvError {
    /// No task of this name is registered.
    #[error("unknown task `{name}`{}", did_you_mean(.suggestion.as_deref()))]
    UnknownTask {
        /// The name asked for.
        name: String,
        /// The registered name nearest to it, if any is near.
        suggestion: Option<String>,
    },
    /// A task of this name is registered already.
    #[error("a task `{name}` is registered already: names are unique, so yours needs another one")]
    TaskExists {
        /// The name.
        name: String,
    },
    /// A task has no option of this name.
    #[error("`{task}` has no option `{name}`{}", .suggestion.as_ref().map_or_else(String::new, |near| format!("; did you mean `{near}`?")))]
    UnknownOption {
        /// The task.
        task: String,
        /// The name given.
        name: String,
        /// The option nearest to it, if any is near.
        suggestion: Option<String>,
    },
    /// An option has a value that it cannot have.
    #[error("option `{name}` of `{task}` is {value}, but must be {expected}")]
    InvalidOption {
        /// The task.
        task: String,
        /// Name of the option.
        name: String,
        /// The value given.
        value: String,
        /// What it can be.
        expected: String,
    },
    /// The task needs MuJoCo and this build has none.
    #[error(
        "task `{name}` needs MuJoCo, which this build does not contain; run `cargo xtask setup`, \
         then build with `--features mujoco` (every `cargo xtask` command does both by itself)"
    )]
    MujocoNotBuilt {
        /// The task asked for.
        name: String,
    },
    /// The MuJoCo library that was loaded is not the version the bindings were made for.
    #[error(
        "the MuJoCo library that was loaded is version {found}, but version {expected} is needed; \
         run `cargo xtask setup` to get the right one"
    )]
    MujocoVersion {
        /// Version of the library.
        found: String,
        /// Version of the bindings.
        expected: String,
    },
    /// MuJoCo refused a model file, or the file is not the one the task was written for.
    #[error("the model file {} cannot be used: {reason}", .path.display())]
    InvalidModel {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A model or one of its actuators does not fit the task.
    #[error("the model {} does not fit `{task}`: {reason}", .path.display())]
    UnfitModel {
        /// The file.
        path: PathBuf,
        /// The task.
        task: String,
        /// What does not fit.
        reason: String,
    },
    /// `step` before the first `reset`, or after the episode ended.
    #[error("`{task}` has no episode under way: call `reset` before `step`")]
    ResetNeeded {
        /// Name of the task.
        task: String,
    },
    /// An action, or a batch of actions, of the wrong length.
    #[error("`{task}` takes {expected} action values, got {got}")]
    ActionLength {
        /// Name of the task.
        task: String,
        /// Number of values expected.
        expected: usize,
        /// Number of values given.
        got: usize,
    },
    /// A simulator warned in so many steps in a row that its model is of no use.
    #[error(
        "`{task}` diverges: each of {steps} steps in a row ended with a warning of the simulator, {warning}"
    )]
    Diverged {
        /// Name of the task.
        task: String,
        /// Steps in a row.
        steps: u64,
        /// The last warning, with the model.
        warning: String,
    },
    /// An observation of another length than its space.
    #[error("`{task}` gives {got} observation values, but its observation space has {expected}")]
    ObservationLength {
        /// Name of the task.
        task: String,
        /// Number of dimensions of the space.
        expected: usize,
        /// Number of values given.
        got: usize,
    },
    /// An action holds NaN or an infinity.
    #[error("`{task}`: action value {index} is {value}, but actions must be finite")]
    ActionNotFinite {
        /// Name of the task.
        task: String,
        /// Position of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A simulator state of the wrong length.
    #[error("`{task}`: {what} has {expected} values, got {got}")]
    StateLength {
        /// Name of the task.
        task: String,
        /// Which part of the state.
        what: &'static str,
        /// Number of values expected.
        expected: usize,
        /// Number of values given.
        got: usize,
    },
    /// A state does not fit the environment that it was to be restored into.
    #[error("the environment's state cannot be restored: {0}")]
    InvalidState(#[from] StateError),
    /// The environment's author has not said how its state is saved.
    #[error(
        "`{task}` cannot be saved and restored; implement `save` and `restore` for it (see \
         `rescore_envs::Task`)"
    )]
    StateUnsupported {
        /// Name of the task.
        task: String,
    },
    /// Nothing can be drawn.
    #[error("cannot draw: {0}")]
    Rendering(String),
    /// A space or a wrapper was asked for something that makes no sense.
    #[error("{0}")]
    InvalidArgument(String),
    /// An environment of a vector environment failed.
    #[error("environment {index} of the vector environment: {source}")]
    InVector {
        /// Which environment.
        index: usize,
        /// Its error.
        source: Box<Self>,
    },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(
        || "; `rescore_envs::list` names all tasks".to_owned(),
        |near| format!("; did you mean `{near}`?"),
    )
}

/// Of `names` the one nearest to `wanted`, whatever its capitals; of equally near ones the first.
pub(crate) fn nearest<'a>(
    wanted: &str,
    names: impl DoubleEndedIterator<Item = &'a str>,
) -> Option<String> {
    let wanted = wanted.to_lowercase();
    names
        .rev() // `max_by` takes the last of equally near ones.
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
        // Below this similarity a suggestion has nothing to do with what was typed.
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, near)| near.to_owned())
}
