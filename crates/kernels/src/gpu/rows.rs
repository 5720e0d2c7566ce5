//! What networks do to whole rows: norms, and the distributions that rows of logits are.
//!
//! A group of threads takes a row and adds its parts in an order that the width alone decides.

use burn::tensor::{Shape, Tensor, TensorMetadata as _};
use burn_cubecl::{
    BoolElement, CubeBackend, CubeRuntime, kernel::into_contiguous, tensor::CubeTensor,
};
use cubecl::{client::ComputeClient, prelude::*};

use super::{UNITS, empty, plan::grid_of, primitive};
use crate::{
    Combine,
    categorical::{Atoms, Returns},
};

/// Threads of a row.
const LANES: usize = 32;
/// Rows of a cube.
const ROWS: usize = UNITS as usize / LANES;

/// The sum of `value` over the threads of a row.
#[cube]
fn sum_of_row(parts: &mut SharedMemory<f32>, value: f32) -> f32 {
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
fn most_of_row(parts: &mut SharedMemory<f32>, value: f32) -> f32 {
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
fn row_of(rows: usize) -> usize {
    usize::min(CUBE_POS * ROWS + UNIT_POS as usize / LANES, rows - 1)
}

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

/// The largest logit of a row, and the sum of `e^(logit - largest)`.
#[cube]
fn partition(
    parts: &mut SharedMemory<f32>,
    logits: &Array<f32>,
    begin: usize,
    width: usize,
) -> (f32, f32) {
    let lane = UNIT_POS as usize % LANES;
    let mut most = logits[begin];
    let mut i = lane;
    while i < width {
        most = f32::max(most, logits[begin + i]);
        i += LANES;
    }
    let most = most_of_row(parts, most);
    let mut sum = 0.0f32;
    let mut i = lane;
    while i < width {
        sum += f32::exp(logits[begin + i] - most);
        i += LANES;
    }
    (most, sum_of_row(parts, sum))
}

/// The expectation of a row.
#[cube]
fn mean_atom(
    parts: &mut SharedMemory<f32>,
    logits: &Array<f32>,
    begin: usize,
    width: usize,
    most: f32,
    all: f32,
    low: f32,
    spacing: f32,
) -> f32 {
    let mut sum = 0.0f32;
    let mut i = UNIT_POS as usize % LANES;
    while i < width {
        let atom = low + f32::cast_from(i) * spacing;
        sum += f32::exp(logits[begin + i] - most) / all * atom;
        i += LANES;
    }
    sum_of_row(parts, sum)
}

#[cube(launch)]
fn expectation_kernel(
    logits: &Array<f32>,
    output: &mut Array<f32>,
    low: f32,
    spacing: f32,
    rows: usize,
    width: usize,
) {
    let mut parts = SharedMemory::<f32>::new(comptime!(UNITS as usize));
    let row = row_of(rows);
    let begin = row * width;
    let (most, all) = partition(&mut parts, logits, begin, width);
    let mean = mean_atom(&mut parts, logits, begin, width, most, all, low, spacing);
    if UNIT_POS as usize % LANES == 0 {
        output[row] = mean;
    }
}

#[cube(launch)]
fn expectation_backward_kernel(
    logits: &Array<f32>,
    grad: &Array<f32>,
    output: &mut Array<f32>,
    low: f32,
    spacing: f32,
    rows: usize,
    width: usize,
) {
    let mut parts = SharedMemory::<f32>::new(comptime!(UNITS as usize));
    let row = row_of(rows);
    let begin = row * width;
    let (most, all) = partition(&mut parts, logits, begin, width);
    let mean = mean_atom(&mut parts, logits, begin, width, most, all, low, spacing);
    let mut i = UNIT_POS as usize % LANES;
    while i < width {
        let atom = low + f32::cast_from(i) * spacing;
        let probability = f32::exp(logits[begin + i] - most) / all;
        output[begin + i] = probability * (atom - mean) * grad[row];
        i += LANES;
    }
}

/// The targets are `[each, width]`, the same for all networks.
#[cube(launch)]
fn cross_entropy_kernel(
    logits: &Array<f32>,
    targets: &Array<f32>,
    output: &mut Array<f32>,
    rows: usize,
    each: usize,
    width: usize,
) {
    let mut parts = SharedMemory::<f32>::new(comptime!(UNITS as usize));
    let row = row_of(rows);
    let begin = row * width;
    let (most, all) = partition(&mut parts, logits, begin, width);
    let log = f32::ln(all);
    let mut sum = 0.0f32;
    let mut i = UNIT_POS as usize % LANES;
    while i < width {
        sum -= targets[row % each * width + i] * (logits[begin + i] - most - log);
        i += LANES;
    }
    let entropy = sum_of_row(&mut parts, sum);
    if UNIT_POS as usize % LANES == 0 {
        output[row] = entropy;
    }
}

#[cube(launch)]
fn cross_entropy_backward_kernel(
    logits: &Array<f32>,
    targets: &Array<f32>,
    grad: &Array<f32>,
    output: &mut Array<f32>,
    rows: usize,
    each: usize,
    width: usize,
) {
    let mut parts = SharedMemory::<f32>::new(comptime!(UNITS as usize));
    let row = row_of(rows);
    let begin = row * width;
    let (most, all) = partition(&mut parts, logits, begin, width);
    let target = row % each * width;
    let mut sum = 0.0f32;
    let mut i = UNIT_POS as usize % LANES;
    while i < width {
        sum += targets[target + i];
        i += LANES;
    }
    let mass = sum_of_row(&mut parts, sum);
    let mut i = UNIT_POS as usize % LANES;
    while i < width {
        let probability = f32::exp(logits[begin + i] - most) / all;
        output[begin + i] = (probability * mass - targets[target + i]) * grad[row];
        i += LANES;
    }
}

/// The distribution over the atoms of what the members say of the next step, moved by its return: see
/// [`crate::categorical::target_distribution`]. `penalties` has one array or none.
#[cube(launch)]
fn target_kernel(
    logits: &Array<f32>,
    rewards: &Array<f32>,
    discounts: &Array<f32>,
    penalties: &Sequence<Array<f32>>,
    output: &mut Array<f32>,
    low: f32,
    spacing: f32,
    members: usize,
    each: usize,
    #[comptime] width: usize,
    #[comptime] penalised: bool,
    #[comptime] combine: Combine,
) {
    let mut parts = SharedMemory::<f32>::new(comptime!(UNITS as usize));
    let mut masses = SharedMemory::<f32>::new(comptime!(ROWS * width));
    let mut places = SharedMemory::<f32>::new(comptime!(ROWS * width));
    let lane = UNIT_POS as usize % LANES;
    let of_row = UNIT_POS as usize / LANES * width;
    let row = row_of(each);

    // The smallest expectation, and how its member's probabilities are made of its logits.
    let mut smallest = 0.0f32;
    let mut unknown = false;
    for member in 0..members {
        let begin = (member * each + row) * width;
        let (most, all) = partition(&mut parts, logits, begin, width);
        let mean = mean_atom(&mut parts, logits, begin, width, most, all, low, spacing);
        unknown = unknown || mean.is_nan();
        let mut takes = member == 0 || mean < smallest;
        if comptime!(combine == Combine::Mean) {
            takes = true;
        } else if unknown {
            // The last member stands for those with one that is no number.
            takes = member + 1 == members;
        }
        if takes {
            smallest = mean;
        }
        let mut i = lane;
        while i < width {
            let probability = f32::exp(logits[begin + i] - most) / all;
            if comptime!(combine == Combine::Mean) {
                let before = select(member == 0, 0.0, masses[of_row + i]);
                masses[of_row + i] = before + probability / f32::cast_from(members);
            } else if takes {
                masses[of_row + i] = probability;
            }
            i += LANES;
        }
    }
    let last = comptime!((width - 1) as f32);
    let mut i = lane;
    while i < width {
        let mut atom = low + f32::cast_from(i) * spacing;
        if comptime!(penalised) {
            atom -= penalties[0][row];
        }
        let value = rewards[row] + discounts[row] * atom;
        let place = (value - low) / spacing;
        // What a device makes of a NaN between bounds differs.
        places[of_row + i] = select(place.is_nan(), place, clamp(place, 0.0, last));
        i += LANES;
    }
    sync_cube();
    let mut atom = lane;
    while atom < width {
        let mut sum = 0.0f32;
        for i in 0..width {
            let place = places[of_row + i];
            let mass = masses[of_row + i];
            let floor = f32::floor(place);
            let above = (place - floor) * mass;
            // What is not a number has no place: its shares go to the first two atoms.
            let lower = select(place.is_nan(), 0.0, floor);
            let upper = f32::min(lower + 1.0, last);
            let this = f32::cast_from(atom);
            if this == lower {
                sum += mass - above;
            }
            if this == upper {
                sum += above;
            }
        }
        output[row * width + atom] = sum;
        atom += LANES;
    }
}

/// Rows of all networks, rows of each, and their width, of `[members, rows, width]`.
fn sizes<R: CubeRuntime>(x: &CubeTensor<R>) -> [usize; 3] {
    let shape = x.shape();
    [shape[0] * shape[1], shape[1], shape[2]]
}

/// A cube for every [`ROWS`] rows.
fn grid<R: CubeRuntime>(client: &ComputeClient<R>, rows: usize) -> (CubeCount, CubeDim) {
    (grid_of(client, rows.div_ceil(ROWS)), CubeDim::new_1d(UNITS))
}

/// [`crate::RescoreBackend::norm_rows`]
pub(super) fn norm<R: CubeRuntime>(
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
pub(super) fn norm_backward<R: CubeRuntime>(
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

/// [`crate::RescoreBackend::expectation`]
pub(super) fn expectation<R: CubeRuntime>(logits: CubeTensor<R>, atoms: Atoms) -> CubeTensor<R> {
    let logits = into_contiguous(logits);
    let [rows, each, width] = sizes(&logits);
    let client = logits.client.clone();
    let output = empty(&client, &logits.device, Shape::from([rows / each, each, 1]));
    let (cubes, units) = grid(&client, rows);
    expectation_kernel::launch::<R>(
        &client,
        cubes,
        units,
        logits.into_array_arg(),
        output.clone().into_array_arg(),
        atoms.low as f32,
        atoms.spacing as f32,
        rows,
        width,
    );
    output
}

/// [`crate::RescoreBackend::expectation_backward`]
pub(super) fn expectation_backward<R: CubeRuntime>(
    logits: CubeTensor<R>,
    grad: CubeTensor<R>,
    atoms: Atoms,
) -> CubeTensor<R> {
    let [logits, grad] = [logits, grad].map(into_contiguous);
    let [rows, _, width] = sizes(&logits);
    let client = logits.client.clone();
    let output = empty(&client, &logits.device, logits.shape());
    let (cubes, units) = grid(&client, rows);
    expectation_backward_kernel::launch::<R>(
        &client,
        cubes,
        units,
        logits.into_array_arg(),
        grad.into_array_arg(),
        output.clone().into_array_arg(),
        atoms.low as f32,
        atoms.spacing as f32,
        rows,
        width,
    );
    output
}

/// [`crate::RescoreBackend::cross_entropy`]
pub(super) fn cross_entropy<R: CubeRuntime>(
    logits: CubeTensor<R>,
    targets: CubeTensor<R>,
) -> CubeTensor<R> {
    let [logits, targets] = [logits, targets].map(into_contiguous);
    let [rows, each, width] = sizes(&logits);
    let client = logits.client.clone();
    let output = empty(&client, &logits.device, Shape::from([rows / each, each, 1]));
    let (cubes, units) = grid(&client, rows);
    cross_entropy_kernel::launch::<R>(
        &client,
        cubes,
        units,
        logits.into_array_arg(),
        targets.into_array_arg(),
        output.clone().into_array_arg(),
        rows,
        each,
        width,
    );
    output
}

/// [`crate::RescoreBackend::cross_entropy_backward`]
pub(super) fn cross_entropy_backward<R: CubeRuntime>(
    logits: CubeTensor<R>,
    targets: CubeTensor<R>,
    grad: CubeTensor<R>,
) -> CubeTensor<R> {
    let [logits, targets, grad] = [logits, targets, grad].map(into_contiguous);
    let [rows, each, width] = sizes(&logits);
    let client = logits.client.clone();
    let output = empty(&client, &logits.device, logits.shape());
    let (cubes, units) = grid(&client, rows);
    cross_entropy_backward_kernel::launch::<R>(
        &client,
        cubes,
        units,
        logits.into_array_arg(),
        targets.into_array_arg(),
        grad.into_array_arg(),
        output.clone().into_array_arg(),
        rows,
        each,
        width,
    );
    output
}

/// [`crate::RescoreBackend::target_distribution`]; none where a row is too long for shared memory.
pub(super) fn target_distribution<R, T>(
    logits: &CubeTensor<R>,
    atoms: Atoms,
    combine: Combine,
    returns: &Returns<CubeBackend<R, f32, i32, T>>,
) -> Option<CubeTensor<R>>
where
    R: CubeRuntime,
    T: BoolElement,
{
    let logits = into_contiguous(logits.clone());
    let [rows, each, width] = sizes(&logits);
    let client = logits.client.clone();
    let shared = (UNITS as usize + 2 * ROWS * width) * size_of::<f32>();
    if shared > client.properties().hardware.max_shared_memory_size {
        return None;
    }
    let output = empty(&client, &logits.device, Shape::from([each, width]));
    let (cubes, units) = grid(&client, each);
    let of_row = |x: &Tensor<CubeBackend<R, f32, i32, T>, 1>| {
        assert_eq!(x.dims(), [each], "a number for each row");
        primitive(x.clone()).into_array_arg()
    };
    target_kernel::launch::<R>(
        &client,
        cubes,
        units,
        logits.into_array_arg(),
        of_row(&returns.rewards),
        of_row(&returns.discounts),
        returns.penalty.iter().map(of_row).collect(),
        output.clone().into_array_arg(),
        atoms.low as f32,
        atoms.spacing as f32,
        rows / each,
        each,
        width,
        returns.penalty.is_some(),
        combine,
    );
    Some(output)
}
