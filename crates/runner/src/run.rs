//! What the training loop does, piece by piece.

use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::{ElementConversion as _, Tensor, TensorData};
use rescore_agents::{Agent, Batch, Metrics};
use rescore_envs::VecStep;
use rescore_kernels::{NoiseKey, RescoreBackend};

use crate::checkpoint::{
    Best, Checkpoints, Contents, Description, Due, EndedEpisodes, MetricValue, SimulatorWarnings,
};
use crate::config::Config;
use crate::evaluate::to_vec;
use crate::guard::{self, NotFinite};
use crate::interrupt::Interrupt;
use crate::log::{EvalLog, MetricsLine, MetricsLog};
use crate::progress::Progress;
use crate::replay::{Layout, Replay, Sampler, Segments, Transition};
use crate::run_folder::RunFolder;
use crate::schedule::crosses;
use crate::train::Environments;
use crate::{RunError, backend, checkpoint, fault};

/// Everything that a run holds while it trains.
pub struct Run<'a, B: RescoreBackend> {
    pub(crate) config: &'a Config,
    device: &'a B::Device,
    pub(crate) agent: Box<dyn Agent<B>>,
    envs: Environments,
    replay: Replay,
    segments: Segments,
    sampler: Sampler,
    /// Environment steps since the end of warm-up.
    pub(crate) step: u64,
    /// What the iteration at hand still has to do.
    due: Due,
    /// Metrics since they were last read.
    metrics: Metrics<B>,
    /// The latest value of each metric that was read.
    latest: Vec<(String, f32)>,
    eval_log: EvalLog,
    metrics_log: MetricsLog,
    checkpoints: Checkpoints,
    best: Option<Best>,
    episodes: EndedEpisodes,
    warnings: SimulatorWarnings,
    /// Step, update and what was due when the last checkpoint was written.
    saved: Option<(u64, u64, Due)>,
    started: Instant,
    /// When the log was last written, and at which step.
    logged: (Instant, u64),
    status: Status,
}

