//! The JSON document in a file's metadata key `rescore`: everything that acting needs beside the
//! tensors.
//!
//! All tensors are little-endian `f32` of rank 3, `[members, rows, columns]`. A linear layer `n` is
//! the tensors `n.weight` `[members, in, out]` and `n.bias` `[members, 1, out]`; vectors such as
//! `n.scale` are `[members, 1, width]`. Leaves of a policy are named `policy.*` and have one member;
//! those of critics are named `critics.*` and have [`Critics::members`].

use serde::{Deserialize, Serialize};

/// The format that this version writes and reads.
pub const FORMAT: u32 = 1;

/// Candidate actions of one observation at most.
pub const MAX_PARTICLES: usize = 1 << 16;

/// Name of the random stream of deterministic actions; its key follows from the run's seed.
pub const STREAM: &str = "act/deterministic";

/// A trained policy without its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the algorithm that trained the policy; for people.
    pub algorithm: String,
    /// Name of the task; for people.
    pub task: String,
    /// Environment steps of training; for people.
    pub step: u64,
    /// Seed of the run, from which the key of the random stream [`STREAM`] follows.
    pub seed: u64,
    /// Length of an observation.
    pub observation_dim: usize,
    /// Length of an action.
    pub action_dim: usize,
    /// Lower bounds of actions in the task's units, one for each component.
    pub low: Vec<f64>,
    /// Upper bounds.
    pub high: Vec<f64>,
    /// How observations are normalised, if they are.
    pub observation_normalizer: Option<Normalizer>,
    /// How the policy acts.
    pub policy: PolicyKind,
}

/// `clip((o - mean) / sqrt(var + epsilon), -clip, clip)`, computed in `f64`.
///
/// Means and variances are lists of texts in JSON, because JSON readers may round numbers and the
/// noise of an action follows from every bit of the observation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalizer {
    /// Mean of each component.
    #[serde(with = "texts")]
    pub mean: Vec<f64>,
    /// Variance of each component.
    #[serde(with = "texts")]
    pub var: Vec<f64>,
    /// Added to the variance; 1e-6 in training.
    pub epsilon: f64,
    /// Largest absolute value of a result; without it, nothing is clipped.
    pub clip: Option<f64>,
}

/// How a policy acts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PolicyKind {
    /// The best of `particles` samples of a denoising chain.
    ///
    /// The denoiser is `network(concat(observation, x_t, te))` with the time features
    /// `te = time1(mish(time0(embedding(t))))`; leaves `policy.time0.*` and `policy.time1.*`. The
    /// embedding's width is the number of rows of `policy.time0.weight`. The tensor `steps`
    /// `[1, T, 5]` holds for each step `t`: `sqrt(1 / alpha_bar)`, `sqrt(1 / alpha_bar - 1)`, the
    /// weights of `x_0` and of `x_t` in the posterior mean, and the posterior's standard deviation.
    /// The tensor `times` `[1, 1, T]`, where there is one, holds the times whose embeddings the network
    /// is told; otherwise they are 0 to T - 1. A sample is clipped to [-1, 1] at the end.
    Diffusion {
        /// The denoiser behind its time features.
        network: NetworkKind,
        /// Candidate actions, from 1 to [`MAX_PARTICLES`].
        particles: usize,
        /// Standard deviation of the start of the chain.
        start_scale: f64,
        /// The critics that choose among several particles; not asked about one.
        critics: Option<Critics>,
    },
    /// `tanh` of the mean, the first half of the network's output.
    Gaussian {
        /// `observation_dim` to twice `action_dim`.
        network: NetworkKind,
    },
    /// `tanh` of the network's output.
    Deterministic {
        /// `observation_dim` to `action_dim`.
        network: NetworkKind,
    },
}

/// Values of actions: several networks of one form on `concat(observation, action)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Critics {
    /// Number of networks.
    pub members: usize,
    /// Their form.
    pub network: NetworkKind,
    /// How a network's output becomes a value.
    pub head: ValueHead,
    /// How their values become a score.
    pub combine: Combine,
}

/// How a critic's output becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ValueHead {
    /// The only output is the value.
    Scalar,
    /// The expectation over equally spaced atoms, whose logits are the outputs (two at least).
    Categorical {
        /// The first atom.
        low: f64,
        /// The last atom.
        high: f64,
    },
}

/// How the values of several critics become one score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// The smallest.
    Min,
    /// The mean.
    Mean,
}

/// The form of a network; widths are those of its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkKind {
    /// Linear layers `l0`, `l1`, ... with an activation between them.
    Mlp {
        /// Number of linear layers, at least one.
        layers: usize,
        /// Between them.
        activation: Activation,
    },
    /// `SimBa` (Lee et al. 2025): `x = in(x)`, then for each block
    /// `x += down{j}(relu(up{j}(ln{j}(x))))`, then `head(ln_out(x))`. Layer norms divide by the
    /// root of the biased variance plus 1e-6; leaves `scale` and `shift`.
    Residual {
        /// Number of blocks.
        blocks: usize,
    },
    /// Critics with batch normalisation by running statistics: `x = bn_in(x)`, then for each layer
    /// `x = relu(bn{i}(x l{i}.weight))` without a bias, then `head(x)`. `bn(x) = (x - mean) /
    /// sqrt(var + 1e-3) scale + shift`; leaves `scale`, `shift`, `mean` and `var`.
    BatchNorm {
        /// Number of layers before the head.
        layers: usize,
    },
}

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x tanh(softplus(x))`.
    Mish,
    /// `x Phi(x)` with the error function.
    Gelu,
    /// `tanh(x)`.
    Tanh,
}

impl Description {
    /// Centre and half of the range of each component of an action, in single precision as in
    /// training.
    pub(crate) fn affine(&self) -> impl Iterator<Item = (f32, f32)> {
        let bounds = self.low.iter().zip(&self.high);
        bounds.map(|(low, high)| ((0.5 * (high + low)) as f32, (0.5 * (high - low)) as f32))
    }
}

/// Lists of numbers as lists of texts.
mod texts {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(numbers: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(numbers.iter().map(ToString::to_string))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let number = |text: String| {
            let wrong = |_| D::Error::custom(format!("`{text}` is no number"));
            text.parse().map_err(wrong)
        };
        texts.into_iter().map(number).collect()
    }
}
