//! Distributions over atoms that are given by rows of logits.

use burn::tensor::{Shape, Tensor, TensorMetadata as _};
use burn_cubecl::{
    BoolElement, CubeBackend, CubeRuntime, kernel::into_contiguous, tensor::CubeTensor,
};
use cubecl::prelude::*;

use super::{LANES, ROWS, grid, most_of_row, row_of, sizes, sum_of_row};
use crate::{
    Combine,
    categorical::{Atoms, Returns},
    gpu::{UNITS, empty, primitive},
};

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
    let lane = UNIT_POS as usize % LANES;
    if lane == 0 {
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
    let lane = UNIT_POS as usize % LANES;
    if lane == 0 {
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
            if u32::cast_from(lower) as usize == atom {
                sum += mass - above;
            }
            if u32::cast_from(upper) as usize == atom {
                sum += above;
            }
        }
        output[row * width + atom] = sum;
        atom += LANES;
    }
}

/// [`crate::RescoreBackend::expectation`]
pub(in crate::gpu) fn expectation<R: CubeRuntime>(
    logits: CubeTensor<R>,
    atoms: Atoms,
) -> CubeTensor<R> {
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
pub(in crate::gpu) fn expectation_backward<R: CubeRuntime>(
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
pub(in crate::gpu) fn cross_entropy<R: CubeRuntime>(
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
pub(in crate::gpu) fn cross_entropy_backward<R: CubeRuntime>(
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
pub(in crate::gpu) fn target_distribution<R, T>(
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
