//! All runs that are watched.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rescore_runner::RunError;
use rescore_runner::sweep::{Plan, PlannedRun};
use rescore_store::names::CONFIG;
use rescore_store::state::runs_in;

use super::row::Row;
use super::run::Watched;
use crate::Error;
use crate::commands::no_run;

/// The runs of some folders.
#[derive(Debug)]
pub(super) struct Runs {
    /// What the user named.
    named: Vec<PathBuf>,
    /// These, and what in them holds runs of its own: sweeps, seeds of one command.
    sources: Vec<Source>,
    /// In the order of the folders, and in those by number or by name.
    watched: Vec<Watched>,
}

/// A folder with runs.
#[derive(Debug)]
struct Source {
    folder: PathBuf,
    /// Of a sweep. It does not change once it is there.
    plan: Option<Plan>,
    /// The runs in it, with the places of those that are planned in the plan. Those that are not there
    /// yet are among them.
    found: Vec<(PathBuf, Option<usize>)>,
}

impl Source {
    fn of(folder: PathBuf) -> Self {
        Self {
            folder,
            plan: None,
            found: Vec::new(),
        }
    }

    /// The folders in it that are no runs.
    fn inner(&self) -> Vec<PathBuf> {
        if self.plan.is_some() || self.folder.join(CONFIG).exists() {
            return Vec::new();
        }
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten();
        let mut folders: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_dir() && !path.join(CONFIG).exists())
            .collect();
        folders.sort();
        folders
    }

    /// Looks for runs.
    fn find(&mut self) -> Result<(), RunError> {
        if self.plan.is_none() {
            self.plan = Plan::find(&self.folder)?;
        }
        let planned = self.plan.iter().flat_map(|plan| {
            let place = |run: &PlannedRun| (plan.path(run), Some(run.index));
            plan.runs.iter().map(place)
        });
        let mut runs: Vec<_> = planned.collect();
        let there = runs_in(&self.folder)?.into_iter().map(|path| (path, None));
        runs.extend(there);
        self.found = runs;
        Ok(())
    }
}

impl Runs {
    /// The runs of these folders, of which none is read yet.
    ///
    /// # Errors
    /// When one of them is not there or cannot be read.
    pub(super) fn of(folders: &[PathBuf]) -> Result<Self, Error> {
        let mut sources = Vec::new();
        for folder in folders {
            if !folder.is_dir() {
                let what = if folder.exists() {
                    "is no folder"
                } else {
                    "does not exist"
                };
                return Err(RunError::usage(
                    format!("{} {what}", folder.display()),
                    "name a run folder, a folder that holds some, or the folder of a sweep; \
                     `train` prints where its run is",
                )
                .into());
            }
            let mut source = Source::of(folder.clone());
            source.find()?;
            sources.push(source);
        }
        Ok(Self {
            named: folders.to_owned(),
            sources,
            watched: Vec::new(),
        })
    }

    /// Looks for runs in the folders that were named, and in the folders in these.
    ///
    /// # Errors
    /// When a folder cannot be read, or a plan is damaged; the others were looked into.
    fn find_all(&mut self) -> Result<(), RunError> {
        let mut result = Ok(());
        let mut known: HashMap<PathBuf, Source> = self
            .sources
            .drain(..)
            .map(|source| (source.folder.clone(), source))
            .collect();
        for folder in &self.named {
            let mut look = |folder: &Path| {
                let source = known.remove(folder);
                let mut source = source.unwrap_or_else(|| Source::of(folder.to_owned()));
                if let Err(error) = source.find() {
                    result = Err(error);
                }
                source
            };
            let source = look(folder);
            let inner: Vec<_> = source.inner().iter().map(|folder| look(folder)).collect();
            self.sources.push(source);
            self.sources.extend(inner);
        }
        result
    }

    /// Requires that each of the folders holds a run.
    ///
    /// # Errors
    /// Names the one that does not.
    pub(super) fn require_some(&mut self) -> Result<(), Error> {
        self.find_all()?;
        let has_run = |folder: &&PathBuf| {
            let mut below = self.sources.iter();
            below.any(|source| source.folder.starts_with(folder) && !source.found.is_empty())
        };
        let empty = self.named.iter().find(|folder| !has_run(folder));
        empty.map_or(Ok(()), |folder| Err(no_run(folder).into()))
    }

