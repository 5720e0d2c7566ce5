//! Products of rows with packed weights.

use rayon::prelude::*;

use super::{
    buffer::{Buffer, Plain},
    precision::{Format, Precision},
    simd::Lanes,
};

/// A matrix `[depth, columns]` to be packed.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) depth: usize,
    pub(super) columns: usize,
    /// `values` are those of the transposed matrix, `[columns, depth]`.
    pub(super) transposed: bool,
}

impl<'a> Matrix<'a> {
    pub(super) fn new(values: &'a [f32], [depth, columns]: [usize; 2]) -> Self {
        assert_eq!(values.len(), depth * columns);
        Self {
            values,
            depth,
            columns,
            transposed: false,
        }
    }

    pub(super) fn transposed(values: &'a [f32], [columns, depth]: [usize; 2]) -> Self {
        Self {
            transposed: true,
            ..Self::new(values, [depth, columns])
        }
    }

    /// Row `k` of the columns `first..` into `packed`, whose places are `step` apart.
    #[inline(always)]
    fn copy_row<V>(
        &self,
        k: usize,
        first: usize,
        packed: &mut [V],
        step: usize,
        round: fn(f32) -> V,
    ) {
        let count = packed.len().div_ceil(step).min(self.columns - first);
        let places = packed.iter_mut().step_by(step);
        if self.transposed {
            let column = self.values[first * self.depth + k..]
                .iter()
                .step_by(self.depth);
            places
                .zip(column.take(count))
                .for_each(|(to, w)| *to = round(*w));
        } else {
            let row = &self.values[k * self.columns + first..][..count];
            places.zip(row).for_each(|(to, w)| *to = round(*w));
        }
    }
}

/// A weight matrix cut into panels of `width` columns, each stored in the order in which the
/// product reads it: groups of the depth, in each the columns, in each the group's values. What
/// the matrix does not fill is zero.
pub(super) struct Packed<V> {
    panels: Buffer<V>,
    /// A multiple of the precision's group.
    depth: usize,
    width: usize,
    /// Number of panels.
    count: usize,
}

