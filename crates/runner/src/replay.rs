//! The replay buffer: a ring of transitions from which updates draw uniformly.

use rescore_kernels::NoiseKey;
use rescore_store::segments::{Records, ReplayReference};

use crate::config::TrainingConfig;

/// Rows per block of memory; blocks are allocated when the ring first reaches them.
const BLOCK_ROWS: usize = 4096;

/// Rows for which memory is taken when a buffer holds `rows`.
pub const fn memory_rows(rows: u64) -> u64 {
    rows.div_ceil(BLOCK_ROWS as u64)
        .saturating_mul(BLOCK_ROWS as u64)
}

/// One array of the buffer, `[rows, width]`, in blocks so that growing never copies.
#[derive(Debug, Clone)]
struct Column {
    width: usize,
    blocks: Vec<Box<[f32]>>,
}

impl Column {
    const fn new(width: usize) -> Self {
        Self {
            width,
            blocks: Vec::new(),
        }
    }

    fn write(&mut self, row: usize, values: &[f32]) {
        let (block, start) = self.place(row);
        // One at a time, except that a ring read from files may begin anywhere.
        while block >= self.blocks.len() {
            let zeros = vec![0.0; BLOCK_ROWS * self.width];
            self.blocks.push(zeros.into_boxed_slice());
        }
        self.blocks[block][start..start + self.width].copy_from_slice(values);
    }

    fn read(&self, row: usize) -> &[f32] {
        let (block, start) = self.place(row);
        &self.blocks[block][start..start + self.width]
    }

    const fn place(&self, row: usize) -> (usize, usize) {
        (row / BLOCK_ROWS, row % BLOCK_ROWS * self.width)
    }

    /// The given rows one after the other, `[rows.len(), width]`.
    fn gather(&self, rows: &[usize]) -> Vec<f32> {
        let mut values = Vec::with_capacity(rows.len() * self.width);
        for &row in rows {
            values.extend_from_slice(self.read(row));
        }
        values
    }
}

/// Transitions in row-major arrays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transitions {
    /// Observations, `[n, observation_dim]`.
    pub observations: Vec<f32>,
    /// Actions as the agent chose them, `[n, action_dim]`.
    pub actions: Vec<f32>,
    /// Raw rewards, `[n]`.
    pub rewards: Vec<f32>,
    /// True next observations, never those after a reset, `[n, observation_dim]`.
    pub next_observations: Vec<f32>,
    /// 1 where the episode terminated, else 0 (also where it was truncated), `[n]`.
    pub terminated: Vec<f32>,
}

/// How many transitions a run collects, with its policy and without updates, before it goes on
/// from a checkpoint without the replay buffer, which held `held`: as many as before its first
/// update, at least a batch, and no more than it had.
pub fn refill_target(training: &TrainingConfig, capacity: u64, held: u64) -> u64 {
    let begun = training.warmup_steps.max(training.batch_size as u64);
    begun.min(capacity).min(held)
}

/// One transition, to be stored.
#[derive(Debug, Clone, Copy)]
pub struct Transition<'a> {
    /// Observation, `[observation_dim]`.
    pub observation: &'a [f32],
    /// Action as the agent chose it, `[action_dim]`.
    pub action: &'a [f32],
    /// Raw reward.
    pub reward: f32,
    /// True next observation, `[observation_dim]`.
    pub next_observation: &'a [f32],
    /// Whether the episode terminated (truncation does not count).
    pub terminated: bool,
}

/// A ring of at most `capacity` transitions; the oldest is overwritten first.
#[derive(Debug, Clone)]
pub struct Replay {
    capacity: usize,
    len: usize,
    /// Transitions stored so far, those that were overwritten included. Number `n` lies in row
    /// `n % capacity`.
    stored: u64,
    observations: Column,
    actions: Column,
    rewards: Column,
    next_observations: Column,
    terminated: Column,
}