    /// Looks for runs and reads what their files say by now. Runs that are gone are forgotten.
    ///
    /// # Errors
    /// When a folder cannot be read any more; runs that were found in it before are read all the same.
    pub(super) fn refresh(&mut self) -> Result<(), RunError> {
        let mut known: HashMap<PathBuf, Watched> = self
            .watched
            .drain(..)
            .map(|run| (run.path().to_owned(), run))
            .collect();
        let result = self.find_all();
        // A run that was named twice, or is planned, is shown once.
        let mut shown = HashSet::new();
        for source in &self.sources {
            for (path, place) in &source.found {
                if !shown.insert(path.clone()) {
                    continue;
                }
                let plan = source.plan.as_ref();
                let planned = plan.and_then(|plan| Some((plan, plan.runs.get((*place)?)?)));
                let run = known.remove(path);
                let mut run = run.unwrap_or_else(|| Watched::of(path.clone()));
                run.refresh(planned);
                self.watched.push(run);
            }
        }
        result
    }

    /// What is known of each.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.watched.iter().map(Watched::row)
    }

    /// The run in the folder `path`.
    pub(super) fn find(&self, path: &Path) -> Option<&Watched> {
        self.watched.iter().find(|run| run.path() == path)
    }

    /// The folders, in words.
    pub(super) fn folders(&self) -> String {
        let folders = self.named.iter();
        let folders = folders.map(|folder| folder.display().to_string());
        folders.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use rescore_runner::config::Request;
    use rescore_runner::sweep::plan;
    use rescore_store::state::State;

    use super::*;

    fn states(runs: &mut Runs) -> Vec<State> {
        runs.refresh().expect("readable");
        runs.rows().map(|row| row.state).collect()
    }

    #[test]
    fn new_runs_are_found_and_runs_that_are_gone_are_forgotten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().to_owned();
        let begin = |name: &str| {
            let run = root.join(name);
            std::fs::create_dir(&run).expect("writable");
            std::fs::write(run.join(CONFIG), "no configuration").expect("writable");
            run
        };
        let mut runs = Runs::of(slice::from_ref(&root)).expect("a folder");
        assert_eq!(states(&mut runs), []);
        let error = runs.require_some().expect_err("none").to_string();
        assert!(error.contains("holds no run"), "{error}");
        begin("b");
        let a = begin("a");
        runs.require_some().expect("two");
        assert_eq!(states(&mut runs), [State::Failed; 2]);
        assert_eq!(runs.rows().next().map(|row| &row.path), Some(&a));
        std::fs::remove_dir_all(&a).expect("there");
        assert_eq!(states(&mut runs), [State::Failed]);
        // Named twice.
        let mut twice = Runs::of(&[root.join("b"), root.clone()]).expect("folders");
        assert_eq!(states(&mut twice).len(), 1);
        std::fs::remove_dir_all(&root).expect("there");
        assert!(runs.refresh().is_err());
        assert!(Runs::of(&[root]).is_err());
    }

    #[test]
    fn sweeps_and_seeds_below_a_folder_are_found() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().to_owned();
        let mut runs = Runs::of(slice::from_ref(&root)).expect("a folder");
        assert_eq!(states(&mut runs), []);
        let seed = root.join("seeds/s0");
        std::fs::create_dir_all(&seed).expect("writable");
        std::fs::write(seed.join(CONFIG), "no configuration").expect("writable");
        let text = "algorithms = [\"sac\"]\ntasks = [\"Pendulum-v1\"]\nseeds = [4, 5]\n\
                    steps = 20_000\n[set]\nlr = [0.1, 0.2]\n";
        let planned = plan("sweep.toml", text, &Request::default()).expect("valid");
        Plan::write(&root.join("sweep"), text, planned).expect("writable");
        runs.require_some().expect("two folders hold runs");
        let failed = State::Failed;
        let [n] = [State::NotStarted];
        assert_eq!(states(&mut runs), [failed, n, n, n, n]);
        let last = runs.rows().last().expect("five");
        assert!(
            last.name().starts_with("lr=0.2 0003-sac"),
            "{}",
            last.name()
        );
        assert_eq!(runs.folders(), root.display().to_string());
    }

    #[test]
    fn planned_runs_are_there_before_they_begin() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text =
            "algorithms = [\"sac\"]\ntasks = [\"Pendulum-v1\"]\nseeds = [4, 5]\nsteps = 20_000\n";
        let planned = plan("sweep.toml", text, &Request::default()).expect("valid");
        let plan = Plan::write(folder.path(), text, planned).expect("writable");
        let mut runs = Runs::of(&[folder.path().to_owned()]).expect("a folder");
        assert_eq!(states(&mut runs), [State::NotStarted; 2]);
        let row = runs.rows().nth(1).expect("two");
        assert_eq!((row.seed, row.steps), (Some(5), Some(20_000)));
        // One begins, and one has another run in its place.
        let config = plan.config(&plan.runs[1]).expect("planned").to_toml();
        for run in &plan.runs {
            std::fs::create_dir(plan.path(run)).expect("writable");
            std::fs::write(plan.path(run).join(CONFIG), &config).expect("writable");
        }
        assert_eq!(states(&mut runs), [State::Failed, State::Stopped]);
    }
}