/// A moment of a run: what its future depends on.
pub struct Moment<B: RescoreBackend> {
    /// Environment steps since the end of warm-up.
    pub step: u64,
    /// The agent.
    pub agent: Box<dyn Agent<B>>,
    /// The environments.
    pub envs: Environments,
    /// The replay buffer.
    pub replay: Replay,
    /// Its files.
    pub segments: Segments,
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
        envs: Environments,
        folder: &RunFolder,
        device: &'a B::Device,
    ) -> Result<Self, RunError> {
        let (observation_dim, action_dim) =
            (envs.training.observation_dim(), envs.training.action_dim());
        let capacity = config.training.replay_capacity as usize;
        let layout = Layout::new(capacity, observation_dim, action_dim);
        let agent = (config.agent).build::<B>(observation_dim, action_dim, config.seed, device);
        let moment = Moment {
            step: 0,
            agent,
            envs,
            replay: Replay::new(capacity, observation_dim, action_dim),
            segments: Segments::create(folder.file("replay"), layout)?,
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
        let episodes = config.training.eval_episodes;
        let eval_log = EvalLog::open(&folder.file("eval.csv"), episodes, progress.eval_rows)?;
        let metrics_log = MetricsLog::open(&folder.file("metrics.jsonl"), progress.metrics_lines)?;
        let latest = progress.metrics.into_iter();
        Ok(Self {
            config,
            device,
            saved: Some((moment.step, moment.agent.updates(), progress.due)),
            agent: moment.agent,
            envs: moment.envs,
            replay: moment.replay,
            segments: moment.segments,
            sampler: Sampler::new(config.seed),
            step: moment.step,
            due: progress.due,
            metrics: Metrics::default(),
            latest: latest.map(|m| (m.name, m.value as f32)).collect(),
            eval_log,
            metrics_log,
            checkpoints: Checkpoints::of(folder.path()),
            best: progress.best,
            episodes: progress.episodes,
            warnings: progress.warnings,
            started: Instant::now(),
            logged: (Instant::now(), moment.step),
            status: Status::default(),
        })
    }

    /// Fills the replay buffer with transitions of uniformly random actions in [-1, 1]. The
    /// episodes go on when training begins.
    ///
    /// # Errors
    /// As [`Run::interact`].
    pub fn warm_up(&mut self, interrupt: &Interrupt) -> Result<(), RunError> {
        let key = NoiseKey::new(self.config.seed, "warmup");
        let (count, dim) = (self.envs.training.count(), self.envs.training.action_dim());
        let target = self.config.training.warmup_steps;
        if self.step > 0 || self.replay.stored() >= target {
            return Ok(());
        }
        let mut progress = Progress::begin("warm-up", self.replay.stored(), target);
        while self.replay.stored() < target && !interrupt.requested() {
            let steps = self.replay.stored() + self.warnings.skipped;
            let counter = (steps / count as u64) as u32;
            let actions: Vec<f32> = (0..count * dim)
                .map(|i| 2.0 * key.uniform((i / dim) as u32, (i % dim) as u32, counter) - 1.0)
                .collect();
            let observations = self.observe()?;
            self.interact(&observations, &actions)?;
            progress.show(self.replay.stored(), String::new);
        }
        progress.finish(self.replay.stored(), "");
        self.episodes = EndedEpisodes::default();
        self.warnings.since_log = 0;
        self.logged = (Instant::now(), 0);
        Ok(())
    }

    /// The current observations, `[num_envs, observation_dim]`.
    ///
    /// # Errors
    /// When one is not finite.
    pub fn observe(&self) -> Result<Vec<f32>, RunError> {
        let envs = &self.envs.training;
        let mut observations = envs.observations().to_vec();
        self.spoil("observation", &mut observations);
        self.require(guard::check_rows(
            "observation",
            &observations,
            envs.observation_dim(),
        ))?;
        Ok(observations)
    }

    /// The agent's actions for `observations`, `[num_envs, action_dim]`.
    ///
    /// # Errors
    /// When one is not finite.
    pub fn act(&self, observations: &[f32]) -> Result<Vec<f32>, RunError> {
        let envs = &self.envs.training;
        let shape = [envs.count(), envs.observation_dim()];
        let observations = TensorData::new(observations.to_vec(), shape);
        let observations = Tensor::from_data(observations, self.device);
        // One number per vector step; it wraps after 2^32 of them.
        let counter = (self.step / self.config.training.num_envs as u64) as u32;
        let mut actions = to_vec(self.agent.act(observations, counter));
        self.spoil("action", &mut actions);
        self.require(guard::check_rows("action", &actions, envs.action_dim()))?;
        Ok(actions)
    }

    /// Steps all environments and stores the transitions.
    ///
    /// # Errors
    /// When a number is not finite, in which case none of them is stored; when an environment
    /// fails; when the buffer's files cannot be written.
    pub fn interact(&mut self, observations: &[f32], actions: &[f32]) -> Result<(), RunError> {
        let step = self.envs.training.step(actions)?.clone();
        self.store(observations, actions, step)
    }

    /// [`Run::interact`], and meanwhile the updates that are missing to `updates`: on what is
    /// stored before this step, so that it makes no difference which is done first.
    ///
    /// # Errors
    /// As [`Run::interact`] and [`Run::update`].
    pub fn interact_while_learning(
        &mut self,
        observations: &[f32],
        actions: &[f32],
        updates: u64,
    ) -> Result<(), RunError> {
        let envs = &mut self.envs.training;
        let (agent, metrics) = (self.agent.as_mut(), &mut self.metrics);
        let (replay, sampler, device) = (&self.replay, &self.sampler, self.device);
        let batch_size = self.config.training.batch_size;
        let mut step = None;
        rayon::in_place_scope(|scope| {
            scope.spawn(|_| step = Some(envs.step(actions).cloned()));
            while agent.updates() < updates {
                let batch = draw::<B>(replay, sampler, batch_size, agent.updates(), device);
                metrics.merge(agent.update(&batch));
            }
        });
        self.spoil_state()?;
        if backend::computes_at_once(&self.config.backend) {
            self.read_metrics()?;
        }
        // The scope has waited for the step.
        match step {
            Some(step) => self.store(observations, actions, step?),
            None => Ok(()),
        }
    }

    /// Stores the transitions of a step.
    fn store(
        &mut self,
        observations: &[f32],
        actions: &[f32],
        mut step: VecStep,
    ) -> Result<(), RunError> {
        let envs = &self.envs.training;
        let (observation_dim, action_dim) = (envs.observation_dim(), envs.action_dim());
        self.spoil("next_observation", &mut step.next_observations);
        self.spoil("reward", &mut step.rewards);
        let next_observations = &step.next_observations;
        self.require(guard::check_rows("reward", &step.rewards, 1))?;
        self.require(guard::check_rows(
            "next_observation",
            next_observations,
            observation_dim,
        ))?;
        for (i, observation) in observations.chunks_exact(observation_dim).enumerate() {
            if step.warnings[i] > 0 {
                // The simulator does not know where this step led.
                self.warnings.since_log += u64::from(step.warnings[i]);
                self.warnings.skipped += 1;
                continue;
            }
            self.segments.follow(&self.replay)?;
            self.replay.push(Transition {
                observation,
                action: &actions[i * action_dim..][..action_dim],
                reward: step.rewards[i],
                next_observation: &next_observations[i * observation_dim..][..observation_dim],
                terminated: step.terminated[i],
            });
        }
        for episode in step.finished.iter().flatten() {
            self.status.episode_return = Some(episode.total_reward);
            self.episodes.add(episode);
        }
        Ok(())
    }

    /// Stores the oldest transition `count` times more, for measurements.
    pub(crate) fn store_copies(&mut self, count: u64) {
        let oldest = self.replay.gather(&[0]);
        for _ in 0..count {
            self.replay.push(Transition {
                observation: &oldest.observations,
                action: &oldest.actions,
                reward: oldest.rewards[0],
                next_observation: &oldest.next_observations,
                terminated: false,
            });
        }
    }

    /// Counts the step that was made and notes what is due after it.
    pub fn advance(&mut self) {
        let before = self.step;
        self.step += self.config.training.num_envs as u64;
        let every = &self.config.training;
        let last = self.step >= self.config.steps;
        let due = |interval| last || crosses(interval, before, self.step);
        self.due = Due {
            log: due(every.log_every),
            evaluate: due(every.eval_every),
            save: due(every.checkpoint_every),
        };
    }

    /// One gradient update on a uniformly drawn batch.
    ///
    /// # Errors
    /// When something that was computed is not finite. See [`guard`](crate::guard) for when that
    /// is looked at.
    pub fn update(&mut self) -> Result<(), RunError> {
        self.learn()?;
        if backend::computes_at_once(&self.config.backend) {
            self.read_metrics()?;
        }
        Ok(())
    }

    /// [`Run::update`] without looking at the results.
    pub(crate) fn learn(&mut self) -> Result<(), RunError> {
        let (count, number) = (self.config.training.batch_size, self.agent.updates());
        let batch = draw::<B>(&self.replay, &self.sampler, count, number, self.device);
        let newest = self.agent.update(&batch);
        self.metrics.merge(newest);
        self.spoil_state()
    }

    /// Reads the metrics since the last time from the device and checks them and the parameters,
    /// so that nothing is evaluated or stored after they have ceased to be finite.
    pub(crate) fn read_metrics(&mut self) -> Result<(), RunError> {
        for (name, mut value) in std::mem::take(&mut self.metrics).read() {
            if let Some(spoilt) = fault::number(name, self.step) {
                value = spoilt;
            }
            match self.latest.iter_mut().find(|(known, _)| known == name) {
                Some((_, latest)) => *latest = value,
                None => self.latest.push((name.to_owned(), value)),
            }
        }
        let latest = self.latest.iter();
        let metrics = guard::check_metrics(latest.map(|(name, value)| (name.as_str(), *value)));
        let sum: f32 = self.agent.parameter_sum().into_scalar().elem();
        if metrics.is_err() || !sum.is_finite() {
            // Where it began tells more than which loss it has reached.
            self.require(guard::check_state(&self.agent.state()))?;
        }
        self.require(metrics)
    }

    /// Does what is due: a line of the log, an evaluation, a checkpoint.
    ///
    /// # Errors
    /// When a file cannot be written or a number is not finite, and [`RunError::Interrupted`].
    pub fn report(&mut self, interrupt: &Interrupt) -> Result<(), RunError> {
        if !self.due.any() {
            return Ok(());
        }
        self.read_metrics()?;
        if self.due.log {
            self.log()?;
            self.due.log = false;
        }
        if self.due.evaluate {
            self.evaluate(interrupt)?;
            self.due.evaluate = false;
        }
        if self.due.save {
            self.due.save = false;
            self.checkpoint(false)?;
        }
        Ok(())
    }

    /// Writes a line of `metrics.jsonl`.
    fn log(&mut self) -> Result<(), RunError> {
        let episodes = std::mem::take(&mut self.episodes);
        let simulator_warnings = std::mem::take(&mut self.warnings.since_log);
        let (time, step) = std::mem::replace(&mut self.logged, (Instant::now(), self.step));
        let seconds = time.elapsed().as_secs_f64();
        let wall_time_s = self.metrics_log.wall_time_s() + self.started.elapsed().as_secs_f64();
        self.metrics_log.append(&MetricsLine {
            step: self.step,
            update: self.agent.updates(),
            wall_time_s,
            env_steps_per_s: (self.step - step) as f64 / seconds.max(1e-9),
            episodes: episodes.count,
            episode_return: episodes.mean(episodes.total_reward),
            episode_length: episodes.mean(episodes.length as f64),
            simulator_warnings,
            metrics: self.latest.clone(),
        })
    }

    /// Plays the evaluation episodes and writes their row. If the result is the best so far, a
    /// checkpoint is due.
    fn evaluate(&mut self, interrupt: &Interrupt) -> Result<(), RunError> {
        let statistics = self.envs.training.statistics();
        self.envs.evaluation.set_statistics(statistics);
        let agent = self.agent.as_ref();
        let Some(evaluation) = self.envs.evaluation.run(agent, self.device, interrupt)? else {
            return self.stop_if(interrupt);
        };
        let mean_return = evaluation.mean();
        // Nothing could be better than a best evaluation that is not a number.
        let mean = ("mean evaluation return", mean_return as f32);
        self.require(guard::check_metrics([mean]))?;
        self.eval_log.append(self.step, &evaluation)?;
        tracing::info!(
            step = self.step,
            mean_return,
            std_return = evaluation.std(),
            "evaluated"
        );
        self.status.evaluation = Some(mean_return);
        if self.best.is_none_or(|best| mean_return > best.mean_return) {
            self.best = Some(Best {
                step: self.step,
                mean_return,
            });
            self.due.save = true;
        }
        Ok(())
    }

    /// Saves everything and leaves, if that is asked for.
    ///
    /// # Errors
    /// [`RunError::Interrupted`] if so, or what keeps it from being saved.
    pub fn stop_if(&mut self, interrupt: &Interrupt) -> Result<(), RunError> {
        if !interrupt.requested() {
            return Ok(());
        }
        self.read_metrics()?;
        let checkpoint = self.checkpoint(true)?;
        Err(RunError::Interrupted {
            step: self.step,
            checkpoint,
        })
    }

    /// Writes a checkpoint, unless the last one is of this very moment.
    pub(crate) fn checkpoint(&mut self, stopped: bool) -> Result<PathBuf, RunError> {
        let update = self.agent.updates();
        let moment = (self.step, update, self.due);
        if self.saved == Some(moment) && self.step > 0 {
            return Ok(self.checkpoints.path(self.step));
        }
        let agent = self.agent.state();
        self.require(guard::check_state(&agent))?;
        self.metrics_log.sync()?;
        let replay = self.segments.save(&self.replay)?;
        let envs = &self.envs.training;
        let dims = (envs.observation_dim(), envs.action_dim());
        let metrics = self.latest.iter().map(|(name, value)| MetricValue {
            name: name.clone(),
            value: f64::from(*value),
        });
        let path = self.checkpoints.save(Contents {
            description: Description::new(self.config, dims, self.step, update),
            progress: checkpoint::Progress {
                stopped,
                due: self.due,
                best: self.best,
                eval_rows: self.eval_log.rows(),
                metrics_lines: self.metrics_log.lines(),
                episodes: self.episodes,
                warnings: self.warnings,
                metrics: metrics.collect(),
            },
            replay,
            agent: &agent,
            environments: &self.envs.state()?,
        })?;
        self.saved = Some(moment);
        if let Some(needed) = self.checkpoints.needed_transitions() {
            self.segments.keep(&needed)?;
        }
        tracing::debug!(path = %path.display(), "wrote a checkpoint");
        Ok(path)
    }

    /// Turns a number that is not finite into an error that says when.
    fn require(&self, result: Result<(), NotFinite>) -> Result<(), RunError> {
        result.map_err(|number| RunError::NotFinite {
            number: Box::new(number),
            step: self.step,
            update: self.agent.updates(),
        })
    }

    /// Writes `crash.json`: which number is not finite, and what else is known.
    pub fn report_crash(&self, folder: &RunFolder, error: Option<&RunError>) {
        let Some(RunError::NotFinite {
            number,
            step,
            update,
        }) = error
        else {
            return;
        };
        let report = serde_json::json!({
            "number": number,
            "step": step,
            "update": update,
            "stored_transitions": self.replay.stored(),
            "bad_arrays": guard::bad_arrays(&self.agent.state()),
            "metrics": self.latest.iter().map(|(name, value)| (name.clone(), value.to_string()))
                .collect::<Vec<_>>(),
        });
        if let Err(error) = crate::durable::write_json(&folder.file("crash.json"), &report) {
            tracing::warn!("{error}");
        }
    }

    /// A fault on purpose in the first of `values`; see [`fault`](crate::fault).
    fn spoil(&self, what: &str, values: &mut [f32]) {
        if let Some(value) = fault::number(what, self.step) {
            values[0] = value;
        }
    }

    /// A fault on purpose in the last number of an array of the agent's state.
    fn spoil_state(&mut self) -> Result<(), RunError> {
        use rescore_agents::Array;
        if !fault::spoils_numbers() {
            return Ok(());
        }
        let mut state = self.agent.state();
        let known = |name: &str| matches!(state.get(name), Some(Array::F32(..)));
        let Some((name, value)) = fault::number_where(self.step, known) else {
            return Ok(());
        };
        if let Some(Array::F32(shape, values)) = state.get(name) {
            let (shape, mut values) = (shape.clone(), values.clone());
            if let Some(last) = values.last_mut() {
                *last = value;
            }
            state.insert(name, Array::F32(shape, values));
        }
        self.agent
            .load_state(&state)
            .map_err(|error| RunError::Usage {
                message: error.to_string(),
                hint: None,
            })
    }

    /// Last returns and losses in words.
    pub fn status(&self) -> String {
        let returns = [
            ("return", self.status.episode_return),
            ("evaluation", self.status.evaluation),
        ];
        let returns = returns
            .iter()
            .filter_map(|(name, value)| value.map(|value| format!("{name} {value:.1}")));
        let losses = self
            .latest
            .iter()
            .filter(|(name, _)| name.ends_with("loss"))
            .map(|(name, value)| format!("{name} {value:.3}"));
        returns.chain(losses).collect::<Vec<_>>().join(", ")
    }
}

/// The batch of update `number`, drawn uniformly.
fn draw<B: RescoreBackend>(
    replay: &Replay,
    sampler: &Sampler,
    count: usize,
    number: u64,
    device: &B::Device,
) -> Batch<B> {
    let drawn = replay.gather(&sampler.rows(count, replay.len(), number));
    let vector = |values| Tensor::from_data(TensorData::new(values, [count]), device);
    let matrix = |values: Vec<f32>| {
        let shape = [count, values.len() / count];
        Tensor::from_data(TensorData::new(values, shape), device)
    };
    Batch {
        observations: matrix(drawn.observations),
        actions: matrix(drawn.actions),
        rewards: vector(drawn.rewards),
        next_observations: matrix(drawn.next_observations),
        terminated: vector(drawn.terminated),
    }
}
