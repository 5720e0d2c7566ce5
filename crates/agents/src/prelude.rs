//! What an algorithm's file is written with.

pub use burn::tensor::{Int, Tensor};
pub use rescore_kernels::RescoreBackend;
pub use schemars::JsonSchema;
pub use serde::{Deserialize, Serialize};

pub use crate::{
    Acting, Agent, Batch, Draws, Metrics, Outline, PolicyKind, RangeCheck, Settings, Setup, Sizes,
    Streams,
    learners::{
        CriticLearner, DeterministicActor, DiffusionActor, Exploration, GaussianActor, OldPolicy,
        Temperature, ValueLearner, WeightTemperature,
    },
    parts,
    settings::{
        ActivationKind, ActorSettings, BaselineSettings, CriticSettings, DiffusionSettings,
        InitializerKind, MovingAverage, NetworkSettings, OldPolicySettings, RecipeSettings,
        RegressionSettings, SdeSettings, TargetSettings, TemperatureSettings, ValueSettings,
    },
};
