//! `report`: tables, statistics and a page of runs.

use std::path::{Path, PathBuf};

use rescore_report::statistics::Bootstrap;
use rescore_report::{Archive, ReportError, ReportOptions, report};
use rescore_store::StoreError;

use super::{RUNS, print, runs_of};
use crate::Error;

#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// Run folders, or folders that hold some [default: those below runs/]
    #[arg(value_name = "RUN_DIR")]
    runs: Vec<PathBuf>,
    /// Folder of the report, new or that of an older one
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Published values, and returns of random actions, by which scores are normalised; may be given
    /// several times
    #[arg(long, value_name = "FILE.csv")]
    reference: Vec<PathBuf>,
    /// Also copy the runs into this folder, in a size that a repository can hold: settings, evaluations
    /// and of their logs what the page draws, in at most 50 lines each
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Seed of the bootstrap: the same runs and the same seed give the same bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl ReportArgs {
    /// Writes the report, says what is missing and prints the path of the page.
    pub(super) fn run(self) -> Result<(), Error> {
        let named = if self.runs.is_empty() {
            vec![PathBuf::from(RUNS)]
        } else {
            self.runs
        };
        let mut runs = Vec::new();
        for folder in &named {
            runs.extend(runs_of(folder)?);
        }
        let options = ReportOptions {
            references: self.reference,
            bootstrap: Bootstrap {
                seed: self.seed,
                ..Bootstrap::default()
            },
        };
        // Before anything is written.
        let archive = match &self.archive {
            Some(folder) => Some(archive_in(folder, &self.out, &runs)?),
            None => None,
        };
        for note in report(&runs, &self.out, &options)? {
            tracing::warn!("{note}");
        }
        if let Some(archive) = archive {
            archive.write()?;
        }
        Ok(print(&self.out.join("index.html").display().to_string())?)
    }
}

/// The copies of `runs` in `folder`, which is not in `out`, the folder of the report.
fn archive_in(folder: &Path, out: &Path, runs: &[PathBuf]) -> Result<Archive, Error> {
    let whole = |path: &Path| std::path::absolute(path).map_err(StoreError::io("find", path));
    if whole(folder)?.starts_with(whole(out)?) {
        return Err(ReportError::Unfit {
            message: format!("{} lies in the folder of the report", folder.display()),
            hint: "copies of runs go into a folder of their own: --archive DIR".to_owned(),
        }
        .into());
    }
    Ok(Archive::of(runs, folder)?)
}
