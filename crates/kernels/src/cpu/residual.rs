//! Scoring actions by residual critics, fused: a tile of rows stays in cache through all layers.

use rayon::prelude::*;

use super::{
    InstructionSet,
    buffer::Buffer,
    compiled::compiled,
    network::{LayerView, PackedLayer, VECTORS},
    precision::Single,
    product::{Packed, Rows, Start, product},
    rows::{expectations, layer_norm},
    simd::Lanes,
};
use crate::{Combine, categorical::Atoms};

/// Rows of a tile: its widest activations, four times the width of the stream, stay in the
/// second-level cache.
const TILE: usize = 48;

/// Scale and shift of a norm.
pub(crate) type NormOf<'a> = [&'a [f32]; 2];

/// The weights of one member.
pub(crate) struct ResidualOf<'a> {
    pub(crate) input: LayerView<'a>,
    pub(crate) blocks: Vec<(NormOf<'a>, [LayerView<'a>; 2])>,
    pub(crate) norm: NormOf<'a>,
    pub(crate) head: LayerView<'a>,
    pub(crate) epsilon: f32,
}

/// A member with its weights packed.
struct PackedResidual<'a> {
    input: PackedLayer<f32>,
    blocks: Vec<(NormOf<'a>, [PackedLayer<f32>; 2])>,
    norm: NormOf<'a>,
    head: PackedLayer<f32>,
    outputs: usize,
    epsilon: f32,
}

impl<'a> PackedResidual<'a> {
    fn new(set: InstructionSet, of: &ResidualOf<'a>) -> Self {
        let pack = |layer: &LayerView<'a>| PackedLayer::new::<Single>(layer, VECTORS * set.lanes());
        let blocks = of.blocks.iter();
        Self {
            input: pack(&of.input),
            blocks: blocks
                .map(|(norm, layers)| (*norm, layers.each_ref().map(pack)))
                .collect(),
            norm: of.norm,
            head: pack(&of.head),
            outputs: of.head.dims[1],
            epsilon: of.epsilon,
        }
    }
}

/// Whether the kernel takes a network whose stream and blocks have these widths: rows of the stream
/// fill whole panels, so that a norm reads them as they lie.
pub(crate) fn can_score(set: InstructionSet, widths: &[usize]) -> bool {
    let panel = VECTORS * set.lanes();
    widths.iter().all(|width| width.is_multiple_of(panel))
}

/// The combined value of the critics for every row of `x`, `[rows, depth]`; NaN where one is.
pub(crate) fn score(
    set: InstructionSet,
    critics: &[ResidualOf<'_>],
    atoms: Option<Atoms>,
    combine: Combine,
    x: &[f32],
    depth: usize,
) -> Vec<f32> {
    let packed: Vec<_> = critics
        .iter()
        .map(|of| PackedResidual::new(set, of))
        .collect();
    let rows = x.len() / depth.max(1);
    let mut scores = vec![0.0; rows];
    let tile = TILE / set.block_rows() * set.block_rows();
    scores
        .par_chunks_mut(tile)
        .zip(x.par_chunks(tile * depth))
        .for_each(|(scores, x)| {
            scores.fill(match combine {
                Combine::Min => f32::INFINITY,
                Combine::Mean => 0.0,
            });
            let mut values = Buffer::<f32>::new(scores.len());
            for critic in &packed {
                values_of(set, critic, atoms, x, &mut values);
                for (score, q) in scores.iter_mut().zip(values.iter()) {
                    match combine {
                        Combine::Min if *q < *score || q.is_nan() => *score = *q,
                        Combine::Min => {}
                        Combine::Mean => *score += *q,
                    }
                }
            }
            if combine == Combine::Mean {
                for score in scores {
                    *score /= packed.len() as f32;
                }
            }
        });
    scores
}

compiled! {
    /// Values of as many rows as `values` has.
    fn values_of(
        critic: &PackedResidual<'_>, atoms: Option<Atoms>, x: &[f32], values: &mut [f32],
    ) = values_of_tile;
}

/// `output = input * weights + bias`, all rows whole blocks and panels.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn linear<L: Lanes, const ROWS: usize>(
    input: &[f32],
    rows: usize,
    layer: &PackedLayer<f32>,
    output: &mut [f32],
) {
    let weights: &Packed<f32> = &layer.weights;
    let input = Rows {
        values: input,
        stride: weights.depth(),
    };
    let start = Start::Bias(&layer.bias);
    // SAFETY: the caller's promise.
    unsafe {
        product::<L, Single, Single, ROWS, VECTORS, false, false>(
            &input, rows, weights, &start, output,
        );
    }
}

/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn values_of_tile<L: Lanes, const ROWS: usize>(
    critic: &PackedResidual<'_>,
    atoms: Option<Atoms>,
    x: &[f32],
    values: &mut [f32],
) {
    let count = values.len();
    let rows = count.next_multiple_of(ROWS);
    let x = Buffer::padded(x, rows * critic.input.weights.depth());
    let width = critic.input.weights.padded();
    let (mut stream, mut normal) = (Buffer::new(rows * width), Buffer::new(rows * width));
    // SAFETY: the caller's promise; the slices of the rectifier have whole registers, because padded
    // widths are.
    unsafe {
        linear::<L, ROWS>(&x, rows, &critic.input, &mut stream);
        for ([scale, shift], [up, down]) in &critic.blocks {
            let mut inside = Buffer::<f32>::new(rows * up.weights.padded());
            layer_norm(&stream, scale, shift, critic.epsilon, &mut normal);
            linear::<L, ROWS>(&normal, rows, up, &mut inside);
            for values in inside.chunks_exact_mut(L::COUNT) {
                let rectified = L::load(values.as_ptr()).max(L::splat(0.0));
                rectified.store(values.as_mut_ptr());
            }
            linear::<L, ROWS>(&inside, rows, down, &mut normal);
            for (x, more) in stream.iter_mut().zip(normal.iter()) {
                *x += more;
            }
        }
        let [scale, shift] = critic.norm;
        layer_norm(&stream, scale, shift, critic.epsilon, &mut normal);
        let padded = critic.head.weights.padded();
        let mut outputs = Buffer::<f32>::new(rows * padded);
        linear::<L, ROWS>(&normal, rows, &critic.head, &mut outputs);
        let Some(atoms) = atoms else {
            for (value, output) in values.iter_mut().zip(outputs.chunks_exact(padded)) {
                *value = output[0];
            }
            return;
        };
        let (low, spacing) = (atoms.low as f32, atoms.spacing as f32);
        let mut work = Buffer::<f32>::new(padded);
        for (value, logits) in values.chunks_exact_mut(1).zip(outputs.chunks_exact(padded)) {
            let logits = &logits[..critic.outputs];
            expectations(logits, low, spacing, critic.outputs, &mut work, value);
        }
    }
}