impl<V: Plain> Packed<V> {
    /// Packs `matrix` in panels of `width` columns.
    pub(super) fn new<F: Format<Value = V>>(matrix: Matrix<'_>, width: usize) -> Self {
        let depth = matrix.depth.next_multiple_of(F::GROUP);
        let count = matrix.columns.div_ceil(width);
        let mut panels = Buffer::new(count * depth * width);
        if depth > 0 {
            let pack = |(index, panel): (usize, &mut [V])| {
                panel.fill(V::default());
                for (group, values) in panel.chunks_exact_mut(F::GROUP * width).enumerate() {
                    for place in 0..F::GROUP.min(matrix.depth - group * F::GROUP) {
                        let k = group * F::GROUP + place;
                        matrix.copy_row(k, index * width, &mut values[place..], F::GROUP, F::round);
                    }
                }
            };
            panels
                .par_chunks_exact_mut(depth * width)
                .enumerate()
                .for_each(pack);
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

    /// Depth, filled up to whole groups.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }
}

/// The left factor, `[rows, depth]`.
pub(super) struct Rows<'a, V> {
    pub(super) values: &'a [V],
    /// From one row to the next; from one value of the depth to the next where the matrix is
    /// stored transposed.
    pub(super) stride: usize,
}

/// Where a product starts from.
pub(super) enum Start<'a> {
    /// Zero.
    Zero,
    /// One bias for all rows, as wide as the padded result.
    Bias(&'a [f32]),
    /// For row `r` the sum of `per_state[state_of[r]]` and `bias`, both as wide as the padded
    /// result.
    PerState {
        per_state: &'a [f32],
        state_of: &'a [u32],
        bias: &'a [f32],
    },
}

/// `output = start + input * weights`, then Mish where `MISH`; rounded as `Q` holds it.
///
/// `input` has `rows` rows, stored transposed where `TRANSPOSED`; `output` has rows of
/// `weights.padded()` values. `rows` must be a multiple of `ROWS`, the panels' width `VECTORS`
/// registers.
///
/// The panel is the outer loop: it stays in the nearest caches while all rows pass by.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
pub(super) unsafe fn product<
    L: Lanes,
    P: Precision<L>,
    Q: Precision<L>,
    const ROWS: usize,
    const VECTORS: usize,
    const MISH: bool,
    const TRANSPOSED: bool,
>(
    input: &Rows<'_, P::Value>,
    rows: usize,
    weights: &Packed<P::Value>,
    start: &Start<'_>,
    output: &mut [Q::Value],
) {
    let (depth, width, padded) = (weights.depth, weights.width, weights.padded());
    // What the pointers below rely on.
    assert!(rows.is_multiple_of(ROWS) && width == VECTORS * L::COUNT);
    assert!(depth.is_multiple_of(P::GROUP) && (!TRANSPOSED || P::GROUP == 1));
    let (outer, inner) = if TRANSPOSED {
        (depth, rows)
    } else {
        (rows, depth)
    };
    assert!(input.stride >= inner);
    assert!(outer == 0 || input.values.len() >= (outer - 1) * input.stride + inner);
    assert!(output.len() >= rows * padded);
    match start {
        Start::Zero => {}
        Start::Bias(bias) => assert!(bias.len() >= padded),
        Start::PerState {
            per_state,
            state_of,
            bias,
        } => {
            assert!(bias.len() >= padded && state_of.len() >= rows);
            let states = per_state.len() / padded;
            assert!(
                state_of[..rows]
                    .iter()
                    .all(|state| (*state as usize) < states)
            );
        }
    }
    let (row_step, depth_step) = if TRANSPOSED {
        (1, input.stride)
    } else {
        (input.stride, 1)
    };
    for panel in 0..weights.count {
        let column = panel * width;
        let packed = &weights.panels[panel * depth * width..][..depth * width];
        for row in (0..rows).step_by(ROWS) {
            // SAFETY: all reads and writes lie in the slices, by the assertions above: rows up to
            // `rows`, columns `column..column + width` below `padded`, groups below `depth`.
            unsafe {
                let mut sums = [[L::splat(0.0); VECTORS]; ROWS];
                for (m, sums) in sums.iter_mut().enumerate() {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        let offset = column + v * L::COUNT;
                        match start {
                            Start::Zero => {}
                            Start::Bias(bias) => *sum = L::load(bias.as_ptr().add(offset)),
                            Start::PerState {
                                per_state,
                                state_of,
                                bias,
                            } => {
                                let state = *state_of.get_unchecked(row + m) as usize;
                                let of_state = per_state.as_ptr().add(state * padded + offset);
                                *sum = L::load(of_state).add(L::load(bias.as_ptr().add(offset)));
                            }
                        }
                    }
                }
                let mut factor = input.values.as_ptr().add(row * row_step);
                let mut weight = packed.as_ptr();
                for _ in 0..depth / P::GROUP {
                    let mut w = [P::load(weight); VECTORS];
                    for (v, w) in w.iter_mut().enumerate().skip(1) {
                        *w = P::load(weight.add(v * L::COUNT * P::GROUP));
                    }
                    weight = weight.add(width * P::GROUP);
                    for (m, sums) in sums.iter_mut().enumerate() {
                        let x = P::broadcast(factor.add(m * row_step));
                        for (sum, w) in sums.iter_mut().zip(w) {
                            *sum = P::multiply_add(x, w, *sum);
                        }
                    }
                    factor = factor.add(depth_step * P::GROUP);
                }
                for (m, sums) in sums.iter().enumerate() {
                    let to = output.as_mut_ptr().add((row + m) * padded + column);
                    for (v, sum) in sums.iter().enumerate() {
                        let value = if MISH { Q::mish(*sum) } else { *sum };
                        Q::store(value, to.add(v * L::COUNT));
                    }
                }
            }
        }
    }
}
