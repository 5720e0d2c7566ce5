//! The training loop.

use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use rescore_agents::{Agent, Batch, Metrics};
use rescore_envs::{Episode, VecEnv};
use rescore_kernels::{NoiseKey, RescoreBackend};

use crate::RunError;
use crate::checkpoint::{Best, Checkpoints, Description};
use crate::config::Config;
use crate::evaluate::{Evaluator, to_vec};
use crate::interrupt::Interrupt;
use crate::log::{EvalLog, MetricsLine, MetricsLog};
use crate::progress::Progress;
use crate::replay::{Replay, Sampler, Transition};
use crate::run_folder::RunFolder;
use crate::schedule::{UpdateSchedule, crosses};

/// The environments of a run, made before anything is written so that a task that cannot be made
/// leaves nothing behind.
pub struct Environments {
    /// Those that the agent learns in.
    pub training: VecEnv,
    /// Those that it is evaluated in.
    pub evaluation: Evaluator,
}

impl Environments {
    /// Makes and seeds the environments that `config` asks for.
    ///
    /// # Errors
    /// When the task cannot be made.
    pub fn new(config: &Config) -> Result<Self, RunError> {
        let (env, seed, task) = (&config.env, config.seed, &config.task);
        let stream = NoiseKey::new(seed, "environment").seed();
        Ok(Self {
            training: VecEnv::with_settings(env, task, config.training.num_envs, stream)?,
            evaluation: Evaluator::new(env, task, config.training.eval_episodes, seed)?,
        })
    }
}

/// Trains to the last step and leaves the results in `folder`.
///
/// # Errors
/// When a number is not finite, an environment fails or the folder cannot be written; and
/// [`RunError::Interrupted`], after a checkpoint, when `interrupt` is set.
pub fn train<B: RescoreBackend>(
    config: &Config,
    envs: Environments,
    folder: &RunFolder,
    interrupt: &Interrupt,
    device: &B::Device,
) -> Result<(), RunError> {
    let mut run = Run::<B>::new(config, envs, folder, device)?;
    run.warm_up(interrupt)?;
    let updates = UpdateSchedule::new(config.training.updates_per_step);
    let mut progress = Progress::begin("train", config.steps);
    while run.step < config.steps {
        if interrupt.requested() {
            return Err(run.stop()?);
        }
        let before = run.step;
        let actions = run.act()?;
        run.interact(&actions)?;
        run.step += config.training.num_envs as u64;
        while run.agent.updates() < updates.due(run.step) {
            run.update();
        }

        let every = &config.training;
        let last = run.step >= config.steps;
        let due = |interval| last || crosses(interval, before, run.step);
        let (log, evaluate, save) = (
            due(every.log_every),
            due(every.eval_every),
            due(every.checkpoint_every),
        );
        if log || evaluate || save {
            run.read_metrics()?;
        }
        if log {
            run.log()?;
        }
        let new_best = if evaluate { run.evaluate()? } else { None };
        if save || new_best.is_some() {
            run.checkpoint(new_best)?;
        }
        progress.show(run.step, || run.status());
    }
    progress.finish(run.step, &run.status());
    folder.mark_done(run.step, run.agent.updates())
}

/// Everything that a run holds while it trains.
struct Run<'a, B: RescoreBackend> {
    config: &'a Config,
    device: &'a B::Device,
    agent: Box<dyn Agent<B>>,
    envs: Environments,
    replay: Replay,
    sampler: Sampler,
    /// Environment steps since the end of warm-up.
    step: u64,
    /// The latest value of each metric.
    metrics: Metrics<B>,
    eval_log: EvalLog,
    metrics_log: MetricsLog,
    checkpoints: Checkpoints,
    best: Option<Best>,
    started: Instant,
    since_log: SinceLog,
    status: Status,
}

/// What happened since the last line of the log.
struct SinceLog {
    time: Instant,
    step: u64,
    episodes: Vec<Episode>,
    /// Warnings of the simulator.
    warnings: u64,
}

impl SinceLog {
    fn begin(step: u64) -> Self {
        Self {
            time: Instant::now(),
            step,
            episodes: Vec::new(),
            warnings: 0,
        }
    }
}

