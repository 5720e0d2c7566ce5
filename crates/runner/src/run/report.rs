//! What is due between iterations: lines of the log, evaluations, checkpoints.

use std::path::PathBuf;
use std::time::Instant;

use rescore_kernels::RescoreBackend;
use rescore_store::checkpoint::{self, Best, Contents, MetricValue};
use rescore_store::log::{EvalRow, MetricsLine};

use super::Run;
use crate::checkpoint::{describe, from_agent, from_environments};
use crate::interrupt::Interrupt;
use crate::{RunError, guard};

impl<B: RescoreBackend> Run<'_, B> {
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

    /// Writes a line of `metrics.jsonl`, and its numbers for TensorBoard.
    fn log(&mut self) -> Result<(), RunError> {
        self.read_details()?;
        let episodes = std::mem::take(&mut self.episodes.since_log);
        let info = std::mem::take(&mut self.info);
        let simulator_warnings = std::mem::take(&mut self.warnings.since_log);
        let (time, step) = std::mem::replace(&mut self.logged, (Instant::now(), self.step));
        let seconds = time.elapsed().as_secs_f64();
        let wall_time_s = self.metrics_log.wall_time_s() + self.started.elapsed().as_secs_f64();
        let line = MetricsLine {
            step: self.step,
            update: self.agent.updates(),
            wall_time_s,
            env_steps_per_s: (self.step - step) as f64 / seconds.max(1e-9),
            episodes,
            episode_return: self.episodes.mean_return(),
            episode_length: self.episodes.mean_length(),
            simulator_warnings,
            info: info.means().collect(),
            metrics: self.latest.clone(),
        };
        self.metrics_log.append(&line)?;
        if let Some(events) = &mut self.event_log {
            events.metrics(&line)?;
        }
        Ok(())
    }

    /// Plays the evaluation episodes and writes their row. If the result is the best so far, a
    /// checkpoint is due.
    fn evaluate(&mut self, interrupt: &Interrupt) -> Result<(), RunError> {
        let normalizer = self.envs.normalizers.observation().cloned();
        self.envs.evaluation.set_normalizer(normalizer);
        let agent = self.agent.as_ref();
        let (device, step) = (self.device, self.step);
        let Some(evaluation) = self.envs.evaluation.run(agent, device, step, interrupt)? else {
            return self.stop_if(interrupt);
        };
        let mean_return = evaluation.mean();
        // Nothing could be better than a best evaluation that is not a number.
        let mean = ("mean evaluation return", mean_return as f32);
        self.require(guard::check_metrics([mean]))?;
        let row = EvalRow {
            step: self.step,
            mean: mean_return,
            std: evaluation.std(),
            returns: &evaluation.returns,
        };
        self.eval_log.append(row)?;
        if let Some(events) = &mut self.event_log {
            events.evaluation(row)?;
        }
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

    /// Writes a checkpoint, unless the last one is of this very moment; `stopped` if because the run
    /// was asked to stop.
    ///
    /// # Errors
    /// When the folder cannot be written or a number is not finite.
    pub fn checkpoint(&mut self, stopped: bool) -> Result<PathBuf, RunError> {
        let update = self.agent.updates();
        let moment = (self.step, update, self.due);
        if self.saved == Some(moment) && self.step > 0 {
            return Ok(self.checkpoints.path(self.step));
        }
        let agent = self.agent.state();
        self.require(guard::check_state(&agent))?;
        self.read_details()?;
        self.metrics_log.sync()?;
        if let Some(events) = &self.event_log {
            events.sync()?;
        }
        let replay = match &mut self.segments {
            Some(segments) => segments.save(&self.replay)?,
            None => self.replay.not_stored(),
        };
        let envs = &self.envs.training;
        let dims = (envs.observation_dim(), envs.action_dim());
        let metrics = self.latest.iter().map(|(name, value)| MetricValue {
            name: name.clone(),
            value: f64::from(*value),
        });
        let path = self.checkpoints.save(Contents {
            description: describe(self.config, dims, self.step, update),
            progress: checkpoint::Progress {
                stopped,
                due: self.due,
                best: self.best,
                eval_rows: self.eval_log.rows(),
                metrics_lines: self.metrics_log.lines(),
                episodes: self.episodes.clone(),
                info: self.info.clone(),
                warnings: self.warnings,
                metrics: metrics.collect(),
            },
            replay,
            agent: &from_agent(agent),
            environments: &from_environments(self.envs.state()?),
        })?;
        self.saved = Some(moment);
        self.keep_needed_segments()?;
        tracing::debug!(path = %path.display(), "wrote a checkpoint");
        Ok(path)
    }

    /// Removes the segments of the replay buffer that no checkpoint needs.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn keep_needed_segments(&mut self) -> Result<(), RunError> {
        match (&mut self.segments, self.checkpoints.needed_transitions()) {
            (Some(segments), Some(needed)) => Ok(segments.keep(&needed)?),
            _ => Ok(()),
        }
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
