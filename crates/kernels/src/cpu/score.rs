//! Scoring actions by the smallest or the mean of several critics, fused.

use rayon::prelude::*;

use super::{
    InstructionSet,
    buffer::Buffer,
    compiled::compiled,
    network::{LayerView, PackedNetwork, observation_part},
    precision::Single,
    product::{Matrix, Rows, Start},
    simd::Lanes,
};
use crate::Combine;

/// A critic with its weights packed and the observations' part of its layer 1 computed.
struct Critic {
    /// `[states, padded hidden]`.
    per_state: Buffer<f32>,
    /// Bias of layer 1, `[padded hidden]`.
    bias: Buffer<f32>,
    network: PackedNetwork<f32>,
}

impl Critic {
    fn new(
        set: InstructionSet,
        layers: &[LayerView<'_>],
        observations: &[f32],
        states: usize,
        action_dim: usize,
    ) -> Self {
        let (first, rest) = (&layers[0], &layers[1..]);
        let [depth, hidden] = first.dims;
        let observation_dim = depth - action_dim;
        let (of_observation, of_action) = first.weight.split_at(observation_dim * hidden);
        let of_observation = Matrix::new(of_observation, [observation_dim, hidden]);
        let of_action = Matrix::new(of_action, [action_dim, hidden]);
        let network = PackedNetwork::new::<Single>(set, of_action, rest);
        Self {
            per_state: observation_part(set, observations, states, of_observation),
            bias: Buffer::padded(first.bias, network.first_padded()),
            network,
        }
    }
}

/// Critics, ready to score actions.
struct Scorer {
    critics: Vec<Critic>,
    combine: Combine,
    action_dim: usize,
}

impl Scorer {
    /// From the layers of each critic, the first `[observation_dim + action_dim, hidden]`, and
    /// `observations` `[states, observation_dim]`.
    fn new(
        set: InstructionSet,
        critics: &[Vec<LayerView<'_>>],
        combine: Combine,
        observations: &[f32],
        states: usize,
        action_dim: usize,
    ) -> Self {
        let critic = |layers: &Vec<_>| Critic::new(set, layers, observations, states, action_dim);
        Self {
            critics: critics.iter().map(critic).collect(),
            combine,
            action_dim,
        }
    }

    /// The combined value, NaN if one of them is, of the first `scores.len()` rows of `actions`, which
    /// has `state_of.len()` rows, a multiple of `ROWS`.
    ///
    /// # Safety
    /// As for [`Lanes`].
    #[inline(always)]
    unsafe fn score<L: Lanes, const ROWS: usize>(
        &self,
        actions: &[f32],
        state_of: &[u32],
        scores: &mut [f32],
    ) {
        let rows = state_of.len();
        let input = Rows {
            values: actions,
            stride: self.action_dim,
        };
        scores.fill(match self.combine {
            Combine::Min => f32::INFINITY,
            Combine::Mean => 0.0,
        });
        for critic in &self.critics {
            let widest = critic.network.widest();
            let (mut front, mut back) = (Buffer::new(rows * widest), Buffer::new(rows * widest));
            let width = critic.network.output_padded();
            let mut output = Buffer::<f32>::new(rows * width);
            let first = Start::PerState {
                per_state: &critic.per_state,
                state_of,
                bias: &critic.bias,
            };
            let work = [&mut front, &mut back];
            // SAFETY: the caller's promise.
            unsafe {
                critic
                    .network
                    .forward::<L, Single, ROWS>(&input, rows, &first, work, &mut output);
            }
            for (score, q) in scores.iter_mut().zip(output.chunks_exact(width)) {
                match self.combine {
                    // written so that NaN is kept
                    Combine::Min if q[0] < *score || q[0].is_nan() => *score = q[0],
                    Combine::Min => {}
                    Combine::Mean => *score += q[0],
                }
            }
        }
        if self.combine == Combine::Mean {
            let count = self.critics.len() as f32;
            for score in scores {
                *score /= count;
            }
        }
    }
}

/// The combined value of the critics for `particles` actions a state: `actions` `[states, particles,
/// action_dim]`, result `[states, particles]`. Otherwise as [`Scorer::new`].
pub(crate) fn score(
    set: InstructionSet,
    critics: &[Vec<LayerView<'_>>],
    combine: Combine,
    observations: &[f32],
    actions: &[f32],
    [states, particles, action_dim]: [usize; 3],
) -> Vec<f32> {
    let rows = states * particles;
    let mut scores = vec![0.0; rows];
    if scores.is_empty() {
        return scores;
    }
    let scorer = Scorer::new(set, critics, combine, observations, states, action_dim);
    let tile_rows = set.tile_rows(rows);
    scores
        .par_chunks_mut(tile_rows)
        .enumerate()
        .for_each(|(index, scores)| {
            let first_row = index * tile_rows;
            let actions = &actions[first_row * action_dim..][..scores.len() * action_dim];
            tile(set, &scorer, first_row, particles, actions, scores);
        });
    scores
}

compiled! {
    /// Scores of the rows from `first_row` on.
    fn tile(
        scorer: &Scorer, first_row: usize, particles: usize, actions: &[f32], scores: &mut [f32],
    ) = score_tile;
}

/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn score_tile<L: Lanes, const ROWS: usize>(
    scorer: &Scorer,
    first_row: usize,
    particles: usize,
    actions: &[f32],
    scores: &mut [f32],
) {
    let rows = scores.len();
    let block_rows = rows.next_multiple_of(ROWS);
    let padded = Buffer::padded(actions, block_rows * scorer.action_dim);
    let mut state_of = Buffer::<u32>::new(block_rows);
    for (row, state) in state_of.iter_mut().enumerate() {
        // The rows that fill the tile up are those of the last state once more.
        *state = ((first_row + row.min(rows - 1)) / particles) as u32;
    }
    // SAFETY: the caller's promise.
    unsafe { scorer.score::<L, ROWS>(&padded, &state_of, scores) }
}
