//! The MuJoCo tasks (cargo feature `mujoco`), step for step those of Gymnasium.
//!
//! [`make`](crate::make) builds them as environments. [`MujocoTask`] is the core for those who
//! want to set and read the simulator's state or step on past termination.
//!
//! Making the first task sends MuJoCo's warnings to `tracing` (target `mujoco`), a global setting
//! of the library. A program that also uses MuJoCo by itself should make one task before it runs
//! simulations of its own in other threads.

mod families;
mod fit;
mod library;
mod models;
mod pinned;
#[cfg(feature = "render")]
mod render;
mod task;

pub use library::{check_version, library_version, required_version};
pub use models::model_xml;
pub use pinned::{PinnedModel, model_bytes, pin_model};
#[cfg(feature = "render")]
pub use render::Renderer;
pub use task::{ModelFacts, MujocoTask};
