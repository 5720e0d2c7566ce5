//! What can be wrong with an exported policy or with an observation.

use std::io;
use std::path::PathBuf;

/// Why a policy could not be written, loaded or asked for an action.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy `{}`", path.display())]
    Io {
        /// Of the file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The bytes are not a safetensors file.
    #[error("not a safetensors file: {0}")]
    Container(#[from] safetensors::SafeTensorError),
    /// The metadata key `rescore` is missing, as in files that Rescore did not export.
    #[error("the file has no metadata key `rescore`, which describes an exported policy")]
    NoDescription,
    /// The description lacks a key, or has one that is unknown or of another type.
    #[error("metadata key `rescore`: {0}")]
    Description(#[from] serde_json::Error),
    /// A value of the description is out of its range.
    #[error("`{key}` of the description is {found}, but must be {expected}")]
    Value {
        /// Path of the key, such as `policy.particles`.
        key: String,
        /// The value.
        found: String,
        /// The values that are right.
        expected: String,
    },
    /// A tensor is missing, of another form, or holds a value that it cannot have.
    #[error("tensor `{name}`: found {found}, but expected {expected}")]
    Tensor {
        /// Of the tensor.
        name: String,
        /// What is there.
        found: String,
        /// What would be right; in shapes `_` stands for lengths that only the tensor tells.
        expected: String,
    },
    /// The observation has another length than those that the policy was trained on.
    #[error("the observation has {found} values, but the policy takes {expected}")]
    ObservationLength {
        /// That of the observation.
        found: usize,
        /// The right one.
        expected: usize,
    },
    /// The observation holds NaN or infinity.
    #[error("value {index} of the observation is {value}, but must be finite")]
    ObservationValue {
        /// Place of the value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The networks' output is NaN or infinity: the observation is too far from those of training.
    #[error("the networks' output for this observation is not finite; is it one of the task?")]
    Diverged,
}

impl PolicyError {
    /// A tensor that is not as expected.
    pub(crate) fn tensor(
        name: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Tensor {
            name: name.to_owned(),
            found: found.into(),
            expected: expected.into(),
        }
    }
}
