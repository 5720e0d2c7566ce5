//! What the kernels that take rows through a network are compiled for.

use burn_cubecl::CubeRuntime;
use cubecl::{CubeCount, client::ComputeClient};

use super::UNITS;

/// The largest tile.
const MAX_TILE: usize = 64;
/// Rows from which on a thread computes four columns beside each other: their weights are one read.
const WIDE_TILE: usize = 16;
/// Rows for which the sums of the output layer are cut: a constant, because it is the order of
/// summation.
const SLICED_ROWS: usize = 16;

/// Where the random numbers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// Row = state x particles + particle, one counter.
    Counter,
    /// Row = particle, a counter for each state.
    CounterPerState,
    /// Given numbers.
    Given,
}

/// What a kernel is compiled for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Plan {
    /// Rows of a tile, a multiple of 4.
    pub(super) tile: usize,
    pub(super) particles: usize,
    /// Columns of the output.
    pub(super) output: usize,
    /// Widths of the hidden layers.
    pub(super) hidden: Vec<usize>,
    pub(super) source: Source,
}

impl Plan {
    /// A tile for `rows` rows: the largest that leaves nearly every one of the device's
    /// `multiprocessors` two tiles, because the rows of a tile share what is read of the weights, and one
    /// tile computes while the other waits for them.
    pub(super) fn tile_for(rows: usize, multiprocessors: usize) -> usize {
        let mut tile = MAX_TILE;
        while tile > 4 && rows.div_ceil(tile) * 10 < multiprocessors * 18 {
            tile /= 2;
        }
        tile
    }

    /// The plan with a tile so small that `columns` columns of it fit into `shared` bytes; none
    /// where not even the smallest does.
    pub(super) fn fitted(mut self, columns: usize, shared: usize) -> Option<Self> {
        while columns * self.tile * size_of::<f32>() > shared {
            self.tile /= 2;
            if self.tile < 4 {
                return None;
            }
        }
        Some(self)
    }

    /// Vectors of four rows in a tile.
    pub(super) fn vectors(&self) -> usize {
        self.tile / 4
    }

    /// Columns of the widest hidden layer.
    pub(super) fn widest(&self) -> usize {
        self.hidden.iter().copied().max().unwrap_or(0)
    }

    /// How many columns beside each other a thread computes, and reads the weights of at once.
    pub(super) fn line(&self) -> usize {
        if self.tile >= WIDE_TILE {
            self.backward_line()
        } else {
            1
        }
    }

    /// Weights beside each other that a backward pass reads at once, of a hidden layer.
    pub(super) fn backward_line(&self) -> usize {
        let whole = self.hidden.iter().all(|width| width.is_multiple_of(4));
        if whole { 4 } else { 1 }
    }

    /// The same of the output layer.
    pub(super) fn output_line(&self) -> usize {
        if self.output.is_multiple_of(4) { 4 } else { 1 }
    }

    /// How many threads side by side cover the columns of a hidden layer `width` columns wide; each
    /// takes every `lanes`-th line of them.
    pub(super) fn lanes(&self, width: usize) -> usize {
        lanes(width / self.line())
    }

    /// Lines of columns that a thread computes.
    pub(super) fn turns(&self, width: usize) -> usize {
        (width / self.line()).div_ceil(self.lanes(width))
    }

    /// How many groups of threads share the rows of a tile.
    pub(super) fn groups(&self, width: usize) -> usize {
        (UNITS as usize / self.lanes(width)).min(self.vectors())
    }

    /// Vectors of four rows that a thread computes.
    pub(super) fn share(&self, width: usize) -> usize {
        self.vectors() / self.groups(width)
    }

    /// How many weights of a column a thread reads ahead: more where it has few sums to keep it busy
    /// until they arrive.
    pub(super) fn ahead(&self) -> usize {
        match (self.line(), self.vectors()) {
            (1, 1) => 32,
            (1, _) => 16,
            (_, ..=8) => 8,
            _ => 4,
        }
    }

    /// Into how many slices the sums of the output layer are cut, so that few columns occupy more
    /// threads. A function of the width alone: it is the order of summation.
    pub(super) fn slices(&self) -> usize {
        (UNITS as usize / (lanes(self.output) * SLICED_ROWS / 4)).clamp(1, 8)
    }
}

/// Threads side by side for `count` columns or lines of columns.
fn lanes(count: usize) -> usize {
    count.next_power_of_two().clamp(8, UNITS as usize)
}

/// The multiprocessors of a device, or a guess where it does not say.
pub(super) fn multiprocessors<R: CubeRuntime>(client: &ComputeClient<R>) -> usize {
    let known = client.properties().hardware.num_streaming_multiprocessors;
    known.unwrap_or(64) as usize
}

/// A grid of at least `cubes` cubes, numbered by `CUBE_POS`: in two dimensions where one cannot
/// hold them. Kernels must bear a few more than there are.
pub(super) fn grid_of<R: CubeRuntime>(client: &ComputeClient<R>, cubes: usize) -> CubeCount {
    let (longest, _, _) = client.properties().hardware.max_cube_count;
    let lines = cubes.div_ceil(longest as usize).max(1);
    CubeCount::Static(cubes.div_ceil(lines) as u32, lines as u32, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tile_shrinks_until_it_fits() {
        let plan = |rows| Plan {
            tile: Plan::tile_for(rows, 64),
            particles: 1,
            output: 1,
            hidden: vec![256],
            source: Source::Counter,
        };
        let tile = |rows, columns, shared| {
            let fitted = plan(rows).fitted(columns, shared);
            fitted.map(|plan| plan.tile)
        };
        assert_eq!(tile(9000, 265, 1 << 17), Some(64));
        assert_eq!(tile(5000, 265, 1 << 17), Some(32));
        assert_eq!(tile(5000, 265, 1 << 16), Some(32));
        assert_eq!(tile(5000, 265, 16 * 265 * 4 - 1), Some(8));
        assert_eq!(tile(2000, 265, 1 << 16), Some(16));
        assert_eq!(tile(100, 265, 4 * 265 * 4), Some(4));
        assert_eq!(tile(100, 265, 4 * 265 * 4 - 1), None);
    }
}
