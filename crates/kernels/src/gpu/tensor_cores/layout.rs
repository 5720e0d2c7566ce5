//! Where numbers lie: in the tile, in the fragments that a plane multiplies, in the packed weights.
//!
//! `mma.sync` multiplies 16 rows by 16 of the depth by 8 columns. Its operands are spread over the
//! lanes of a plane as PTX prescribes ("Matrix Fragments for mma.m16n8k16"): a register holds two
//! numbers side by side in the depth, or of the sums two columns side by side. The functions here
//! are all that knows of this; kernels call them, and the tests below hold them against PTX.

use burn::tensor::bf16;
use cubecl::prelude::*;

use crate::gpu::plan::Plan;

/// Rows of a block, its depth, and its columns: two products side by side, so that a lane reads the
/// weights of a block at once.
pub(super) const BLOCK: usize = 16;
/// Columns of one product.
pub(super) const COLUMNS: usize = 8;
/// Lanes of a plane.
pub(super) const LANES: usize = 32;
/// Planes of a cube.
pub(super) const PLANES: usize = 16;
/// The widest layer: a plane's sums must stay in registers, of which a lane has 128.
pub(super) const WIDEST: usize = 512;
/// Columns between two rows of activations beyond their width: the eight rows that are read or
/// written at once then lie in different banks of the shared memory.
const SKEW: usize = 8;
/// Bytes of a [`Word`].
pub(super) const WORD: usize = 16;

/// The weights of a block for one lane: the two registers of its left product, then of its right.
pub(super) type Word = Vector<u32, Const<4>>;
/// Two numbers side by side, as a register or two hold them.
pub(super) type Pair<E> = Vector<E, Const<2>>;

/// Blocks that cover `width`.
pub(super) const fn blocks(width: usize) -> usize {
    width.div_ceil(BLOCK)
}

/// `width` filled up to whole blocks.
pub(super) const fn padded(width: usize) -> usize {
    blocks(width) * BLOCK
}

/// What the kernel is compiled for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Layout {
    pub(super) plan: Plan,
    /// The layers after the first in the order in which they are packed. The last is the output.
    order: Vec<usize>,
    /// Words of the packed weights that stay in shared memory: those of the first layers in `order`.
    pub(super) resident: usize,
}

impl Layout {
    /// For `rows` rows on `processors` multiprocessors with `shared` bytes of shared memory for a
    /// cube; none where the network does not fit. Layers for which there is room stay in shared
    /// memory.
    pub(super) fn new(plan: &Plan, rows: usize, processors: usize, shared: usize) -> Option<Self> {
        if *plan.hidden.iter().max()? > WIDEST {
            return None;
        }
        let fitted = |tile| {
            let plan = Plan {
                tile,
                ..plan.clone()
            };
            let layout = Self {
                plan,
                order: Vec::new(),
                resident: 0,
            };
            (layout.tile_bytes() <= shared).then_some(layout)
        };
        // The smallest tile that occupies every processor once; beyond that, rows share weights.
        let mut layout = fitted(16)?;
        for tile in [32, 64] {
            if rows.div_ceil(layout.plan.tile) > processors
                && let Some(larger) = fitted(tile)
            {
                layout = larger;
            }
        }
        let room = (shared - layout.tile_bytes()) / WORD;
        let mut others = Vec::new();
        for layer in 1..=layout.count() {
            let words = layout.words(layer);
            if layout.resident + words <= room {
                layout.resident += words;
                layout.order.push(layer);
            } else {
                others.push(layer);
            }
        }
        layout.order.append(&mut others);
        Some(layout)
    }

    /// Bytes of shared memory beside the weights: activations twice, noisy action and prediction,
    /// the action part of layer 1, and what aligning them may take.
    fn tile_bytes(&self) -> usize {
        let Plan { tile, output, .. } = self.plan;
        let activations = 2 * tile * self.stride();
        let singles = tile * (output + padded(output)) + output * padded(self.plan.hidden[0]);
        activations * size_of::<bf16>() + singles * size_of::<f32>() + 5 * WORD
    }

    /// Columns from one row of activations to the next.
    pub(super) fn stride(&self) -> usize {
        let widest = self.plan.hidden.iter().copied().max();
        padded(widest.unwrap_or(0)) + SKEW
    }

    /// Hidden layers, the first included.
    pub(super) fn count(&self) -> usize {
        self.plan.hidden.len()
    }

