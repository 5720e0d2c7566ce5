//! Networks, and the optimiser that trains them.

use rescore_kernels::Activation;
use rescore_nn::{AdamSettings, Initializer, Shape};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RangeCheck;

/// An activation between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivationKind {
    /// `x tanh(softplus(x))` (Misra 2019).
    Mish,
    /// `x Phi(x)` (Hendrycks and Gimpel 2016).
    Gelu,
    /// `max(x, 0)`
    Relu,
    /// `tanh(x)`
    Tanh,
}

impl From<ActivationKind> for Activation {
    fn from(kind: ActivationKind) -> Self {
        match kind {
            ActivationKind::Mish => Self::Mish,
            ActivationKind::Gelu => Self::Gelu,
            ActivationKind::Relu => Self::Relu,
            ActivationKind::Tanh => Self::Tanh,
        }
    }
}

/// Distribution of initial weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InitializerKind {
    /// Normal with scale `1/sqrt(fan_in)`, then truncated at two of it.
    TruncatedNormal,
    /// Truncated normal whose standard deviation is `1/sqrt(fan_in)` after truncation.
    LecunNormal,
}

impl From<InitializerKind> for Initializer {
    fn from(kind: InitializerKind) -> Self {
        match kind {
            InitializerKind::TruncatedNormal => Self::TruncatedNormal,
            InitializerKind::LecunNormal => Self::LecunNormal,
        }
    }
}

/// A network; `kind` decides which other keys there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkSettings {
    /// Linear layers with an activation between them.
    Mlp {
        /// Widths of the hidden layers, 1 to 64 of them, each 1 to 65,536.
        #[serde(default = "default_hidden_dims")]
        hidden_dims: Vec<usize>,
        /// Activation between the layers: "mish", "gelu", "relu" or "tanh". The fused kernels of
        /// the denoising chain and of scoring know "mish".
        #[serde(default = "default_activation")]
        activation: ActivationKind,
        /// Distribution of the initial weights: "`truncated_normal`" (scale
        /// `1/sqrt(fan_in)` before truncation at two of it) or "`lecun_normal`" (after truncation).
        #[serde(default = "default_initializer")]
        initializer: InitializerKind,
    },
    /// Residual blocks with a layer norm before each (`SimBa`). The fused chain cannot sample it.
    Residual {
        /// Width of the residual stream, 1 to 65,536.
        #[serde(default = "default_width")]
        width: usize,
        /// How many blocks there are, 1 to 64; each is four times as wide inside.
        #[serde(default = "default_blocks")]
        blocks: usize,
    },
    /// Linear layers with a norm over the batch before each activation (XQC); for critics only,
    /// because a policy's rows are of different denoising steps.
    BatchNorm {
        /// Widths of the hidden layers, 1 to 64 of them, each 1 to 65,536.
        #[serde(default = "default_hidden_dims")]
        hidden_dims: Vec<usize>,
    },
}

fn default_hidden_dims() -> Vec<usize> {
    vec![256; 3]
}

const fn default_activation() -> ActivationKind {
    ActivationKind::Mish
}

const fn default_initializer() -> InitializerKind {
    InitializerKind::TruncatedNormal
}

const fn default_width() -> usize {
    128
}

const fn default_blocks() -> usize {
    1
}

impl NetworkSettings {
    /// Three hidden layers of 256.
    pub fn mlp(activation: ActivationKind, initializer: InitializerKind) -> Self {
        Self::Mlp {
            hidden_dims: default_hidden_dims(),
            activation,
            initializer,
        }
    }

    /// What the settings ask for. `head_gain` is the gain of the last layer's initial weights where
    /// the kind has one: 1 for critics, less for policies.
    pub fn shape(&self, head_gain: f64) -> Shape {
        match self {
            Self::Mlp {
                hidden_dims,
                activation,
                initializer,
            } => Shape::Mlp {
                hidden_dims: hidden_dims.clone(),
                activation: (*activation).into(),
                initializer: (*initializer).into(),
            },
            Self::Residual { width, blocks } => Shape::Residual {
                width: *width,
                blocks: *blocks,
                head_gain,
            },
            Self::BatchNorm { hidden_dims } => Shape::BatchNormMlp {
                hidden_dims: hidden_dims.clone(),
            },
        }
    }

