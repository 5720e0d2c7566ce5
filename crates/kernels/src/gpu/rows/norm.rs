//! Norms of rows.

use burn::tensor::{Shape, TensorMetadata as _};
use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::prelude::*;

use super::{LANES, ROWS, grid, row_of, sizes, sum_of_row};
use crate::gpu::{UNITS, empty, plan::grid_of};

/// Mean of a row of `x`, and one over the root of its variance plus `epsilon`.
#[cube]
fn moments(
    parts: &mut SharedMemory<f32>,
    x: &Array<f32>,
    begin: usize,
    width: usize,
    epsilon: f32,
) -> (f32, f32) {
    let lane = UNIT_POS as usize % LANES;
    let mut sum = 0.0f32;
    let mut i = lane;
    while i < width {
        sum += x[begin + i];
        i += LANES;
    }
    let mean = sum_of_row(parts, sum) / f32::cast_from(width);
    let mut squares = 0.0f32;
    let mut i = lane;
    while i < width {
        let deviation = x[begin + i] - mean;
        squares += deviation * deviation;
        i += LANES;
    }
    let variance = sum_of_row(parts, squares) / f32::cast_from(width);
    (mean, 1.0 / f32::sqrt(variance + epsilon))
}

#[cube(launch)]
fn norm_kernel(
    x: &Array<f32>,
    scale: &Array<f32>,
    shift: &Array<f32>,
    output: &mut Array<f32>,
    epsilon: f32,
    rows: usize,
    each: usize,
    width: usize,
) {
    let mut parts = SharedMemory::<f32>::new(comptime!(UNITS as usize));
    let row = row_of(rows);
    let begin = row * width;
    let (mean, inverse) = moments(&mut parts, x, begin, width, epsilon);
    let parameters = row / each * width;
    let mut i = UNIT_POS as usize % LANES;
    while i < width {
        output[begin + i] =
            (x[begin + i] - mean) * inverse * scale[parameters + i] + shift[parameters + i];
        i += LANES;
    }
}

/// The derivative by `x`, and what that by scale and shift needs of every row, in `of_rows`.
#[cube(launch)]
fn norm_backward_kernel(
    x: &Array<f32>,
    scale: &Array<f32>,
    grad: &Array<f32>,
    output: &mut Array<f32>,
    of_rows: &mut Array<f32>,
    epsilon: f32,
    rows: usize,
    each: usize,
    width: usize,
) {
    let mut parts = SharedMemory::<f32>::new(comptime!(UNITS as usize));
    let row = row_of(rows);
    let begin = row * width;
    let lane = UNIT_POS as usize % LANES;
    let (mean, inverse) = moments(&mut parts, x, begin, width, epsilon);
    let parameters = row / each * width;
    let mut sum = 0.0f32;
    let mut sum_along = 0.0f32;
    let mut i = lane;
    while i < width {
        let d = grad[begin + i] * scale[parameters + i];
        sum += d;
        sum_along += d * ((x[begin + i] - mean) * inverse);
        i += LANES;
    }
    let centre = sum_of_row(&mut parts, sum) / f32::cast_from(width);
    let along = sum_of_row(&mut parts, sum_along) / f32::cast_from(width);
    let mut i = lane;
    while i < width {
        let d = grad[begin + i] * scale[parameters + i];
        let normal = (x[begin + i] - mean) * inverse;
        output[begin + i] = (d - centre - normal * along) * inverse;
        i += LANES;
    }
    if lane == 0 {
        of_rows[2 * row] = mean;
        of_rows[2 * row + 1] = inverse;
    }
}

/// The derivatives by scale and shift: a group of threads beside each other takes a column each, and
/// the groups share the rows.
#[cube(launch)]
fn norm_parameters_kernel(
    x: &Array<f32>,
    grad: &Array<f32>,
    of_rows: &Array<f32>,
    by_scale: &mut Array<f32>,
    by_shift: &mut Array<f32>,
    each: usize,
    width: usize,
) {
    let mut scales = SharedMemory::<f32>::new(comptime!(UNITS as usize));
    let mut shifts = SharedMemory::<f32>::new(comptime!(UNITS as usize));
    let unit = UNIT_POS as usize;
    let across = width.div_ceil(LANES);
    let members = by_scale.len() / width;
    let cube = usize::min(CUBE_POS, members * across - 1);
    let member = cube / across;
    let column = cube % across * LANES + unit % LANES;
    let mut scale = 0.0f32;
    let mut shift = 0.0f32;
    if column < width {
        let mut row = unit / LANES;
        while row < each {
            let global = member * each + row;
            let place = global * width + column;
            let d = grad[place];
            scale += d * ((x[place] - of_rows[2 * global]) * of_rows[2 * global + 1]);
            shift += d;
            row += ROWS;
        }
    }
    scales[unit] = scale;
    shifts[unit] = shift;
    sync_cube();
    if unit < LANES && column < width {
        let mut scale = 0.0f32;
        let mut shift = 0.0f32;
        #[unroll]
        for group in 0..ROWS {
            scale += scales[group * LANES + unit];
            shift += shifts[group * LANES + unit];
        }
        by_scale[member * width + column] = scale;
        by_shift[member * width + column] = shift;
    }
}

/// [`crate::RescoreBackend::norm_rows`]
pub(in crate::gpu) fn norm<R: CubeRuntime>(
    x: CubeTensor<R>,
    scale: CubeTensor<R>,
    shift: CubeTensor<R>,
    epsilon: f64,
) -> CubeTensor<R> {
    let [x, scale, shift] = [x, scale, shift].map(into_contiguous);
    let [rows, each, width] = sizes(&x);
    let client = x.client.clone();
    let output = empty(&client, &x.device, x.shape());
    let (cubes, units) = grid(&client, rows);
    norm_kernel::launch::<R>(
        &client,
        cubes,
        units,
        x.into_array_arg(),
        scale.into_array_arg(),
        shift.into_array_arg(),
        output.clone().into_array_arg(),
        epsilon as f32,
        rows,
        each,
        width,
    );
    output
}

/// [`crate::RescoreBackend::norm_rows_backward`]: by input, scale and shift.
pub(in crate::gpu) fn norm_backward<R: CubeRuntime>(
    x: CubeTensor<R>,
    scale: CubeTensor<R>,
    grad: CubeTensor<R>,
    epsilon: f64,
) -> [CubeTensor<R>; 3] {
    let [x, scale, grad] = [x, scale, grad].map(into_contiguous);
    let [rows, each, width] = sizes(&x);
    let client = x.client.clone();
    let by_x = empty(&client, &x.device, x.shape());
    let of_rows = empty(&client, &x.device, Shape::from([rows, 2]));
    let [by_scale, by_shift] =
        [scale.shape(), scale.shape()].map(|shape| empty(&client, &x.device, shape));
    let (cubes, units) = grid(&client, rows);
    norm_backward_kernel::launch::<R>(
        &client,
        cubes,
        units,
        x.clone().into_array_arg(),
        scale.into_array_arg(),
        grad.clone().into_array_arg(),
        by_x.clone().into_array_arg(),
        of_rows.clone().into_array_arg(),
        epsilon as f32,
        rows,
        each,
        width,
    );
    norm_parameters_kernel::launch::<R>(
        &client,
        grid_of(&client, rows / each * width.div_ceil(LANES)),
        units,
        x.into_array_arg(),
        grad.into_array_arg(),
        of_rows.into_array_arg(),
        by_scale.clone().into_array_arg(),
        by_shift.clone().into_array_arg(),
        each,
        width,
    );
    [by_x, by_scale, by_shift]
}
