//! Columns beside each other, and what a loss says of the table that some of them came from.

use burn::tensor::{Shape, TensorMetadata as _};
use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{UNITS, empty, plan::grid_of};

#[cube(launch)]
fn join_kernel(
    parts: &Sequence<Array<f32>>,
    tables: &Sequence<Array<f32>>,
    indices: &Sequence<Array<i32>>,
    output: &mut Array<f32>,
    #[comptime] widths: Vec<usize>,
) {
    let i = ABSOLUTE_POS;
    if i < output.len() {
        let all = comptime!(widths.iter().sum::<usize>());
        let row = i / all;
        let column = i % all;
        #[unroll]
        for part in 0..comptime!(widths.len()) {
            let first = comptime!(widths[..part].iter().sum::<usize>());
            let width = comptime!(widths[part]);
            if column >= first && column < first + width {
                if comptime!(part < 2) {
                    output[i] = parts[comptime!(usize::min(part, 1))][row * width + column - first];
                } else {
                    let entry = indices[0][row] as usize;
                    output[i] = tables[0][entry * width + column - first];
                }
            }
        }
    }
}

/// [`crate::RescoreBackend::join`]
pub(super) fn join<R: CubeRuntime>(
    parts: Vec<CubeTensor<R>>,
    chosen: Option<(CubeTensor<R>, CubeTensor<R>)>,
) -> CubeTensor<R> {
    let (client, device) = (parts[0].client.clone(), parts[0].device.clone());
    let rows = parts[0].shape()[0];
    let mut widths = Vec::new();
    let mut arrays = SequenceArg::new();
    for part in parts {
        assert_eq!(part.shape()[0], rows, "parts of as many rows");
        widths.push(part.shape()[1]);
        arrays.push(into_contiguous(part).into_array_arg());
    }
    let (mut tables, mut indices) = (SequenceArg::new(), SequenceArg::new());
    if let Some((table, chosen)) = chosen {
        assert_eq!(chosen.shape()[0], rows, "an index for each row");
        widths.push(table.shape()[1]);
        tables.push(into_contiguous(table).into_array_arg());
        indices.push(into_contiguous(chosen).into_array_arg());
    }
    let all: usize = widths.iter().sum();
    let output = empty(&client, &device, Shape::from([rows, all]));
    let cube_dim = CubeDim::new_1d(UNITS);
    join_kernel::launch::<R>(
        &client,
        calculate_cube_count_elemwise(&client, rows * all, cube_dim),
        cube_dim,
        arrays,
        tables,
        indices,
        output.clone().into_array_arg(),
        widths,
    );
    output
}

/// Threads of a row of a table.
const LANES: usize = 32;

/// The sum, for every element of a table, over the rows that chose its entry. A cube takes an entry, its
/// threads beside each other the columns; the groups of threads share the rows, and their sums are added
/// in order.
#[cube(launch)]
fn chosen_kernel(
    grad: &Array<f32>,
    indices: &Array<i32>,
    output: &mut Array<f32>,
    all: usize,
    first: usize,
    #[comptime] width: usize,
) {
    let groups = comptime!(UNITS as usize / LANES);
    let mut sums = SharedMemory::<f32>::new(comptime!(UNITS as usize));
    let unit = UNIT_POS as usize;
    let entry = usize::min(CUBE_POS, output.len() / width - 1);
    let mut begin = 0usize;
    while begin < width {
        let column = begin + unit % LANES;
        let mut sum = 0.0f32;
        let mut row = unit / LANES;
        while row < indices.len() {
            if indices[row] as usize == entry && column < width {
                sum += grad[row * all + first + column];
            }
            row += groups;
        }
        sums[unit] = sum;
        sync_cube();
        if unit < LANES && column < width {
            let mut sum = 0.0f32;
            #[unroll]
            for group in 0..groups {
                sum += sums[group * LANES + unit];
            }
            output[entry * width + column] = sum;
        }
        sync_cube();
        begin += LANES;
    }
}

/// [`crate::RescoreBackend::join_backward`]
pub(super) fn backward<R: CubeRuntime>(
    grad: CubeTensor<R>,
    first: usize,
    table: &CubeTensor<R>,
    indices: CubeTensor<R>,
) -> CubeTensor<R> {
    let [entries, width] = [table.shape()[0], table.shape()[1]];
    let all = grad.shape()[1];
    let (client, device) = (grad.client.clone(), grad.device.clone());
    let output = empty(&client, &device, Shape::from([entries, width]));
    let cube_dim = CubeDim::new_1d(UNITS);
    chosen_kernel::launch::<R>(
        &client,
        grid_of(&client, entries),
        cube_dim,
        into_contiguous(grad).into_array_arg(),
        into_contiguous(indices).into_array_arg(),
        output.clone().into_array_arg(),
        all,
        first,
        width,
    );
    output
}
