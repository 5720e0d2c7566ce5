//! What the whole-program tests share.

pub mod baselines;
pub mod fixtures;
#[cfg(feature = "mujoco")]
pub mod golden;
pub mod modern;
pub mod parity;
pub mod program;
pub mod python;
pub mod runs;
pub mod sources;
