//! What networks do to whole rows: norms, and the distributions that rows of logits are.
//!
//! A group of threads takes a row and adds its parts in an order that the width alone decides.

pub(super) mod distribution;
pub(super) mod norm;
pub(super) mod weights;

use burn::tensor::TensorMetadata as _;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::{client::ComputeClient, prelude::*};

use super::{UNITS, plan::grid_of};

/// Threads of a row.
const LANES: usize = 32;
/// Rows of a cube.
const ROWS: usize = UNITS as usize / LANES;

/// The sum of `value` over the threads of a row.
#[cube]
pub(super) fn sum_of_row(parts: &mut SharedMemory<f32>, value: f32) -> f32 {
    let unit = UNIT_POS as usize;
    let lane = unit % LANES;
    parts[unit] = value;
    sync_cube();
    #[unroll]
    for step in 0..5usize {
        let half = comptime!(16usize >> step);
        if lane < half {
            parts[unit] = parts[unit] + parts[unit + half];
        }
        sync_cube();
    }
    let sum = parts[unit - lane];
    sync_cube();
    sum
}

/// The largest `value` among the threads of a row.
#[cube]
pub(super) fn most_of_row(parts: &mut SharedMemory<f32>, value: f32) -> f32 {
    let unit = UNIT_POS as usize;
    let lane = unit % LANES;
    parts[unit] = value;
    sync_cube();
    #[unroll]
    for step in 0..5usize {
        let half = comptime!(16usize >> step);
        if lane < half {
            parts[unit] = f32::max(parts[unit], parts[unit + half]);
        }
        sync_cube();
    }
    let most = parts[unit - lane];
    sync_cube();
    most
}

/// The row of this thread; beyond the last one the last, which all its threads compute again.
#[cube]
pub(super) fn row_of(rows: usize) -> usize {
    usize::min(CUBE_POS * ROWS + UNIT_POS as usize / LANES, rows - 1)
}

/// Rows of all networks, rows of each, and their width, of `[members, rows, width]`.
pub(super) fn sizes<R: CubeRuntime>(x: &CubeTensor<R>) -> [usize; 3] {
    let shape = x.shape();
    [shape[0] * shape[1], shape[1], shape[2]]
}

/// A cube for every [`ROWS`] rows.
pub(super) fn grid<R: CubeRuntime>(client: &ComputeClient<R>, rows: usize) -> (CubeCount, CubeDim) {
    (grid_of(client, rows.div_ceil(ROWS)), CubeDim::new_1d(UNITS))
}
