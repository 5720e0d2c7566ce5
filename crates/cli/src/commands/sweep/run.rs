//! `sweep run`: one run of a sweep in this process, or all in children of it.

use std::collections::VecDeque;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rescore_runner::RunError;
use rescore_runner::interrupt::{Interrupt, KILLED_BY_SIGINT};
use rescore_runner::sweep::{Failure, Plan, PlannedRun, State};
use rescore_store::durable::create_folder;
use rescore_store::{StoreError, exit_code};

use crate::Error;
use crate::commands::train::TrainArgs;
use crate::commands::{again, print};

/// What schedulers call the number of an element of a job array, in the order in which they are asked.
const INDEX_VARIABLES: [&str; 2] = ["SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"];
/// By which the thread pool of a child learns its size.
const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";
/// Folder of what children say, in that of the sweep.
const LOGS: &str = "logs";
/// Between two looks at children, or at a run folder that is held.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Folder of the sweep
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Number of the run [default: `SLURM_ARRAY_TASK_ID`, else `JOB_COMPLETION_INDEX`]
    #[arg(long, value_name = "I", conflicts_with = "jobs")]
    index: Option<usize>,
    /// All runs, N at a time, each in a child process that writes to DIR/logs
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Seconds to wait for another process that holds a run folder, such as one that writes its last
    /// checkpoint
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
    /// Stop with a checkpoint when standard input ends, as it does with the process at its other end
    #[arg(long, hide = true, requires = "index")]
    supervised: bool,
}

impl RunArgs {
    /// Makes the run, or all; prints the folders of those that are done.
    pub(super) fn run(self) -> Result<(), Error> {
        // Before anything else: a job may be warned while it starts.
        let interrupt = Interrupt::install().map_err(StoreError::io(
            "handle signals in",
            Path::new("this process"),
        ))?;
        let plan = Plan::read(&self.folder)?;
        plan.require_version()?;
        if let Some(jobs) = self.jobs {
            return self.all(&plan, jobs.get(), &interrupt);
        }
        let run = plan.run(self.index()?)?;
        if self.supervised {
            stop_with_stdin(&interrupt);
        }
        self.one(&plan, run, &interrupt)
    }

    /// The number that is given, or that of the element of a job array that this process is.
    fn index(&self) -> Result<usize, RunError> {
        if let Some(index) = self.index {
            return Ok(index);
        }
        let set = |name: &&'static str| Some((*name, std::env::var(name).ok()?));
        let hint = "--index I makes one run, --jobs N all of them, N at a time";
        let Some((name, value)) = INDEX_VARIABLES.iter().find_map(set) else {
            let names = INDEX_VARIABLES.join(" nor ");
            return Err(RunError::usage(
                format!("there is neither --index nor --jobs, and neither {names} is set"),
                hint,
            ));
        };
        value.parse().map_err(|_| {
            let message = format!("{name} is `{value}`, which is not the number of a run");
            RunError::usage(message, hint)
        })
    }

    /// Makes `run` in this process, and keeps why it failed if it does.
    fn one(&self, plan: &Plan, run: &PlannedRun, interrupt: &Interrupt) -> Result<(), Error> {
        let result = self.attempt(plan, run, interrupt);
        let Err(error) = &result else {
            return result;
        };
        // A run that was stopped, or that another process is at, has not failed.
        if ![exit_code::HELD, exit_code::INTERRUPTED].contains(&error.exit_code()) {
            let failure = Failure {
                exit_code: error.exit_code(),
                error: error.to_string(),
            };
            if let Err(other) = plan.note_failure(run, &failure) {
                tracing::warn!("{other}");
            }
        }
        result
    }

