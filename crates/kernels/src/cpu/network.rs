//! A network on a tile of rows that stays in cache through all of its layers.

use rayon::prelude::*;

use super::{
    InstructionSet,
    buffer::{Buffer, Plain},
    compiled::compiled,
    precision::{Format, Precision, Single},
    product::{Matrix, Packed, Rows, Start, product},
    simd::Lanes,
};

/// A layer's weights `[depth, columns]` and bias `[columns]`.
#[derive(Clone, Copy)]
pub(crate) struct LayerView<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) dims: [usize; 2],
}

impl<'a> LayerView<'a> {
    pub(super) fn matrix(&self) -> Matrix<'a> {
        Matrix::new(self.weight, self.dims)
    }
}

/// Registers that a panel of a hidden layer is wide; the output layer, often narrow, has one.
pub(super) const VECTORS: usize = 2;

pub(super) struct PackedLayer<V> {
    pub(super) weights: Packed<V>,
    pub(super) bias: Buffer<f32>,
}

impl<V: Plain> PackedLayer<V> {
    pub(super) fn new<F: Format<Value = V>>(layer: &LayerView<'_>, width: usize) -> Self {
        let weights = Packed::new::<F>(layer.matrix(), width);
        let bias = Buffer::padded(layer.bias, weights.padded());
        Self { weights, bias }
    }
}

/// A network whose first layer is put together from parts: the observation's part of it is
/// computed once a state ([`observation_part`]), the action's part here.
pub(super) struct PackedNetwork<V> {
    action_weight: Packed<f32>,
    hidden: Vec<PackedLayer<V>>,
    output: PackedLayer<V>,
}

impl<V: Plain> PackedNetwork<V> {
    /// Packs the action's rows of layer 1 and the layers `rest` after it.
    ///
    /// # Panics
    /// Without any layer in `rest`.
    pub(super) fn new<F: Format<Value = V>>(
        set: InstructionSet,
        action_weight: Matrix<'_>,
        rest: &[LayerView<'_>],
    ) -> Self {
        let width = VECTORS * set.lanes();
        let Some((output, hidden)) = rest.split_last() else {
            panic!("a network needs a hidden layer: its first layer cannot be its output");
        };
        Self {
            action_weight: Packed::new::<Single>(action_weight, width),
            hidden: hidden
                .iter()
                .map(|layer| PackedLayer::new::<F>(layer, width))
                .collect(),
            output: PackedLayer::new::<F>(output, set.lanes()),
        }
    }

    /// Width of layer 1, filled up to whole panels.
    pub(super) fn first_padded(&self) -> usize {
        self.action_weight.padded()
    }

    /// Width of the output, filled up to whole registers.
    pub(super) fn output_padded(&self) -> usize {
        self.output.weights.padded()
    }

    /// Values a row that [`PackedNetwork::forward`] needs in each of its work spaces.
    pub(super) fn widest(&self) -> usize {
        let hidden = self.hidden.iter().map(|layer| layer.weights.padded());
        hidden.fold(self.first_padded(), usize::max)
    }

    /// The outputs of `rows` actions `x`, `[rows, action_dim]`, with layer 1 starting from
    /// `first`; `output` has rows of `output_padded` values. `front` and `back` are work space.
    ///
    /// # Safety
    /// As for [`Lanes`].
    #[inline(always)]
    pub(super) unsafe fn forward<L: Lanes, P: Precision<L, Value = V>, const ROWS: usize>(
        &self,
        x: &Rows<'_, f32>,
        rows: usize,
        first: &Start<'_>,
        [mut front, mut back]: [&mut Buffer<V>; 2],
        output: &mut [f32],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let weights = &self.action_weight;
            product::<L, Single, P, ROWS, VECTORS, true, false>(x, rows, weights, first, front);
            let mut stride = self.first_padded();
            for PackedLayer { weights, bias } in &self.hidden {
                let input = Rows {
                    values: front,
                    stride,
                };
                let start = Start::Bias(bias);
                product::<L, P, P, ROWS, VECTORS, true, false>(&input, rows, weights, &start, back);
                (front, back) = (back, front);
                stride = weights.padded();
            }
            let input = Rows {
                values: front,
                stride,
            };
            let PackedLayer { weights, bias } = &self.output;
            let start = Start::Bias(bias);
            product::<L, P, Single, ROWS, 1, false, false>(&input, rows, weights, &start, output);
        }
    }
}

/// `observations * weight`, `[states, padded]` with `padded` the width that panels of the hidden
/// layers give. `weight` is `[observation_dim, hidden]`.
pub(super) fn observation_part(
    set: InstructionSet,
    observations: &[f32],
    states: usize,
    weight: Matrix<'_>,
) -> Buffer<f32> {
    let depth = weight.depth;
    let weights = Packed::new::<Single>(weight, VECTORS * set.lanes());
    let padded = weights.padded();
    let mut result = Buffer::new(states * padded);
    let tile = 8 * set.block_rows();
    result
        .par_chunks_mut((tile * padded).max(1))
        .enumerate()
        .for_each(|(index, sums)| {
            let rows = sums.len() / padded;
            let observations = &observations[index * tile * depth..][..rows * depth];
            states_tile(set, observations, &weights, sums);
        });
    result
}

compiled! {
    /// `sums = observations * weights` for as many rows as `sums` has.
    fn states_tile(observations: &[f32], weights: &Packed<f32>, sums: &mut [f32]) = states;
}

/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn states<L: Lanes, const ROWS: usize>(
    observations: &[f32],
    weights: &Packed<f32>,
    sums: &mut [f32],
) {
    let (stride, padded) = (weights.depth(), weights.padded());
    let rows = sums.len() / padded;
    // The product works on whole blocks of rows: the last is filled up aside.
    let whole = rows / ROWS * ROWS;
    let input = Buffer::padded(&observations[whole * stride..], ROWS * stride);
    let mut output = Buffer::new(ROWS * padded);
    // SAFETY: the caller's promise.
    unsafe {
        let blocks = Rows {
            values: &observations[..whole * stride],
            stride,
        };
        product::<L, Single, Single, ROWS, VECTORS, false, false>(
            &blocks,
            whole,
            weights,
            &Start::Zero,
            sums,
        );
        let last = Rows {
            values: &input,
            stride,
        };
        product::<L, Single, Single, ROWS, VECTORS, false, false>(
            &last,
            ROWS,
            weights,
            &Start::Zero,
            &mut output,
        );
    }
    let rest = &mut sums[whole * padded..];
    let length = rest.len();
    rest.copy_from_slice(&output[..length]);
}
