//! What the whole-program tests share.

#[cfg(feature = "mujoco")]
pub mod golden;
pub mod parity;
pub mod program;
pub mod runs;
pub mod sources;