impl Replay {
    /// An empty buffer for `capacity` (at least 1) transitions. Memory is taken as it fills.
    pub fn new(capacity: usize, observation_dim: usize, action_dim: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            len: 0,
            stored: 0,
            observations: Column::new(observation_dim),
            actions: Column::new(action_dim),
            rewards: Column::new(1),
            next_observations: Column::new(observation_dim),
            terminated: Column::new(1),
        }
    }

    /// An empty buffer that goes on as if `first` transitions had been stored and overwritten.
    pub fn beginning_at(
        first: u64,
        capacity: usize,
        observation_dim: usize,
        action_dim: usize,
    ) -> Self {
        Self {
            stored: first,
            ..Self::new(capacity, observation_dim, action_dim)
        }
    }

    /// What a checkpoint says of a buffer that is not stored.
    pub const fn not_stored(&self) -> ReplayReference {
        ReplayReference {
            stored: self.stored,
            held: self.len as u64,
            segments: Vec::new(),
        }
    }

    /// Number of transitions held.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been stored yet.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of transitions ever stored. Those held are numbered `stored() - len()` to
    /// `stored() - 1`.
    pub const fn stored(&self) -> u64 {
        self.stored
    }

    /// Stores a transition.
    ///
    /// # Panics
    /// When a slice has another length than the dimensions given to [`Replay::new`].
    pub fn push(&mut self, transition: Transition<'_>) {
        let row = (self.stored % self.capacity as u64) as usize;
        self.observations.write(row, transition.observation);
        self.actions.write(row, transition.action);
        self.rewards.write(row, &[transition.reward]);
        self.next_observations
            .write(row, transition.next_observation);
        self.terminated
            .write(row, &[f32::from(u8::from(transition.terminated))]);
        self.stored += 1;
        self.len = (self.len + 1).min(self.capacity);
    }

    /// Stores a transition that was written as a record (see [`Records::values`]).
    pub fn push_record(&mut self, values: &[f32]) {
        let (observation, rest) = values.split_at(self.observations.width);
        let (action, rest) = rest.split_at(self.actions.width);
        let (reward, rest) = rest.split_at(1);
        let (next_observation, terminated) = rest.split_at(self.next_observations.width);
        self.push(Transition {
            observation,
            action,
            reward: reward[0],
            next_observation,
            terminated: terminated[0] != 0.0,
        });
    }

    /// The transitions in the given rows (each below [`Replay::len`]), in that order.
    pub fn gather(&self, rows: &[usize]) -> Transitions {
        Transitions {
            observations: self.observations.gather(rows),
            actions: self.actions.gather(rows),
            rewards: self.rewards.gather(rows),
            next_observations: self.next_observations.gather(rows),
            terminated: self.terminated.gather(rows),
        }
    }
}

impl Records for Replay {
    fn stored(&self) -> u64 {
        self.stored
    }

    fn held(&self) -> u64 {
        self.len as u64
    }

    fn capacity(&self) -> u64 {
        self.capacity as u64
    }

    fn values(&self, number: u64) -> impl Iterator<Item = f32> {
        let row = (number % self.capacity as u64) as usize;
        [
            &self.observations,
            &self.actions,
            &self.rewards,
            &self.next_observations,
            &self.terminated,
        ]
        .into_iter()
        .flat_map(move |column| column.read(row).iter().copied())
    }
}

/// Draws rows uniformly with replacement, as a function of the run's seed and a counter alone.
#[derive(Debug, Clone, Copy)]
pub struct Sampler(NoiseKey);

impl Sampler {
    /// The sampler of the run with this seed (stream "replay").
    pub fn new(seed: u64) -> Self {
        Self(NoiseKey::new(seed, "replay"))
    }