    /// Columns of the input of layer `layer`; the output is layer [`Layout::count`].
    pub(super) fn inputs(&self, layer: usize) -> usize {
        self.plan.hidden[layer - 1]
    }

    /// Columns of layer `layer`.
    pub(super) fn outputs(&self, layer: usize) -> usize {
        *self.plan.hidden.get(layer).unwrap_or(&self.plan.output)
    }

    /// Words of layer `layer`.
    pub(super) fn words(&self, layer: usize) -> usize {
        blocks(self.inputs(layer)) * blocks(self.outputs(layer)) * LANES
    }

    /// The first word of layer `layer`.
    pub(super) fn begin(&self, layer: usize) -> usize {
        let before = self.order.iter().take_while(|other| **other != layer);
        before.map(|other| self.words(*other)).sum()
    }

    /// The word after the last of layer `layer`.
    pub(super) fn end(&self, layer: usize) -> usize {
        self.begin(layer) + self.words(layer)
    }

    /// Words of all layers.
    pub(super) fn all_words(&self) -> usize {
        self.order.iter().map(|layer| self.words(*layer)).sum()
    }

    /// Whether the weights of layer `layer` stay in shared memory.
    pub(super) fn is_resident(&self, layer: usize) -> bool {
        self.end(layer) <= self.resident
    }

    /// Blocks of rows in the tile.
    pub(super) fn row_blocks(&self) -> usize {
        self.plan.tile / BLOCK
    }

    /// Blocks of rows of a plane: two where there are two, so that weights are read half as often.
    pub(super) fn plane_rows(&self) -> usize {
        self.row_blocks().min(2)
    }

    /// Groups of planes that share the rows.
    pub(super) fn row_groups(&self) -> usize {
        self.row_blocks() / self.plane_rows()
    }

    /// Groups of planes that share the columns.
    pub(super) fn column_groups(&self) -> usize {
        PLANES / self.row_groups()
    }

    /// Blocks of columns of a plane in a layer `width` columns wide.
    pub(super) fn shares(&self, width: usize) -> usize {
        blocks(width).div_ceil(self.column_groups())
    }

    /// Whether the planes' shares cover a layer `width` columns wide exactly.
    pub(super) fn is_even(&self, width: usize) -> bool {
        self.shares(width) * self.column_groups() == blocks(width)
    }
}

/// Among a layer's words, that of a lane for a block of columns and of the depth of `steps` blocks.
#[cube]
pub(super) fn word_place(
    block: usize,
    step: usize,
    lane: usize,
    #[comptime] steps: usize,
) -> usize {
    (block * steps + step) * LANES + lane
}

/// The row of a weight matrix of the first of the two numbers in register `register` of a word; the
/// second follows in the next row.
#[cube]
pub(super) fn weight_row(step: usize, lane: usize, register: usize) -> usize {
    step * BLOCK + register % 2 * 8 + lane % 4 * 2
}

/// The column of a weight matrix of the numbers in register `register` of a word.
#[cube]
pub(super) fn weight_column(block: usize, lane: usize, register: usize) -> usize {
    block * BLOCK + register / 2 * COLUMNS + lane / 4
}

/// The first of the eight activations that `ldmatrix` takes from a lane: lanes name the rows of the
/// left half of the block, then those of the right.
#[cube]
pub(super) fn activation_place(
    row_block: usize,
    step: usize,
    lane: usize,
    #[comptime] stride: usize,
) -> usize {
    (row_block * BLOCK + lane % 16) * stride + step * BLOCK + lane / 16 * 8
}

/// The row of pair `pair` of a lane's sums of one product.
#[cube]
pub(super) fn sum_row(row_block: usize, lane: usize, pair: usize) -> usize {
    row_block * BLOCK + pair * 8 + lane / 4
}

