//! One run that is watched: its files, each read as far as it has grown.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rescore_runner::sweep::{Plan, PlannedRun};
use rescore_store::StoreError;
use rescore_store::checkpoint::Checkpoints;
use rescore_store::durable::read_text;
use rescore_store::log::FollowEvaluations;
use rescore_store::names::CONFIG;
use rescore_store::run_folder::CONFIG_LIMIT;
use rescore_store::state::{State, state_of};

use super::row::Row;
use super::training::Training;

/// A run and what is known of it.
#[derive(Debug)]
pub(super) struct Watched {
    row: Row,
    config: Option<(Version, Identity)>,
    evaluations: FollowEvaluations,
    training: Training,
}

/// Length and time of the last change of a file: another configuration has others.
type Version = (u64, Option<SystemTime>);

/// What `config.toml` says that a run is.
#[derive(Debug, Clone)]
struct Identity {
    algorithm: String,
    task: String,
    seed: i64,
    steps: u64,
}

impl Watched {
    /// The run in the folder `path`, of which nothing is read yet.
    pub(super) fn of(path: PathBuf) -> Self {
        Self {
            config: None,
            evaluations: FollowEvaluations::of(&path),
            training: Training::of(&path),
            row: Row::of(path),
        }
    }

    /// The run folder.
    pub(super) fn path(&self) -> &Path {
        &self.row.path
    }

    /// What was known when its files were read last.
    pub(super) fn row(&self) -> &Row {
        &self.row
    }

    /// Mean returns of evaluations, and of training episodes, by step.
    pub(super) fn curves(&self) -> [Vec<(f64, f64)>; 2] {
        let points = self.evaluations.points().iter();
        let evaluations = points.map(|point| (point.step, point.mean)).collect();
        [evaluations, self.training.returns().to_vec()]
    }

    /// Reads what its files say by now. `planned` is its place in a sweep, if it has one. What is
    /// damaged is said in the row.
    pub(super) fn refresh(&mut self, planned: Option<(&Plan, &PlannedRun)>) {
        let mut row = Row::of(std::mem::take(&mut self.row.path));
        let damage = match self.read(&mut row, planned) {
            Ok(()) => self
                .training
                .damage()
                .or(self.evaluations.damage())
                .map(str::to_owned),
            Err(error) => Some(error),
        };
        if damage.is_some() {
            // A log does not decide about a run: a resumption cuts it. A run of which nothing can be
            // told does not go on.
            if row.algorithm.is_none() && row.state != State::Running {
                row.state = State::Failed;
            }
            row.detail = damage;
        }
        self.row = row;
    }

    /// The error is a sentence for the row: what could be read is in there.
    fn read(&mut self, row: &mut Row, planned: Option<(&Plan, &PlannedRun)>) -> Result<(), String> {
        let words = |error: StoreError| error.to_string();
        if let Some((plan, run)) = planned {
            row.algorithm = Some(run.algorithm.clone());
            row.task = Some(run.task.clone());
            row.seed = Some(run.seed as i64);
            row.steps = Some(run.steps);
            let settings = run.settings.iter();
            row.settings = settings
                .map(|(key, value)| (key.clone(), value.to_string()))
                .collect();
            let status = plan.status(run).map_err(|error| error.to_string())?;
            (row.state, row.detail) = (status.state, status.detail);
            if !status.is_own {
                return Ok(());
            }
        } else {
            (row.state, row.detail) = state_of(&row.path, || None).map_err(words)?;
        }
        let identity = self.identity(&row.path);
        // The logs of a run whose configuration is damaged say something, too.
        self.evaluations.read().map_err(words)?;
        self.training.read().map_err(words)?;
        let points = self.evaluations.points();
        row.last_return = points.last().map(|point| point.mean);
        row.best_return = points.iter().map(|point| point.mean).reduce(f64::max);
        row.episode_return = self.training.last_return();
        row.env_steps_per_s = self.training.rate();
        let evaluated = points.last().map(|point| point.step);
        let logged = self.training.step().into_iter().chain(evaluated);
        row.step = logged.reduce(f64::max).map(|step| step as u64);
        if matches!(row.state, State::Stopped | State::Failed) {
            let saved = Checkpoints::of(&row.path)
                .steps()
                .map_err(words)?
                .last()
                .copied();
            row.step = row.step.max(saved);
            if row.state == State::Stopped {
                row.detail = Some(match saved {
                    Some(step) => format!("goes on from the checkpoint of step {step}"),
                    None => "no checkpoint: begins again".to_owned(),
                });
            }
        }
        let identity = identity.map_err(words)?;
        if row.state == State::Done {
            row.step = row.step.max(Some(identity.steps));
        }
        if row.state == State::Running {
            let left = identity.steps.saturating_sub(row.step.unwrap_or(0)) as f64;
            let rate = row.env_steps_per_s.filter(|rate| *rate > 0.0);
            row.seconds_left = rate.map(|rate| left / rate);
        }
        row.algorithm = Some(identity.algorithm);
        row.task = Some(identity.task);
        row.seed = Some(identity.seed);
        row.steps = Some(identity.steps);
        Ok(())
    }