/// The latest results, for the progress bar.
#[derive(Default)]
struct Status {
    episode_return: Option<f64>,
    evaluation: Option<f64>,
    metrics: Vec<(&'static str, f32)>,
}

impl<'a, B: RescoreBackend> Run<'a, B> {
    fn new(
        config: &'a Config,
        envs: Environments,
        folder: &RunFolder,
        device: &'a B::Device,
    ) -> Result<Self, RunError> {
        let (observation_dim, action_dim) =
            (envs.training.observation_dim(), envs.training.action_dim());
        let capacity = config.training.replay_capacity as usize;
        Ok(Self {
            config,
            device,
            agent: config
                .agent
                .build::<B>(observation_dim, action_dim, config.seed, device),
            replay: Replay::new(capacity, observation_dim, action_dim),
            sampler: Sampler::new(config.seed),
            step: 0,
            metrics: Metrics::default(),
            eval_log: EvalLog::create(&folder.file("eval.csv"), config.training.eval_episodes)?,
            metrics_log: MetricsLog::create(&folder.file("metrics.jsonl"))?,
            checkpoints: Checkpoints::of(folder.path()),
            best: None,
            started: Instant::now(),
            since_log: SinceLog::begin(0),
            status: Status::default(),
            envs,
        })
    }

    /// Fills the replay buffer with transitions of uniformly random actions in [-1, 1]. The
    /// episodes go on when training begins.
    fn warm_up(&mut self, interrupt: &Interrupt) -> Result<(), RunError> {
        let key = NoiseKey::new(self.config.seed, "warmup");
        let (count, dim) = (self.envs.training.count(), self.envs.training.action_dim());
        let target = self.config.training.warmup_steps as usize;
        let mut progress = Progress::begin("warm-up", target as u64);
        let mut counter = 0;
        while self.replay.len() < target && !interrupt.requested() {
            let actions: Vec<f32> = (0..count * dim)
                .map(|i| 2.0 * key.uniform((i / dim) as u32, (i % dim) as u32, counter) - 1.0)
                .collect();
            self.interact(&actions)?;
            counter += 1;
            progress.show(self.replay.len() as u64, String::new);
        }
        progress.finish(self.replay.len() as u64, "");
        self.since_log = SinceLog::begin(0);
        Ok(())
    }

    /// The agent's actions for the current observations, `[num_envs, action_dim]`.
    fn act(&self) -> Result<Vec<f32>, RunError> {
        let envs = &self.envs.training;
        let shape = [envs.count(), envs.observation_dim()];
        let observations = TensorData::new(envs.observations().to_vec(), shape);
        let observations = Tensor::from_data(observations, self.device);
        // One number per vector step; it wraps after 2^32 of them.
        let counter = (self.step / self.config.training.num_envs as u64) as u32;
        let actions = to_vec(self.agent.act(observations, counter));
        match actions.iter().find(|action| !action.is_finite()) {
            Some(value) => Err(self.not_finite("an action", *value)),
            None => Ok(actions),
        }
    }

    /// Steps all environments and stores the transitions.
    fn interact(&mut self, actions: &[f32]) -> Result<(), RunError> {
        let envs = &mut self.envs.training;
        let (observation_dim, action_dim) = (envs.observation_dim(), envs.action_dim());
        let observations = envs.observations().to_vec();
        let step = envs.step(actions)?;
        for (i, observation) in observations.chunks_exact(observation_dim).enumerate() {
            if step.warnings[i] > 0 {
                // The simulator does not know where this step led.
                self.since_log.warnings += u64::from(step.warnings[i]);
                continue;
            }
            self.replay.push(Transition {
                observation,
                action: &actions[i * action_dim..][..action_dim],
                reward: step.rewards[i],
                next_observation: &step.next_observations[i * observation_dim..][..observation_dim],
                terminated: step.terminated[i],
            });
        }
        for episode in step.finished.iter().flatten() {
            self.status.episode_return = Some(episode.total_reward);
            self.since_log.episodes.push(*episode);
        }
        Ok(())
    }

    /// One gradient update on a uniformly drawn batch.
    fn update(&mut self) {
        let count = self.config.training.batch_size;
        let number = self.agent.updates();
        let rows = self.sampler.rows(count, self.replay.len(), number);
        let drawn = self.replay.gather(&rows);
        let vector = |values| Tensor::from_data(TensorData::new(values, [count]), self.device);
        let matrix = |values: Vec<f32>| {
            let shape = [count, values.len() / count];
            Tensor::from_data(TensorData::new(values, shape), self.device)
        };
        let batch = Batch {
            observations: matrix(drawn.observations),
            actions: matrix(drawn.actions),
            rewards: vector(drawn.rewards),
            next_observations: matrix(drawn.next_observations),
            terminated: vector(drawn.terminated),
        };
        self.metrics.merge(self.agent.update(&batch));
    }

