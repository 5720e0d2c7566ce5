//! Helpers of the whole-program tests.

#[cfg(feature = "mujoco")]
pub mod golden;
pub mod parity;
pub mod program;
