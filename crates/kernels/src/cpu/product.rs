//! Products of rows with packed weights.

use super::simd::{Lanes, mish};

/// A weight matrix `[depth, columns]` cut into panels of `width` columns, each stored row by row
/// and filled up with zeros, so that the inner loop reads memory in order.
pub(super) struct Packed {
    panels: Vec<f32>,
    depth: usize,
    width: usize,
    /// Number of panels.
    count: usize,
}

impl Packed {
    pub(super) fn new(weights: &[f32], [depth, columns]: [usize; 2], width: usize) -> Self {
        assert_eq!(weights.len(), depth * columns);
        let count = columns.div_ceil(width);
        let mut panels = vec![0.0; count * depth * width];
        if depth > 0 {
            for (index, panel) in panels.chunks_exact_mut(depth * width).enumerate() {
                let first = index * width;
                let last = columns.min(first + width);
                for (row, packed) in panel.chunks_exact_mut(width).enumerate() {
                    packed[..last - first].copy_from_slice(&weights[row * columns..][first..last]);
                }
            }
        }
        Self {
            panels,
            depth,
            width,
            count,
        }
    }

    /// Columns of the result, filled up to whole panels.
    pub(super) fn padded(&self) -> usize {
        self.count * self.width
    }
}

/// `values` filled up with zeros to `length`.
pub(super) fn padded(values: &[f32], length: usize) -> Vec<f32> {
    let mut padded = values.to_vec();
    padded.resize(length, 0.0);
    padded
}

/// Where a product starts from.
pub(super) enum Start<'a> {
    /// One bias for all rows, as wide as the padded result.
    Bias(&'a [f32]),
    /// For row `r` the sum of `per_state[state_of[r]]` and `bias`, both as wide as the padded
    /// result.
    PerState {
        per_state: &'a [f32],
        state_of: &'a [usize],
        bias: &'a [f32],
    },
}

/// `output = start + input * weights`, then Mish where `MISH`.
///
/// `input` has `rows` rows of `input_stride` values, of which the first `weights.depth` count;
/// `output` rows of `weights.padded()` values. `rows` must be a multiple of `ROWS`, the panels'
/// width `VECTORS` registers.
///
/// The panel is the outer loop: it stays in the first-level cache while all rows pass by.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
pub(super) unsafe fn product<
    L: Lanes,
    const ROWS: usize,
    const VECTORS: usize,
    const MISH: bool,
>(
    input: &[f32],
    input_stride: usize,
    rows: usize,
    weights: &Packed,
    start: &Start<'_>,
    output: &mut [f32],
) {
    let (depth, width, stride) = (weights.depth, weights.width, weights.padded());
    // What the pointers below rely on.
    assert!(rows.is_multiple_of(ROWS) && width == VECTORS * L::COUNT);
    assert!(input_stride >= depth && input.len() >= rows * input_stride);
    assert!(output.len() >= rows * stride);
    match start {
        Start::Bias(bias) => assert!(bias.len() >= stride),
        Start::PerState {
            per_state,
            state_of,
            bias,
        } => {
            assert!(bias.len() >= stride && state_of.len() >= rows);
            let states = per_state.len() / stride;
            assert!(state_of[..rows].iter().all(|state| *state < states));
        }
    }
    for panel in 0..weights.count {
        let column = panel * width;
        let packed = &weights.panels[panel * depth * width..][..depth * width];
        for row in (0..rows).step_by(ROWS) {
            // SAFETY: all reads and writes lie in the slices, by the assertions above: rows up to
            // `rows`, columns `column..column + width` below `stride`, `k` below `depth`.
            unsafe {
                let mut sums = [[L::splat(0.0); VECTORS]; ROWS];
                for (m, sums) in sums.iter_mut().enumerate() {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        let offset = column + v * L::COUNT;
                        *sum = match start {
                            Start::Bias(bias) => L::load(bias.as_ptr().add(offset)),
                            Start::PerState {
                                per_state,
                                state_of,
                                bias,
                            } => {
                                let state = *state_of.get_unchecked(row + m);
                                let of_state = per_state.as_ptr().add(state * stride + offset);
                                L::load(of_state).add(L::load(bias.as_ptr().add(offset)))
                            }
                        };
                    }
                }
                let first = input.as_ptr().add(row * input_stride);
                let mut weight = packed.as_ptr();
                for k in 0..depth {
                    let mut w = [L::splat(0.0); VECTORS];
                    for (v, w) in w.iter_mut().enumerate() {
                        *w = L::load(weight.add(v * L::COUNT));
                    }
                    weight = weight.add(width);
                    for (m, sums) in sums.iter_mut().enumerate() {
                        let x = L::splat(*first.add(m * input_stride + k));
                        for (sum, w) in sums.iter_mut().zip(w) {
                            *sum = x.mul_add(w, *sum);
                        }
                    }
                }
                for (m, sums) in sums.iter().enumerate() {
                    let to = output.as_mut_ptr().add((row + m) * stride + column);
                    for (v, sum) in sums.iter().enumerate() {
                        let value = if MISH { mish(*sum) } else { *sum };
                        value.store(to.add(v * L::COUNT));
                    }
                }
            }
        }
    }
}