    fn attempt(&self, plan: &Plan, run: &PlannedRun, interrupt: &Interrupt) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_secs(self.wait);
        let mut said = false;
        plan.config(run)?;
        plan.forget_failure(run)?;
        tracing::info!(
            "run {} of {}: {}",
            run.index,
            plan.runs.len(),
            run.describe()
        );
        loop {
            plan.require_own(run)?;
            let args = TrainArgs::of_sweep(plan.config_file(run), plan.path(run));
            let held = match args.train(interrupt) {
                Err(Error::Run(RunError::Store(error @ StoreError::FolderHeld { .. }))) => error,
                other => return other,
            };
            // Its holder may be about to end.
            if interrupt.requested() || Instant::now() >= deadline {
                return Err(held.into());
            }
            if !said {
                tracing::warn!("{held}; waiting up to {} s for its end", self.wait);
                said = true;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Makes all runs that are not done, `jobs` at a time.
    fn all(&self, plan: &Plan, jobs: usize, interrupt: &Interrupt) -> Result<(), Error> {
        let mut left = VecDeque::new();
        let mut outcome = Outcome::default();
        for run in &plan.runs {
            if plan.status(run)?.state == State::Done {
                outcome.is_done(plan, run)?;
            } else {
                left.push_back(run);
            }
        }
        let (all, done) = (plan.runs.len(), outcome.done);
        tracing::info!("{all} runs, {done} of them done");
        let threads = threads(jobs.min(left.len()));
        let mut children: Vec<(&PlannedRun, Child)> = Vec::new();
        loop {
            if interrupt.requested() {
                // Where the signal came to this process alone.
                for (_, child) in &mut children {
                    drop(child.stdin.take());
                }
            } else {
                while children.len() < jobs
                    && let Some(run) = left.pop_front()
                {
                    children.push((run, self.start(plan, run, threads)?));
                }
            }
            if children.is_empty() {
                break;
            }
            std::thread::sleep(LOOK);
            let mut still = Vec::new();
            for (run, mut child) in children {
                let ended = child.try_wait();
                match ended.map_err(StoreError::io("wait for", Path::new("a child process")))? {
                    Some(status) => outcome.add(plan, run, status)?,
                    None => still.push((run, child)),
                }
            }
            children = still;
        }
        outcome.stopped += left.len();
        outcome.end(plan, jobs)
    }

    /// A child that makes `run`. It belongs to the process group of this process, so that a signal to
    /// the group reaches it; and it stops when this process is gone.
    fn start(&self, plan: &Plan, run: &PlannedRun, threads: usize) -> Result<Child, StoreError> {
        let program =
            std::env::current_exe().map_err(StoreError::io("find", Path::new("rescore")))?;
        create_folder(&plan.folder().join(LOGS))?;
        let path = log(plan, run);
        let options = File::options().create(true).append(true).open(&path);
        let log = options.map_err(StoreError::io("write", &path))?;
        let mut command = Command::new(&program);
        command
            .args(["sweep", "run", "--supervised"])
            .args(["--index", &run.index.to_string()])
            .args(["--wait", &self.wait.to_string()])
            .arg("--")
            .arg(plan.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log);
        if std::env::var_os(THREADS_VARIABLE).is_none() {
            command.env(THREADS_VARIABLE, threads.to_string());
        }
        let child = command.spawn().map_err(StoreError::io("run", &program))?;
        tracing::info!("run {}: {}", run.index, run.describe());
        Ok(child)
    }
}

/// The threads of each of so many children. No bit of a result depends on it.
fn threads(children: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    (cores / children.max(1)).max(1)
}

/// The file of what the child that makes `run` says.
fn log(plan: &Plan, run: &PlannedRun) -> PathBuf {
    let name = format!("{:04}.log", run.index);
    plan.folder().join(LOGS).join(name)
}

/// Asks this process to stop when its standard input ends.
fn stop_with_stdin(interrupt: &Interrupt) {
    let interrupt = interrupt.clone();
    std::thread::spawn(move || {
        // Whatever is said, and however it ends: nobody is there any more.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        interrupt.request();
    });
}

/// What has become of the runs.
#[derive(Debug, Default)]
struct Outcome {
    done: usize,
    /// Asked to stop, or not begun because of that.
    stopped: usize,
    /// Number, exit code and reason.
    failed: Vec<(usize, u8, String)>,
}

impl Outcome {
    fn is_done(&mut self, plan: &Plan, run: &PlannedRun) -> Result<(), RunError> {
        self.done += 1;
        print(&plan.path(run).display().to_string())
    }

    /// Counts a run whose child ended with `status`.
    fn add(&mut self, plan: &Plan, run: &PlannedRun, status: ExitStatus) -> Result<(), RunError> {
        const AT_ONCE: i32 = KILLED_BY_SIGINT;
        const INTERRUPTED: i32 = exit_code::INTERRUPTED as i32;
        let index = run.index;
        match status.code() {
            Some(0) => {
                tracing::info!("run {index} is done");
                return self.is_done(plan, run);
            }
            Some(INTERRUPTED | AT_ONCE) => {
                tracing::info!("run {index} is stopped");
                self.stopped += 1;
                return Ok(());
            }
            _ => {}
        }
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        let reason = match (plan.failure(run), code) {
            (Some(failure), _) => failure.error,
            (None, Some(exit_code::HELD)) => "another process holds its folder".to_owned(),
            (None, Some(exit_code)) => {
                let error = format!("it ended with {status}");
                let failure = Failure {
                    exit_code,
                    error: error.clone(),
                };
                plan.note_failure(run, &failure)?;
                error
            }
            // Killed: it goes on from its last checkpoint.
            (None, None) => format!("it ended with {status}"),
        };
        tracing::warn!("run {index} failed: {reason}; {}", log(plan, run).display());
        let code = code.unwrap_or(exit_code::OTHER);
        self.failed.push((index, code, reason));
        Ok(())
    }

    /// How the program ends.
    fn end(mut self, plan: &Plan, jobs: usize) -> Result<(), Error> {
        let all = plan.runs.len();
        let (done, failed) = (self.done, self.failed.len());
        if self.stopped > 0 {
            let failed = match failed {
                0 => String::new(),
                failed => format!(", {failed} failed"),
            };
            return Err(Error::SweepStopped {
                message: format!("the sweep was stopped: {done} of {all} runs are done{failed}"),
                command: again::sweep(plan.folder(), jobs),
            });
        }
        self.failed.sort_unstable();
        let Some(&(_, exit_code, _)) = self.failed.first() else {
            return Ok(());
        };
        let reasons = self.failed.iter();
        let reasons = reasons.map(|(index, _, reason)| format!("\n  run {index}: {reason}"));
        Err(Error::SweepFailed {
            message: format!(
                "{failed} of {all} runs failed, {done} are done:{}",
                reasons.collect::<String>()
            ),
            logs: plan.folder().join(LOGS),
            exit_code,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_share_the_processor() {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        assert_eq!((threads(0), threads(1)), (cores, cores));
        assert_eq!(threads(cores), 1);
        assert_eq!(threads(2 * cores), 1);
    }
}
