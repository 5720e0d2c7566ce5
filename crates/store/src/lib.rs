//! The folder that a run leaves, on a disk that may fail: names of files, manifest, logs,
//! checkpoints, segments of the replay buffer, the lock.
//!
//! Arrays come and go by name ([`arrays::Arrays`]); what they mean is not known here, nor is any
//! tensor library or algorithm.

pub mod arrays;
pub mod checkpoint;
pub mod disk;
pub mod durable;
mod error;
pub mod fault;
mod lacking;
mod lock;
pub mod log;
pub mod machine;
pub mod names;
pub mod output;
pub mod prune;
pub mod run_folder;
pub mod segments;

pub use error::{StoreError, exit_code};
