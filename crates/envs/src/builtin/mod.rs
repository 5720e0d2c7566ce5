//! Tasks that need no simulator.

pub mod multi_goal;
pub mod pendulum;
pub mod probe;

pub use multi_goal::MultiGoal;
pub use pendulum::Pendulum;
pub use probe::{Probe, ProbeKind};
