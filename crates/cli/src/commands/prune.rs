//! `prune`: less disk for finished runs.

use std::path::PathBuf;

use rescore_store::disk::size;
use rescore_store::prune::Prunable;

use super::{print, runs_of};
use crate::Error;

#[derive(Debug, clap::Args)]
pub(super) struct PruneArgs {
    /// Folders of finished runs, or folders that hold some, as of a sweep
    #[arg(required = true, value_name = "RUN_DIR")]
    runs: Vec<PathBuf>,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

impl PruneArgs {
    /// Removes nothing unless all of the runs can be pruned.
    pub(super) fn run(&self) -> Result<(), Error> {
        let mut runs = Vec::new();
        for folder in &self.runs {
            runs.extend(runs_of(folder)?);
        }
        // The lock of a run that is named twice would be held by this very process.
        runs.sort_unstable_by_key(|run| run.canonicalize().unwrap_or_else(|_| run.clone()));
        runs.dedup_by_key(|run| run.canonicalize().unwrap_or_else(|_| run.clone()));
        let prunable: Result<Vec<_>, _> = runs.iter().map(|run| Prunable::new(run)).collect();
        let prunable = prunable?;
        let mut total = 0_u64;
        for run in &prunable {
            if !self.dry_run {
                run.prune()?;
            }
            total += run.bytes();
            print(&run.describe())?;
        }
        let verb = if self.dry_run {
            "would be freed"
        } else {
            "freed"
        };
        Ok(print(&format!("{total} bytes ({}) {verb}", size(total)))?)
    }
}
