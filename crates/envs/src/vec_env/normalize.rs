//! Observations normalised by what all environments have shown.

use super::VecEnv;
use crate::RunningStatistics;

impl VecEnv {
    /// From now on, shifts and scales observations by mean and standard deviation of all
    /// observations of all environments so far, including the present ones. The statistics are
    /// part of [`VecEnv::state`].
    pub fn normalize_observations(&mut self) {
        if self.statistics.is_none() {
            self.statistics = Some(RunningStatistics::new(self.observation_dim));
            self.normalize(true);
        }
    }

    /// The statistics by which observations are normalised, if they are.
    pub fn statistics(&self) -> Option<&RunningStatistics> {
        self.statistics.as_ref()
    }

    /// Normalises the raw observations to act on, after learning from them if `learn`.
    pub(super) fn normalize(&mut self, learn: bool) {
        let Some(statistics) = &mut self.statistics else {
            return;
        };
        if learn {
            for row in self.observations.chunks_exact(self.observation_dim) {
                statistics.update(row.iter().map(|x| (*x).into()));
            }
        }
        for row in self.observations.chunks_exact_mut(self.observation_dim) {
            statistics.normalize_row(row);
        }
    }

    /// Learns from the observations of a step, then normalises them. What a diverged simulator
    /// shows is not learned from.
    pub(super) fn normalize_step(&mut self) {
        let Some(statistics) = &mut self.statistics else {
            return;
        };
        let dim = self.observation_dim;
        for index in 0..self.slots.len() {
            let row = index * dim..(index + 1) * dim;
            let mut learn = |row: &[f32]| statistics.update(row.iter().map(|x| (*x).into()));
            if self.step.warnings[index] == 0 {
                learn(&self.step.next_observations[row.clone()]);
            }
            if self.step.finished[index].is_some() {
                learn(&self.observations[row]);
            }
        }
        let rows = self.observations.chunks_exact_mut(dim);
        for row in rows.chain(self.step.next_observations.chunks_exact_mut(dim)) {
            statistics.normalize_row(row);
        }
    }
}
