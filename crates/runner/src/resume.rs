//! Going on with a run: which checkpoint, and everything back in its place.

use std::path::Path;

use rescore_agents::Agent;
use rescore_kernels::RescoreBackend;
use rescore_store::StoreError;
use rescore_store::checkpoint::{self, Checkpoints, Limits};
use rescore_store::names::{CRASH, REPLAY};
use rescore_store::run_folder::{RunFolder, Start};
use rescore_store::segments::{Layout, Segments};

use crate::RunError;
use crate::checkpoint::{describe, from_agent, from_environments, load_agent, to_environments};
use crate::config::{Change, Config};
use crate::environments::Environments;
use crate::replay::Replay;
use crate::run::{Moment, Run};

/// How a run goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Resumption {
    /// Whether a damaged checkpoint is an error even if an older one is whole.
    pub strict: bool,
    /// What is another in the configuration than when the run was last written.
    pub changed: Vec<Change>,
    /// What the manifest is to say of this process.
    pub start: Start,
}

/// The run in `folder` as it was at its last checkpoint that is whole, or before its first step if
/// it has never come to one. What was written after it is removed, so that nothing is doubled.
/// What has changed in `config` is recorded, and the start of this process; `config.toml` is
/// replaced once it is known that the run goes on.
///
/// # Errors
/// When no checkpoint is whole, or (if strict) the last is not, or was written with other
/// settings than those of `config`; and when the folder cannot be written.
pub fn resume<'a, B: RescoreBackend>(
    config: &'a Config,
    agent: Box<dyn Agent<B>>,
    envs: Environments,
    folder: &RunFolder,
    how: &Resumption,
    device: &'a B::Device,
) -> Result<Run<'a, B>, RunError> {
    let checkpoints = Checkpoints::of(folder.path());
    checkpoints.recover()?;
    let steps = checkpoints.steps()?;
    let run = if steps.is_empty() {
        tracing::info!("there is no checkpoint: the run starts again");
        Run::<B>::new(config, agent, envs, folder, device)?
    } else {
        let moment = last_whole::<B>(config, agent, envs, folder, how.strict, &steps)?;
        // From here on files are changed.
        for bad in steps.into_iter().filter(|step| *step > moment.step) {
            let aside = checkpoints.set_aside(bad)?;
            tracing::warn!("the checkpoint of step {bad} is now {}", aside.display());
        }
        if let Some(segments) = &moment.segments {
            segments.cut()?;
        }
        if let Some(best) = moment.progress.best {
            checkpoints.set_best(best)?;
        }
        // A process that died after its checkpoint may not have come to this.
        checkpoints.prune(moment.progress.best)?;
        let mut run = Run::at(moment, config, folder, device)?;
        run.keep_needed_segments()?;
        run
    };
    // The record first: a change that is not recorded would be worse than the reverse.
    let to_json = |change: &Change| serde_json::to_value(change).ok();
    let changes: Vec<_> = how.changed.iter().filter_map(to_json).collect();
    folder.note_resumption(&how.start, run.step, changes)?;
    if !how.changed.is_empty() {
        folder.write_config(&config.to_toml())?;
    }
    folder.forget(CRASH)?;
    folder.mark_not_done()?;
    tracing::info!(step = run.step, "resumed");
    Ok(run)
}

/// The moment of the last of `steps` (which are some) whose checkpoint is whole.
fn last_whole<B: RescoreBackend>(
    config: &Config,
    mut agent: Box<dyn Agent<B>>,
    mut envs: Environments,
    folder: &RunFolder,
    strict: bool,
    steps: &[u64],
) -> Result<Moment<B>, RunError> {
    let checkpoints = Checkpoints::of(folder.path());
    let dims = (envs.training.observation_dim(), envs.training.action_dim());
    let limits = Limits::new(
        &from_agent(agent.state()),
        &from_environments(envs.state()?),
    );
    let mut first_error = None;
    for step in steps.iter().rev() {
        let parts = Parts {
            config,
            dims,
            limits,
            agent: agent.as_mut(),
            envs: &mut envs,
        };
        match parts.read(&checkpoints.path(*step), folder, strict) {
            Ok(stored) => {
                return Ok(Moment {
                    step: *step,
                    agent,
                    envs,
                    replay: stored.replay,
                    segments: stored.segments,
                    lost: stored.lost,
                    progress: stored.progress,
                });
            }
            Err(error) if strict => return Err(error),
            Err(error) => {
                tracing::warn!("{error}; trying the checkpoint before it");
                first_error.get_or_insert(error);
            }
        }
    }
    // Nothing is started again where there was something: that would remove it.
    Err(first_error.unwrap_or_else(|| RunError::usage("there is no checkpoint", "start a new run")))
}

/// What a checkpoint is read into.
struct Parts<'a, B: RescoreBackend> {
    config: &'a Config,
    dims: (usize, usize),
    limits: Limits,
    agent: &'a mut dyn Agent<B>,
    envs: &'a mut Environments,
}

/// What a checkpoint holds beside agent and environments; see [`Moment`].
struct Stored {
    replay: Replay,
    segments: Option<Segments>,
    lost: u64,
    progress: checkpoint::Progress,
}

impl<B: RescoreBackend> Parts<'_, B> {
    fn read(self, path: &Path, folder: &RunFolder, strict: bool) -> Result<Stored, RunError> {
        let mismatch = |message: String| RunError::from(StoreError::mismatch(path, message));
        let run = describe(self.config, self.dims, 0, 0);
        let loaded = checkpoint::load(path, &run, self.limits, |arrays| {
            load_agent(self.agent, arrays)
        })?;
        let description = &loaded.file.checkpoint;
        if description.settings != run.settings {
            let message = "config.toml has been changed since it was written";
            if strict {
                return Err(mismatch(message.into()));
            }
            tracing::warn!(
                "{}: {message}; the run goes on with what it says now",
                path.display()
            );
        }
        if description.update != self.agent.updates() {
            return Err(mismatch(format!(
                "it is of update {}, but its agent has done {}",
                description.update,
                self.agent.updates()
            )));
        }
        let environments = to_environments(loaded.environments).map_err(mismatch)?;
        (self.envs.restore(&environments)).map_err(|error| mismatch(error.to_string()))?;
        let (observation_dim, action_dim) = self.dims;
        let capacity = self.config.replay.capacity as usize;
        let (reference, progress) = (loaded.file.replay, loaded.file.progress);
        let beginning_at =
            |first| Replay::beginning_at(first, capacity, observation_dim, action_dim);
        if !self.config.replay.store {
            return Ok(Stored {
                replay: beginning_at(reference.stored),
                segments: None,
                lost: reference.held,
                progress,
            });
        }
        let layout = Layout::new(capacity, observation_dim, action_dim);
        // That no more are held than were stored is seen before the first record.
        let mut replay = beginning_at(reference.stored.saturating_sub(reference.held));
        let push = |values: &[f32]| replay.push_record(values);
        let segments = Segments::load(&folder.file(REPLAY), layout, capacity, &reference, push)?;
        Ok(Stored {
            replay,
            segments: Some(segments),
            lost: 0,
            progress,
        })
    }
}
