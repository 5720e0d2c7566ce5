//! Sweeps: many runs that are planned together.
//!
//! A [`SweepFile`] names algorithms, tasks, seeds and values of settings; every combination is a run.
//! [`plan()`] resolves all of them as `train` would, and [`Plan::write`] keeps the numbered list, which
//! does not change any more. Each run has an ordinary run folder beside it, and its [`State`] follows
//! from that folder alone, so that whoever runs a sweep again finds what is done.
//!
//! ```text
//! plan/plan.json           the numbered list, with the hash of every configuration
//! plan/0000.toml           the resolved configuration of run 0
//! plan/sweep.toml          the file of the sweep
//! 0000-<algo>-<env>-s0/    the run folder of run 0
//! failures/0000.json       why run 0 ended, where it failed
//! logs/0000.log            what run 0 said, where it was one of several at a time
//! ```

mod file;
mod plan;
mod state;

pub use file::SweepFile;
pub use plan::{Plan, PlannedRun, plan};
pub use rescore_store::state::State;
pub use state::{Failure, Status};