    /// Reads the latest metrics from the device and checks them, so that nothing is
    /// evaluated or stored after they have ceased to be finite.
    fn read_metrics(&mut self) -> Result<(), RunError> {
        let metrics = self.metrics.read();
        if let Some((name, value)) = metrics.iter().find(|(_, value)| !value.is_finite()) {
            return Err(self.not_finite(name, *value));
        }
        self.status.metrics = metrics;
        Ok(())
    }

    /// Writes a line of `metrics.jsonl`.
    fn log(&mut self) -> Result<(), RunError> {
        let since = std::mem::replace(&mut self.since_log, SinceLog::begin(self.step));
        let mean = |of: fn(&Episode) -> f64| {
            let sum: f64 = since.episodes.iter().map(of).sum();
            (!since.episodes.is_empty()).then(|| sum / since.episodes.len() as f64)
        };
        let seconds = since.time.elapsed().as_secs_f64();
        self.metrics_log.append(&MetricsLine {
            step: self.step,
            update: self.agent.updates(),
            wall_time_s: self.started.elapsed().as_secs_f64(),
            env_steps_per_s: (self.step - since.step) as f64 / seconds.max(1e-9),
            episodes: since.episodes.len(),
            episode_return: mean(|episode| episode.total_reward),
            episode_length: mean(|episode| f64::from(episode.length)),
            simulator_warnings: since.warnings,
            metrics: self.status.metrics.clone(),
        })
    }

    /// Plays the evaluation episodes and writes their row. Gives the result if it is the best so
    /// far.
    fn evaluate(&mut self) -> Result<Option<Best>, RunError> {
        let statistics = self.envs.training.statistics();
        self.envs.evaluation.set_statistics(statistics);
        let evaluation = self.envs.evaluation.run(self.agent.as_ref(), self.device)?;
        if !evaluation.mean().is_finite() {
            // Nothing could be better than a best evaluation that is not a number.
            return Err(self.not_finite("the mean evaluation return", evaluation.mean() as f32));
        }
        self.eval_log.append(self.step, &evaluation)?;
        let mean_return = evaluation.mean();
        tracing::info!(
            step = self.step,
            mean_return,
            std_return = evaluation.std(),
            "evaluated"
        );
        self.status.evaluation = Some(mean_return);
        let is_best = self.best.is_none_or(|best| mean_return > best.mean_return);
        let new = is_best.then_some(Best {
            step: self.step,
            mean_return,
        });
        self.best = new.or(self.best);
        Ok(new)
    }

    /// Saves everything that has been learned and says so.
    fn stop(&mut self) -> Result<RunError, RunError> {
        self.read_metrics()?;
        let checkpoint = self.checkpoint(None)?;
        Ok(RunError::Interrupted {
            step: self.step,
            checkpoint,
        })
    }

    fn checkpoint(&self, new_best: Option<Best>) -> Result<PathBuf, RunError> {
        let envs = &self.envs.training;
        let dims = (envs.observation_dim(), envs.action_dim());
        let description = Description::new(self.config, dims, self.step, self.agent.updates());
        let path = self
            .checkpoints
            .save(description, &self.agent.state(), new_best)?;
        tracing::debug!(path = %path.display(), "wrote a checkpoint");
        Ok(path)
    }

    fn not_finite(&self, what: &str, value: f32) -> RunError {
        RunError::NotFinite {
            what: what.to_owned(),
            value,
            step: self.step,
            update: self.agent.updates(),
        }
    }

    /// Last returns and losses in words.
    fn status(&self) -> String {
        let returns = [
            ("return", self.status.episode_return),
            ("evaluation", self.status.evaluation),
        ];
        let returns = returns
            .iter()
            .filter_map(|(name, value)| value.map(|value| format!("{name} {value:.1}")));
        let losses = self
            .status
            .metrics
            .iter()
            .filter(|(name, _)| name.ends_with("loss"))
            .map(|(name, value)| format!("{name} {value:.3}"));
        returns.chain(losses).collect::<Vec<_>>().join(", ")
    }
}
