//! Going on without the transitions that the replay buffer held.

use std::time::Instant;

use rescore_kernels::RescoreBackend;

use super::Run;
use crate::RunError;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::replay::refill_target;

/// Noise numbers of these steps begin here, far from those of training, which count from 0.
const FIRST_NOISE: u32 = 1 << 31;

impl<B: RescoreBackend> Run<'_, B> {
    /// Collects transitions with the policy as it is, without updates, if the run goes on from a
    /// checkpoint without its replay buffer; see [`refill_target`]. They count as no steps of the
    /// run. An interruption leaves the checkpoint as it was.
    ///
    /// # Errors
    /// As [`Run::interact`].
    pub fn refill(&mut self, interrupt: &Interrupt) -> Result<(), RunError> {
        let target = refill_target(
            &self.config.training,
            self.config.replay.capacity,
            self.lost,
        );
        let held = |run: &Self| run.replay.len() as u64;
        if self.lost == 0 || held(self) >= target {
            return Ok(());
        }
        tracing::warn!(
            "the replay buffer of {} transitions was not stored (replay.store = false): \
             {target} are collected with the policy before learning goes on, so that the run will \
             not be the same as without the interruption",
            self.lost
        );
        let mut progress = Progress::begin("refill", held(self), target);
        while held(self) < target && !interrupt.requested() {
            // Transitions ever stored, so that no two resumptions draw the same noise.
            let made = self.replay.stored() + self.warnings.skipped;
            let number = made / self.config.training.num_envs as u64;
            let observations = self.observe()?;
            let actions = self.act_with(&observations, FIRST_NOISE.wrapping_add(number as u32));
            let actions = self.read(actions)?;
            self.interact(&observations, &actions)?;
            progress.show(held(self), String::new);
        }
        progress.finish(held(self), "");
        self.logged = (Instant::now(), self.step);
        Ok(())
    }
}