/// Among the pairs of columns, that of a lane's sums of the left or right product, `side`, of a
/// block.
#[cube]
pub(super) fn sum_columns(block: usize, side: usize, lane: usize) -> usize {
    block * (BLOCK / 2) + side * (COLUMNS / 2) + lane % 4
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers are small integers")]
mod tests {
    use super::*;
    use crate::gpu::plan::Source;

    fn plan(hidden: &[usize], output: usize) -> Plan {
        Plan {
            tile: 0,
            particles: 1,
            output,
            hidden: hidden.to_vec(),
            source: Source::Counter,
        }
    }

    /// Multiprocessors of an H100, and the shared memory that a cube may have.
    const H100: (usize, usize) = (132, 232_448);

    fn layout(hidden: &[usize], output: usize, rows: usize) -> Layout {
        let (processors, shared) = H100;
        Layout::new(&plan(hidden, output), rows, processors, shared).expect("it fits")
    }

    /// What `ldmatrix.x4` leaves in the registers of a lane: matrix `m` has its eight rows of eight
    /// where lanes `8 m..` point, and register `m` two numbers of row `lane / 4`.
    fn ldmatrix(memory: &[f32], places: &[usize], lane: usize) -> [f32; 8] {
        std::array::from_fn(|i| {
            let (register, half) = (i / 2, i % 2);
            memory[places[register * 8 + lane / 4] + lane % 4 * 2 + half]
        })
    }

    /// `mma.m16n8k16`, by the tables of the PTX manual: `a`, `b` and `c` by lane.
    fn mma(a: &[[f32; 8]], b: &[[f32; 4]], c: &mut [[f32; 4]]) {
        let (mut left, mut right) = ([[0.0; 16]; 16], [[0.0; 8]; 16]);
        for lane in 0..LANES {
            let (group, thread) = (lane >> 2, lane % 4);
            for (i, number) in a[lane].iter().enumerate() {
                let row = if i < 2 || (4..6).contains(&i) {
                    group
                } else {
                    group + 8
                };
                let column = thread * 2 + (i & 1) + if i < 4 { 0 } else { 8 };
                left[row][column] = *number;
            }
            for (i, number) in b[lane].iter().enumerate() {
                let row = thread * 2 + (i & 1) + if i < 2 { 0 } else { 8 };
                right[row][group] = *number;
            }
        }
        for (lane, c) in c.iter_mut().enumerate() {
            let (group, thread) = (lane >> 2, lane % 4);
            for (i, c) in c.iter_mut().enumerate() {
                let row = if i < 2 { group } else { group + 8 };
                let column = thread * 2 + (i & 1);
                *c += (0..16)
                    .map(|k| left[row][k] * right[k][column])
                    .sum::<f32>();
            }
        }
    }

    /// A layer as the kernels compute it, from packing to the places of the sums.
    #[test]
    fn blocks_make_up_the_product() {
        for [rows, inputs, outputs] in [[16, 16, 16], [32, 37, 19], [64, 48, 6]] {
            let stride = padded(inputs) + SKEW;
            let activation = |row, k| ((row * 7 + k * 3) % 11) as f32 - 5.0;
            let weight = |k, column| ((k * 5 + column * 2) % 13) as f32 - 6.0;
            let mut memory = vec![0.0; rows * stride];
            for row in 0..rows {
                for k in 0..inputs {
                    memory[row * stride + k] = activation(row, k);
                }
            }
            let steps = blocks(inputs);
            let mut words = vec![[[f32::NAN; 2]; 4]; blocks(outputs) * steps * LANES];
            for block in 0..blocks(outputs) {
                for step in 0..steps {
                    for lane in 0..LANES {
                        let word = &mut words[word_place(block, step, lane, steps)];
                        for (register, pair) in word.iter_mut().enumerate() {
                            for (i, number) in pair.iter_mut().enumerate() {
                                let k = weight_row(step, lane, register) + i;
                                let column = weight_column(block, lane, register);
                                let within = k < inputs && column < outputs;
                                *number = if within { weight(k, column) } else { 0.0 };
                            }
                        }
                    }
                }
            }
            let mut product = vec![f32::NAN; rows * padded(outputs)];
            for row_block in 0..rows / BLOCK {
                for block in 0..blocks(outputs) {
                    for side in 0..2 {
                        let mut sums = [[0.0; 4]; LANES];
                        for step in 0..steps {
                            let lanes = || 0..LANES;
                            let place = |lane| activation_place(row_block, step, lane, stride);
                            let places: Vec<_> = lanes().map(place).collect();
                            let a: Vec<_> = lanes()
                                .map(|lane| ldmatrix(&memory, &places, lane))
                                .collect();
                            let b: Vec<_> = lanes()
                                .map(|lane| {
                                    let word = words[word_place(block, step, lane, steps)];
                                    let [first, second] = [word[side * 2], word[side * 2 + 1]];
                                    [first[0], first[1], second[0], second[1]]
                                })
                                .collect();
                            mma(&a, &b, &mut sums);
                        }
                        for (lane, sums) in sums.iter().enumerate() {
                            for (i, sum) in sums.iter().enumerate() {
                                let row = sum_row(row_block, lane, i / 2);
                                let column = sum_columns(block, side, lane) * 2 + i % 2;
                                product[row * padded(outputs) + column] = *sum;
                            }
                        }
                    }
                }
            }
            for row in 0..rows {
                for column in 0..padded(outputs) {
                    let terms = (0..inputs).map(|k| activation(row, k) * weight(k, column));
                    let expected = if column < outputs { terms.sum() } else { 0.0 };
                    let found: f32 = product[row * padded(outputs) + column];
                    assert_eq!(found, expected, "row {row}, column {column}");
                }
            }
        }
    }

    /// Planes cover every block of every row.
    #[test]
    fn planes_share_all_blocks() {
        for rows in [1, 4000, 1 << 16] {
            for width in [6, 48, 256, 300, 512] {
                let layout = layout(&[width], 6, rows);
                let (groups, shares) = (layout.column_groups(), layout.shares(width));
                assert_eq!(
                    layout.row_groups() * layout.plane_rows() * BLOCK,
                    layout.plan.tile
                );
                assert_eq!(layout.row_groups() * groups, PLANES);
                assert!(groups * shares >= blocks(width));
                assert_eq!(layout.is_even(width), groups * shares == blocks(width));
            }
        }
    }

    /// Every word has one place, resident ones before the others.
    #[test]
    fn words_lie_side_by_side() {
        for layout in [
            layout(&[256, 256], 6, 8192),
            layout(&[256, 256, 256], 17, 1 << 16),
            layout(&[512, 40, 512], 17, 1 << 16),
        ] {
            let mut taken = vec![false; layout.all_words()];
            for layer in 1..=layout.count() {
                let steps = blocks(layout.inputs(layer));
                for block in 0..blocks(layout.outputs(layer)) {
                    for step in 0..steps {
                        for lane in 0..LANES {
                            let word = layout.begin(layer) + word_place(block, step, lane, steps);
                            assert!(!std::mem::replace(&mut taken[word], true));
                            assert_eq!(word < layout.resident, layout.is_resident(layer));
                        }
                    }
                }
            }
            assert!(taken.into_iter().all(|taken| taken));
        }
    }

    /// Lanes that read or write at once meet in no bank of the shared memory: 32, of 4 bytes.
    #[test]
    fn banks_do_not_conflict() {
        for width in [6, 16, 48, 256, 300, 512] {
            let stride = layout(&[width], 6, 1).stride();
            let bank = |place: usize| place / 2 % 32;
            let all: Vec<_> = (0..32).collect();
            for eight in 0..4 {
                let mut banks: Vec<_> = (eight * 8..eight * 8 + 8)
                    .flat_map(|lane| {
                        let first = activation_place(0, 0, lane, stride);
                        assert!(first.is_multiple_of(8), "not aligned to 16 bytes");
                        (0..4).map(move |i| bank(first + 2 * i))
                    })
                    .collect();
                banks.sort_unstable();
                assert_eq!(banks, all);
            }
            let store = |lane| bank(sum_row(0, lane, 0) * stride + sum_columns(0, 0, lane) * 2);
            let mut banks: Vec<_> = (0..LANES).map(store).collect();
            banks.sort_unstable();
            assert_eq!(banks, all);
        }
    }

    /// Tiles by the number of rows and by what fits; weights in shared memory where they fit.
    #[test]
    fn the_layout_follows_the_device() {
        let tile = |rows| layout(&[256, 256], 6, rows).plan.tile;
        assert_eq!(
            [1, 2112, 2113, 4224, 4225, 1 << 20].map(tile),
            [16, 16, 32, 32, 64, 64]
        );

        let small = layout(&[256, 256], 6, 8192);
        assert_eq!(small.resident, small.all_words());
        let deep = layout(&[256, 256, 256], 17, 8192);
        let resident = [1, 2, 3].map(|layer| deep.is_resident(layer));
        assert_eq!(resident, [true, false, false]);
        let wide = layout(&[512, 512], 6, 8192);
        assert_eq!([1, 2].map(|layer| wide.is_resident(layer)), [false, true]);

        let fitted = |hidden: &[usize], shared| Layout::new(&plan(hidden, 6), 8192, 132, shared);
        assert_eq!(
            fitted(&[256, 256], 48 << 10).map(|layout| layout.plan.tile),
            Some(32)
        );
        assert_eq!(fitted(&[256, 256], 16 << 10), None);
        assert_eq!(fitted(&[513], 1 << 20), None);
        assert_eq!(fitted(&[], 1 << 20), None);
    }
}
