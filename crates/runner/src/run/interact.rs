//! Acting and stepping: where transitions come from.

use std::time::Instant;

use burn::tensor::Tensor;
use rescore_envs::VecStep;
use rescore_kernels::{NoiseKey, RescoreBackend, upload};
use rescore_store::checkpoint::{Due, InfoMeans};

use super::{Run, learn::draw};
use crate::evaluate::to_vec;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::replay::Transition;
use crate::schedule::crosses;
use crate::{RunError, backend, guard};

impl<B: RescoreBackend> Run<'_, B> {
    /// Fills the replay buffer with transitions of uniformly random actions in [-1, 1]. The
    /// episodes go on when training begins. The step stays 0 until it has ended, whether or not it is
    /// counted.
    ///
    /// # Errors
    /// As [`Run::interact`].
    pub fn warm_up(&mut self, interrupt: &Interrupt) -> Result<(), RunError> {
        let target = self.config.training.warmup_steps;
        // What is held, not what was ever stored: the two differ where a run goes on without its
        // replay buffer.
        if self.step == 0 && (self.replay.len() as u64) < target {
            self.act_at_random(target, interrupt)?;
        }
        if self.step == 0 && self.replay.len() as u64 >= target {
            self.step = self.config.training.warmup_end();
            self.logged.1 = self.step;
        }
        Ok(())
    }

    /// Acts at random until `target` transitions are held.
    fn act_at_random(&mut self, target: u64, interrupt: &Interrupt) -> Result<(), RunError> {
        let key = NoiseKey::new(self.config.seed, "warmup");
        let (count, dim) = (self.envs.training.count(), self.envs.training.action_dim());
        let mut progress = Progress::begin("warm-up", self.replay.len() as u64, target);
        while (self.replay.len() as u64) < target && !interrupt.requested() {
            let steps = self.replay.stored() + self.warnings.skipped;
            let counter = (steps / count as u64) as u32;
            let actions: Vec<f32> = (0..count * dim)
                .map(|i| 2.0 * key.uniform((i / dim) as u32, (i % dim) as u32, counter) - 1.0)
                .collect();
            let observations = self.observe()?;
            self.interact(&observations, &actions)?;
            progress.show(self.replay.len() as u64, String::new);
        }
        progress.finish(self.replay.len() as u64, "");
        self.episodes.since_log = 0;
        self.info = InfoMeans::default();
        self.warnings.since_log = 0;
        self.logged = (Instant::now(), 0);
        Ok(())
    }

    /// The current observations, raw, `[num_envs, observation_dim]`.
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

    /// The agent's actions for the raw `observations`, `[num_envs, action_dim]`: still on the
    /// device, which may not have computed them yet.
    pub fn act(&self, observations: &[f32]) -> Tensor<B, 2> {
        // One number per vector step; it wraps after 2^32 of them.
        let counter = (self.step / self.config.training.num_envs as u64) as u32;
        self.act_with(observations, counter)
    }

    /// [`Run::act`] with the noise number `counter`.
    pub(super) fn act_with(&self, observations: &[f32], counter: u32) -> Tensor<B, 2> {
        let envs = &self.envs.training;
        let shape = [envs.count(), envs.observation_dim()];
        let mut observations = observations.to_vec();
        if let Some(normalizer) = self.envs.normalizers.observation() {
            normalizer.apply(&mut observations);
        }
        let observations = upload(observations, shape, self.device);
        self.agent.act(observations, counter)
    }

    /// Waits for `actions` and reads them from the device, `[num_envs, action_dim]`.
    ///
    /// # Errors
    /// When one is not finite.
    pub fn read(&self, actions: Tensor<B, 2>) -> Result<Vec<f32>, RunError> {
        let mut actions = to_vec(actions);
        self.spoil("action", &mut actions);
        let action_dim = self.envs.training.action_dim();
        self.require(guard::check_rows("action", &actions, action_dim))?;
        Ok(actions)
    }

    /// Steps all environments and stores the transitions.
    ///
    /// # Errors
    /// When a number is not finite, in which case none of them is stored; when an environment
    /// fails or diverges in one step after the other (see
    /// [`WarningStreak`](rescore_envs::WarningStreak)); when the buffer's files cannot be written.
    pub fn interact(&mut self, observations: &[f32], actions: &[f32]) -> Result<(), RunError> {
        let step = self.envs.training.step(actions)?.clone();
        self.store(observations, actions, step)
    }

    /// Draws the batch of the next update and sends it to the device, while that computes the
    /// actions, if an update is missing to `updates`: for [`Run::interact_while_learning`], which
    /// learns from what is stored before its step.
    pub fn draw_ahead(&mut self, updates: u64) {
        let (number, count) = (self.agent.updates(), self.config.training.batch_size);
        let (replay, normalizers) = (&self.replay, &self.envs.normalizers);
        self.ahead = (number < updates).then(|| {
            draw::<B>(
                replay,
                normalizers,
                self.sampler,
                count,
                number,
                self.device,
            )
        });
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
        let mut ahead = self.ahead.take();
        let (envs, normalizers) = (&mut self.envs.training, &self.envs.normalizers);
        let (agent, metrics) = (self.agent.as_mut(), &mut self.metrics);
        let (replay, sampler, device) = (&self.replay, self.sampler, self.device);
        let batch_size = self.config.training.batch_size;
        let mut step = None;
        rayon::in_place_scope(|scope| {
            scope.spawn(|_| step = Some(envs.step(actions).cloned()));
            while agent.updates() < updates {
                let number = agent.updates();
                let batch = ahead.take().unwrap_or_else(|| {
                    draw::<B>(replay, normalizers, sampler, batch_size, number, device)
                });
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

    /// Stores the transitions of a step, raw, and learns from them how to normalise.
    fn store(
        &mut self,
        observations: &[f32],
        actions: &[f32],
        mut step: VecStep,
    ) -> Result<(), RunError> {
        let envs = &self.envs.training;
        let (observation_dim, action_dim) = (envs.observation_dim(), envs.action_dim());
        // What a diverged simulator shows is not stored, so it may be anything.
        let rows = step.next_observations.chunks_exact_mut(observation_dim);
        for (row, _) in rows.zip(&step.warnings).filter(|(_, count)| **count > 0) {
            row.fill(0.0);
        }
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
            self.info.add(&step.info[i]);
            if let Some(segments) = &mut self.segments {
                segments.follow(&self.replay)?;
            }
            self.replay.push(Transition {
                observation,
                action: &actions[i * action_dim..][..action_dim],
                reward: step.rewards[i],
                next_observation: &next_observations[i * observation_dim..][..observation_dim],
                terminated: step.terminated[i],
            });
        }
        let envs = &mut self.envs;
        envs.normalizers.learn(&step, envs.training.observations());
        for episode in step.finished.iter().flatten() {
            self.status.episode_return = Some(episode.total_reward);
            self.episodes.add(episode.total_reward, episode.length);
        }
        Ok(())
    }

    /// Stores the oldest transition `count` times more, for measurements.
    pub fn store_copies(&mut self, count: u64) {
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
            evaluate: due(self.config.evaluation.every),
            save: due(every.checkpoint_every),
        };
    }
}