    /// What the configuration says, which is read again where it was replaced.
    fn identity(&mut self, run: &Path) -> Result<Identity, StoreError> {
        let path = run.join(CONFIG);
        let metadata = fs::symlink_metadata(&path).map_err(StoreError::io("read", &path))?;
        let version = (metadata.len(), metadata.modified().ok());
        if let Some((known, identity)) = &self.config
            && *known == version
        {
            return Ok(identity.clone());
        }
        let identity = Identity::read(&path)?;
        self.config = Some((version, identity.clone()));
        Ok(identity)
    }
}

impl Identity {
    fn read(path: &Path) -> Result<Self, StoreError> {
        let text = read_text(path, CONFIG_LIMIT)?;
        let corrupt = |message: String| StoreError::corrupt(path, message);
        let table: toml::Table = text.parse().map_err(|e| corrupt(format!("{e}")))?;
        let word = |key: &str| {
            let found = table.get(key).and_then(toml::Value::as_str);
            found
                .map(str::to_owned)
                .ok_or_else(|| corrupt(format!("it has no text `{key}`")))
        };
        let number = |key: &str| {
            let found = table.get(key).and_then(toml::Value::as_integer);
            found.ok_or_else(|| corrupt(format!("it has no whole number `{key}`")))
        };
        let steps = number("steps")?;
        Ok(Self {
            algorithm: word("algo")?,
            task: word("env")?,
            seed: number("seed")?,
            steps: u64::try_from(steps)
                .map_err(|_| corrupt(format!("`steps` is {steps}, less than nothing")))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use rescore_store::names::{DONE, EVALUATIONS, METRICS};

    use super::*;

    const TEXT: &str = "algo = \"sac\"\nenv = \"Pendulum-v1\"\nseed = 3\nsteps = 400\n";

    #[test]
    fn a_row_follows_the_files_of_its_run() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).expect("writable");
        };
        let mut run = Watched::of(folder.path().to_owned());
        let mut row = || {
            run.refresh(None);
            run.row().clone()
        };
        assert_eq!(row().state, State::Failed, "there is no such run");
        write(CONFIG, TEXT);
        let begun = row();
        assert_eq!((begun.state, begun.seed), (State::Stopped, Some(3)));
        assert_eq!((begun.step, begun.steps), (None, Some(400)));

        let line =
            "{\"step\":100,\"wall_time_s\":1,\"env_steps_per_s\":50,\"episode_return\":-9}\n";
        write(METRICS, line);
        let rows = "step,episodes,mean_return,std_return,return_0\n100,1,5,0,5\n200,1,4,0,4\n";
        write(EVALUATIONS, rows);
        let read = row();
        assert_eq!((read.last_return, read.best_return), (Some(4.0), Some(5.0)));
        assert_eq!((read.step, read.episode_return), (Some(200), Some(-9.0)));
        assert_eq!(read.seconds_left, None, "nobody is at it");
        fs::create_dir_all(folder.path().join("checkpoints/300")).expect("writable");
        let stopped = row();
        assert_eq!(stopped.step, Some(300));
        assert!(
            stopped
                .detail
                .is_some_and(|detail| detail.contains("step 300"))
        );

        write(METRICS, &format!("{line}{{\"st\n"));
        let damaged = row();
        // A resumption cuts it off.
        assert_eq!((damaged.state, damaged.step), (State::Stopped, Some(300)));
        assert!(
            damaged
                .detail
                .is_some_and(|detail| detail.contains("line 2"))
        );
        write(METRICS, line);
        write(DONE, "{}");
        let done = row();
        assert_eq!((done.state, done.step), (State::Done, Some(400)));
        // Made longer, and then damaged.
        write(CONFIG, &TEXT.replace("400", "5000"));
        assert_eq!(row().steps, Some(5000));
        for text in ["algo = = 5\n", "seed = 3\n", &TEXT.replace("400", "-1")] {
            write(CONFIG, text);
            let damaged = row();
            assert_eq!(
                (damaged.state, damaged.last_return),
                (State::Failed, Some(4.0))
            );
            let detail = damaged.detail.unwrap_or_default();
            assert!(detail.contains("config.toml is damaged"), "{detail}");
        }
    }
}