    /// Distribution of the initial weights of parts that are plain layers, such as the time network.
    pub fn initializer(&self) -> Initializer {
        match self {
            Self::Mlp { initializer, .. } => (*initializer).into(),
            Self::Residual { .. } | Self::BatchNorm { .. } => Initializer::LecunNormal,
        }
    }

    /// Widths of the layers between input and output, for estimates.
    pub fn widths(&self) -> Vec<usize> {
        match self {
            Self::Mlp { hidden_dims, .. } | Self::BatchNorm { hidden_dims } => hidden_dims.clone(),
            Self::Residual { width, blocks } => {
                [vec![*width], [4 * width, *width].repeat(*blocks)].concat()
            }
        }
    }

    /// Multiplications of one row on its way from `input` to `output` numbers.
    pub fn multiplications(&self, input: usize, output: usize) -> f64 {
        let widths = [vec![input], self.widths(), vec![output]].concat();
        widths
            .windows(2)
            .map(|pair| (pair[0] * pair[1]) as f64)
            .sum()
    }

    /// Whether the fused kernels run it.
    pub const fn is_fused(&self) -> bool {
        matches!(
            self,
            Self::Mlp {
                activation: ActivationKind::Mish,
                ..
            }
        )
    }

    /// Whether rows of a batch are normalised together in training.
    pub const fn has_batch_statistics(&self) -> bool {
        matches!(self, Self::BatchNorm { .. })
    }

    /// Checks ranges.
    #[must_use]
    pub fn check(&self, check: RangeCheck) -> RangeCheck {
        let width = |check: RangeCheck, key, width: usize| {
            let valid = (1..=65_536).contains(&width);
            check.require(key, width, valid, "1 to 65536 wide")
        };
        match self {
            Self::Mlp { hidden_dims, .. } | Self::BatchNorm { hidden_dims } => {
                let count = hidden_dims.len();
                let found = format!("a list of {count}");
                let valid = (1..=64).contains(&count);
                let check = check.require("hidden_dims", found, valid, "a list of 1 to 64 widths");
                let widths = hidden_dims.iter();
                widths.fold(check, |check, of| width(check, "hidden_dims", *of))
            }
            Self::Residual { width: of, blocks } => {
                let valid = (1..=64).contains(blocks);
                width(check, "width", *of).require("blocks", blocks, valid, "in 1..=64")
            }
        }
    }

    /// [`NetworkSettings::check`] of a critic's network.
    #[must_use]
    pub fn check_critic(&self, check: RangeCheck) -> RangeCheck {
        let batch = check.pace().batch_size;
        let enough = batch > 1 || !self.has_batch_statistics();
        let expected = "another where training.batch_size is 1: a norm over a batch needs two rows";
        (self.check(check)).require("kind", "\"batch_norm\"", enough, expected)
    }

    /// [`NetworkSettings::check`] of a policy's network.
    #[must_use]
    pub fn check_policy(&self, check: RangeCheck) -> RangeCheck {
        let rows_alone = !self.has_batch_statistics();
        let expected = "\"mlp\" or \"residual\": a policy's action must not depend on other rows";
        self.check(check)
            .require("kind", "\"batch_norm\"", rows_alone, expected)
    }
}

/// Checks the ranges of an optimiser's settings.
pub fn check_adam(settings: &AdamSettings, check: RangeCheck) -> RangeCheck {
    let decay = |check: RangeCheck, key, beta: f64| {
        check.require(key, beta, (0.0..1.0).contains(&beta), "in [0, 1)")
    };
    let check = decay(check, "beta_1", settings.beta_1);
    decay(check, "beta_2", settings.beta_2)
        .positive("epsilon", settings.epsilon)
        .non_negative("weight_decay", settings.weight_decay)
        .non_negative("clip_norm", settings.clip_norm)
}
