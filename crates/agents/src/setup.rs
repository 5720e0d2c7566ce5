//! What an agent is built for.

use burn::tensor::backend::Backend;

use crate::Pace;

/// What an agent is built for.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a, B: Backend> {
    /// Widths of an observation and of an action.
    pub dims: [usize; 2],
    /// Seed of all random streams.
    pub seed: u64,
    /// Updates of the whole run, of which schedules are fractions.
    pub updates: u64,
    /// What the training loop does, from which time constants in environment steps are derived.
    pub pace: Pace,
    /// Where the tensors live.
    pub device: &'a B::Device,
}
