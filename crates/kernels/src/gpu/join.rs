//! Columns beside each other, and what a loss says of the table that some of them came from.

use burn::tensor::{Shape, TensorMetadata as _};
use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{UNITS, empty};

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

/// The sum, for every element of a table, over the rows that chose its entry, in their order.
#[cube(launch)]
fn chosen_kernel(
    grad: &Array<f32>,
    indices: &Array<i32>,
    output: &mut Array<f32>,
    all: usize,
    first: usize,
    #[comptime] width: usize,
) {
    let i = ABSOLUTE_POS;
    if i < output.len() {
        let entry = i / width;
        let column = i % width;
        let mut sum = 0.0f32;
        for row in 0..indices.len() {
            if indices[row] as usize == entry {
                sum += grad[row * all + first + column];
            }
        }
        output[i] = sum;
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
        calculate_cube_count_elemwise(&client, entries * width, cube_dim),
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