    /// `count` rows below `len` (which must not be 0) for the update number `update`.
    pub fn rows(self, count: usize, len: usize, update: u64) -> Vec<usize> {
        // The counter wraps after 2^32 updates, thousands of times more than runs make.
        (0..count)
            .map(|i| self.0.index(i as u32, update as u32, len as u64) as usize)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Stores transition number `i`, whose entries all follow from `i`.
    fn push_numbered(replay: &mut Replay, i: usize) {
        let x = i as f32;
        replay.push(Transition {
            observation: &[x, x + 0.25],
            action: &[-x],
            reward: 2.0 * x,
            next_observation: &[x + 1.0, x + 1.25],
            terminated: i.is_multiple_of(3),
        });
    }

    proptest! {
        /// After n pushes the buffer holds exactly the last min(n, capacity), each intact.
        #[test]
        fn the_ring_holds_the_latest_transitions(capacity in 1usize..40, pushes in 0usize..120) {
            let mut replay = Replay::new(capacity, 2, 1);
            for i in 0..pushes {
                push_numbered(&mut replay, i);
            }
            prop_assert_eq!(replay.len(), pushes.min(capacity));
            let rows: Vec<_> = (0..replay.len()).collect();
            let all = replay.gather(&rows);
            let mut numbers: Vec<_> = all.observations.chunks(2).map(|o| o[0] as usize).collect();
            for (row, &i) in numbers.iter().enumerate() {
                let x = i as f32;
                prop_assert_eq!(&all.observations[2 * row..2 * row + 2], &[x, x + 0.25]);
                prop_assert_eq!(&all.actions[row..=row], &[-x]);
                prop_assert_eq!(&all.rewards[row..=row], &[2.0 * x]);
                prop_assert_eq!(&all.next_observations[2 * row..2 * row + 2], &[x + 1.0, x + 1.25]);
                let terminated = if i.is_multiple_of(3) { 1.0 } else { 0.0 };
                prop_assert_eq!(&all.terminated[row..=row], &[terminated]);
            }
            numbers.sort_unstable();
            let expected: Vec<_> = (pushes - replay.len()..pushes).collect();
            prop_assert_eq!(numbers, expected);
        }

        /// Draws are in range, repeatable, and another update draws others.
        #[test]
        fn rows_are_a_function_of_seed_and_update(seed: u64, len in 1usize..1_000_000, update in 0u64..1_000_000) {
            let rows = Sampler::new(seed).rows(64, len, update);
            prop_assert!(rows.iter().all(|&row| row < len));
            prop_assert_eq!(&rows, &Sampler::new(seed).rows(64, len, update));
            if len > 1000 {
                // Equal by chance with probability below 1000^-64.
                prop_assert_ne!(&rows, &Sampler::new(seed).rows(64, len, update + 1));
            }
        }
    }

    #[test]
    fn records_come_back() {
        let (mut replay, mut copy) = (Replay::new(3, 2, 1), Replay::beginning_at(2, 3, 2, 1));
        for i in 0..5 {
            push_numbered(&mut replay, i);
        }
        for number in 2..5 {
            copy.push_record(&replay.values(number).collect::<Vec<_>>());
        }
        let rows = [0, 1, 2];
        assert_eq!(copy.gather(&rows), replay.gather(&rows));
        assert_eq!((copy.stored(), copy.held()), (5, 3));
    }

    #[test]
    fn blocks_are_allocated_only_when_reached() {
        let mut replay = Replay::new(1_000_000_000, 2, 1);
        for i in 0..=BLOCK_ROWS {
            push_numbered(&mut replay, i);
        }
        assert_eq!(replay.observations.blocks.len(), 2);
        assert_eq!(replay.gather(&[BLOCK_ROWS]).actions, [-(BLOCK_ROWS as f32)]);
    }

    #[test]
    fn draws_are_uniform() {
        let (len, count) = (10, 256);
        let mut hits = vec![0.0; len];
        for update in 0..400 {
            for row in Sampler::new(7).rows(count, len, update) {
                hits[row] += 1.0;
            }
        }
        // Chi-squared with 9 degrees of freedom exceeds 33.7 with probability 1e-4.
        let expected = (400 * count / len) as f64;
        let chi2: f64 = hits
            .iter()
            .map(|h: &f64| (h - expected).powi(2) / expected)
            .sum();
        assert!(chi2 < 33.7, "chi-squared is {chi2}");
    }
}
