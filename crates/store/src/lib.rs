//! The folder that a run leaves, on a disk that may fail: names of files, manifest, logs,
//! checkpoints, segments of the replay buffer, the lock.
//!
//! Arrays come and go by name ([`arrays::Arrays`]); what they mean is not known here, nor is any
//! tensor library or algorithm.
//!
//! ```
//! use rescore_store::log::{EvalLog, EvalRow, Evaluations};
//! use rescore_store::run_folder::{NewRun, RunFolder, Start};
//!
//! let folder = tempfile::tempdir()?;
//! let new = NewRun {
//!     name: "sac-Pendulum-v1-0".to_owned(),
//!     config: "algo = \"sac\"\n".to_owned(),
//!     start: Start::now("flex", "processor".to_owned(), 1),
//! };
//! let run = RunFolder::create(Some(folder.path()), &new)?; // locked until it is dropped
//! let mut log = EvalLog::open(&run.file("eval.csv"), 2, 0)?;
//! let returns = [-300.0, -100.0];
//! log.append(EvalRow { step: 1000, mean: -200.0, std: 100.0, returns: &returns })?;
//! assert_eq!(Evaluations::read(run.path())?.points[0].mean, -200.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
pub mod state;

pub use error::{StoreError, exit_code};
