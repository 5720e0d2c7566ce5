//! What the kernels that take rows through a network are compiled for.

use burn_cubecl::CubeRuntime;
use cubecl::{CubeCount, client::ComputeClient};

use super::UNITS;

/// The largest tile.
const MAX_TILE: usize = 16;

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
    /// A tile for `rows` rows: small where there are few, so that all of the device works.
    pub(super) fn tile_for(rows: usize) -> usize {
        match rows {
            ..1024 => 4,
            1024..4096 => 8,
            _ => MAX_TILE,
        }
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

    /// How many threads side by side cover the columns of a layer `width` columns wide; each takes
    /// every `lanes`-th column.
    pub(super) fn lanes(width: usize) -> usize {
        width.next_power_of_two().clamp(8, UNITS as usize)
    }

    /// How many groups of threads share the rows of a tile.
    pub(super) fn groups(&self, width: usize) -> usize {
        (UNITS as usize / Self::lanes(width)).min(self.vectors())
    }

    /// Into how many slices the sums of the output layer are cut, so that few columns occupy more
    /// threads. A function of the width alone: it is the order of summation.
    pub(super) fn slices(&self) -> usize {
        (UNITS as usize / (Self::lanes(self.output) * MAX_TILE / 4)).clamp(1, 8)
    }
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
            tile: Plan::tile_for(rows),
            particles: 1,
            output: 1,
            hidden: vec![256],
            source: Source::Counter,
        };
        let tile = |rows, columns, shared| {
            let fitted = plan(rows).fitted(columns, shared);
            fitted.map(|plan| plan.tile)
        };
        assert_eq!(tile(5000, 265, 1 << 16), Some(16));
        assert_eq!(tile(5000, 265, 16 * 265 * 4 - 1), Some(8));
        assert_eq!(tile(2000, 265, 1 << 16), Some(8));
        assert_eq!(tile(100, 265, 4 * 265 * 4), Some(4));
        assert_eq!(tile(100, 265, 4 * 265 * 4 - 1), None);
    }
}
