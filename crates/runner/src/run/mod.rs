//! What the training loop does, piece by piece: [`train`](crate::train::train) is the loop, and
//! measurements call the pieces one by one.

mod crash;
mod interact;
mod learn;
mod refill;
mod report;

use std::time::Instant;

use rescore_agents::{Agent, Batch, Metrics};
use rescore_kernels::RescoreBackend;
use rescore_store::checkpoint::{
    self, Best, Checkpoints, Due, EndedEpisodes, InfoMeans, SimulatorWarnings,
};
use rescore_store::log::{EvalLog, EventLog, MetricsLog};
use rescore_store::names::{EVALUATIONS, METRICS, REPLAY};
use rescore_store::run_folder::RunFolder;
use rescore_store::segments::{Layout, Segments};

use crate::RunError;
use crate::config::Config;
use crate::environments::Environments;
use crate::guard::NotFinite;
use crate::replay::{Replay, Sampler};

/// Everything that a run holds while it trains.
pub struct Run<'a, B: RescoreBackend> {
    /// What is to be done.
    pub config: &'a Config,
    device: &'a B::Device,
    /// What learns.
    pub agent: Box<dyn Agent<B>>,
    envs: Environments,
    replay: Replay,
    /// The buffer's files, if it is stored.
    segments: Option<Segments>,
    /// Transitions that the buffer held at the checkpoint from which the run goes on without them.
    lost: u64,
    sampler: Sampler,
    /// The batch of the next update, where it was drawn already.
    ahead: Option<Batch<B>>,
    /// Environment steps; 0 until warm-up has ended, of which they count the steps where
    /// `training.count_warmup` says so.
    pub step: u64,
    /// What the iteration at hand still has to do.
    due: Due,
    /// Metrics since they were last read.
    metrics: Metrics<B>,
    /// The latest value of each metric that was read.
    latest: Vec<(String, f32)>,
    eval_log: EvalLog,
    metrics_log: MetricsLog,
    /// The same for TensorBoard, if that is asked for.
    event_log: Option<EventLog>,
    checkpoints: Checkpoints,
    best: Option<Best>,
    episodes: EndedEpisodes,
    info: InfoMeans,
    warnings: SimulatorWarnings,
    /// Whether it was said that returns leave the support of the critics.
    support_warned: bool,
    /// Step, update and what was due when the last checkpoint was written.
    saved: Option<(u64, u64, Due)>,
    started: Instant,
    /// When the log was last written, and at which step.
    logged: (Instant, u64),
    status: Status,
}

/// A moment of a run: what its future depends on.
pub struct Moment<B: RescoreBackend> {
    /// Environment steps, as of [`Run`].
    pub step: u64,
    /// The agent.
    pub agent: Box<dyn Agent<B>>,
    /// The environments.
    pub envs: Environments,
    /// The replay buffer.
    pub replay: Replay,
    /// Its files, if it is stored.
    pub segments: Option<Segments>,
    /// Transitions that it held at the checkpoint, if it is not.
    pub lost: u64,
    /// Loop and logs.
    pub progress: checkpoint::Progress,
}

/// The latest results, for the progress bar.
#[derive(Default)]
struct Status {
    episode_return: Option<f64>,
    evaluation: Option<f64>,
}

impl<'a, B: RescoreBackend> Run<'a, B> {
    /// A run before its first step. What an earlier attempt has left in `folder` that never came
    /// to a checkpoint is removed.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(
        config: &'a Config,
        agent: Box<dyn Agent<B>>,
        envs: Environments,
        folder: &RunFolder,
        device: &'a B::Device,
    ) -> Result<Self, RunError> {
        let (observation_dim, action_dim) =
            (envs.training.observation_dim(), envs.training.action_dim());
        let capacity = config.replay.capacity as usize;
        let layout = Layout::new(capacity, observation_dim, action_dim);
        let stored = config.replay.store;
        let segments = stored.then(|| Segments::create(folder.file(REPLAY), layout));
        let moment = Moment {
            step: 0,
            agent,
            envs,
            replay: Replay::new(capacity, observation_dim, action_dim),
            segments: segments.transpose()?,
            lost: 0,
            progress: checkpoint::Progress::default(),
        };
        Self::at(moment, config, folder, device)
    }

    /// A run that goes on from a moment. What the logs hold beyond it is cut off.
    ///
    /// # Errors
    /// When the logs cannot be written.
    pub fn at(
        moment: Moment<B>,
        config: &'a Config,
        folder: &RunFolder,
        device: &'a B::Device,
    ) -> Result<Self, RunError> {
        let progress = moment.progress;
        let episodes = config.evaluation.episodes;
        let eval_log = EvalLog::open(&folder.file(EVALUATIONS), episodes, progress.eval_rows)?;
        let metrics_log = MetricsLog::open(&folder.file(METRICS), progress.metrics_lines)?;
        let event_log = (config.training.tensorboard)
            .then(|| EventLog::open(folder.path(), moment.step))
            .transpose()?;
        let latest = progress.metrics.into_iter();
        Ok(Self {
            config,
            device,
            saved: Some((moment.step, moment.agent.updates(), progress.due)),
            agent: moment.agent,
            envs: moment.envs,
            replay: moment.replay,
            segments: moment.segments,
            lost: moment.lost,
            sampler: Sampler::new(config.seed),
            ahead: None,
            step: moment.step,
            due: progress.due,
            metrics: Metrics::default(),
            latest: latest.map(|m| (m.name, m.value as f32)).collect(),
            eval_log,
            metrics_log,
            event_log,
            checkpoints: Checkpoints::of(folder.path()),
            best: progress.best,
            episodes: progress.episodes,
            info: progress.info,
            warnings: progress.warnings,
            support_warned: false,
            started: Instant::now(),
            logged: (Instant::now(), moment.step),
            status: Status::default(),
        })
    }

    /// Turns a number that is not finite into an error that says when.
    fn require(&self, result: Result<(), NotFinite>) -> Result<(), RunError> {
        result.map_err(|number| RunError::NotFinite {
            number: Box::new(number),
            step: self.step,
            update: self.agent.updates(),
        })
    }
}
