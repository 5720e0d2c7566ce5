//! Softmax weights of particles, and their temperature.

use burn::tensor::{Shape, TensorMetadata as _};
use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::prelude::*;

use super::{LANES, grid, most_of_row, row_of, sum_of_row};
use crate::gpu::{UNITS, empty};
use crate::weights::RANGE;

/// Halvings of the logarithm of the temperature's range: its width, 18.4, becomes 4e-9, below the distance
/// of two numbers in 32 bits.
const HALVINGS: usize = 32;

#[cube(launch)]
fn weights_kernel(
    scores: &Array<f32>,
    temperature: &Array<f32>,
    probabilities: &mut Array<f32>,
    kl: &mut Array<f32>,
    effective: &mut Array<f32>,
    rows: usize,
    width: usize,
) {
    let mut parts = SharedMemory::<f32>::new(comptime!(UNITS as usize));
    let row = row_of(rows);
    let begin = row * width;
    let lane = UNIT_POS as usize % LANES;
    let temperature = temperature[0];
    let mut most = scores[begin];
    let mut i = lane;
    while i < width {
        most = f32::max(most, scores[begin + i]);
        i += LANES;
    }
    let most = most_of_row(&mut parts, most);
    let mut sum = 0.0f32;
    let mut i = lane;
    while i < width {
        sum += f32::exp((scores[begin + i] - most) / temperature);
        i += LANES;
    }
    let logarithm = f32::ln(sum_of_row(&mut parts, sum));
    let equal = f32::ln(f32::cast_from(width));
    let mut divergence = 0.0f32;
    let mut squares = 0.0f32;
    let mut i = lane;
    while i < width {
        let log_probability = (scores[begin + i] - most) / temperature - logarithm;
        let probability = f32::exp(log_probability);
        probabilities[begin + i] = probability;
        divergence += probability * (log_probability + equal);
        squares += probability * probability;
        i += LANES;
    }
    let divergence = sum_of_row(&mut parts, divergence);
    let squares = sum_of_row(&mut parts, squares);
    if lane == 0 {
        kl[row] = divergence;
        effective[row] = 1.0 / squares;
    }
}

/// [`crate::RescoreBackend::softmax_weights`]
pub(in crate::gpu) fn softmax_weights<R: CubeRuntime>(
    scores: CubeTensor<R>,
    temperature: CubeTensor<R>,
) -> [CubeTensor<R>; 3] {
    let scores = into_contiguous(scores);
    let shape = scores.shape();
    let [rows, width] = [shape[0], shape[1]];
    let (client, device) = (scores.client.clone(), scores.device.clone());
    let output = |columns| empty(&client, &device, Shape::from([rows, columns]));
    let outputs = [width, 1, 1].map(output);
    let [probabilities, kl, effective] = outputs.clone();
    let (count, dim) = grid(&client, rows);
    weights_kernel::launch::<R>(
        &client,
        count,
        dim,
        scores.into_array_arg(),
        into_contiguous(temperature).into_array_arg(),
        probabilities.into_array_arg(),
        kl.into_array_arg(),
        effective.into_array_arg(),
        rows,
        width,
    );
    outputs
}

/// Bisection of the logarithm of the temperature by one cube, whose threads take the rows in turns.
#[cube(launch)]
fn temperature_kernel(
    scores: &Array<f32>,
    output: &mut Array<f32>,
    rows: usize,
    width: usize,
    target: f32,
    lowest: f32,
    highest: f32,
) {
    let unit = UNIT_POS as usize;
    let mut sums = SharedMemory::<f32>::new(comptime!(UNITS as usize));
    let mut low = lowest;
    let mut high = highest;
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        let temperature = f32::exp(middle);
        let mut all = 0.0f32;
        let mut row = unit;
        while row < rows {
            let begin = row * width;
            let mut most = scores[begin];
            for i in 1..width {
                most = f32::max(most, scores[begin + i]);
            }
            let mut sum = 0.0f32;
            let mut weighted = 0.0f32;
            for i in 0..width {
                let scaled = (scores[begin + i] - most) / temperature;
                let e = f32::exp(scaled);
                sum += e;
                // 0 times an infinity is no number.
                weighted += e * f32::max(scaled, -3e38);
            }
            all += weighted / sum - f32::ln(sum / f32::cast_from(width));
            row += UNITS as usize;
        }
        sums[unit] = all;
        sync_cube();
        #[unroll]
        for step in 0..8usize {
            let half = comptime!(128usize >> step);
            if unit < half {
                sums[unit] = sums[unit] + sums[unit + half];
            }
            sync_cube();
        }
        // False where it is no number, too.
        if sums[0] < target {
            high = middle;
        } else {
            low = middle;
        }
        sync_cube();
    }
    if unit == 0 {
        output[0] = 0.5 * (low + high);
    }
}

/// [`crate::RescoreBackend::softmax_temperature`]
pub(in crate::gpu) fn softmax_temperature<R: CubeRuntime>(
    scores: CubeTensor<R>,
    target: f64,
) -> CubeTensor<R> {
    let scores = into_contiguous(scores);
    let shape = scores.shape();
    let [rows, width] = [shape[0], shape[1]];
    let output = empty(&scores.client, &scores.device, Shape::from([1]));
    let client = scores.client.clone();
    let [lowest, highest] = RANGE.map(|end| end.ln() as f32);
    temperature_kernel::launch::<R>(
        &client,
        CubeCount::new_single(),
        CubeDim::new_1d(UNITS),
        scores.into_array_arg(),
        output.clone().into_array_arg(),
        rows,
        width,
        (target * rows as f64) as f32,
        lowest,
        highest,
    );
    output
}
