//! The counter-based random numbers of [`crate::noise`] on a GPU.
//!
//! The integers are those of the processor to the bit. The normals come from the same polynomials
//! and agree to 1e-6: a shader compiler may fuse a multiplication with an addition, which ours on
//! the processor never does.

use burn::tensor::Shape;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{UNITS, empty};
use crate::Noise;

/// Four numbers.
pub(super) type Four<T> = Vector<T, Const<4>>;

/// Philox4x32-10: see [`crate::NoiseKey::bits`].
#[cube]
pub(super) fn bits(key: (u32, u32), row: u32, block: u32, step: u32, counter: u32) -> Four<u32> {
    let mut k0 = key.0;
    let mut k1 = key.1;
    let mut c0 = row;
    let mut c1 = block;
    let mut c2 = step;
    let mut c3 = counter;
    #[unroll]
    for _ in 0..10 {
        let high0 = u32::mul_hi(0xD251_1F53u32, c0);
        let low0 = 0xD251_1F53u32 * c0;
        let high1 = u32::mul_hi(0xCD9E_8D57u32, c2);
        let low1 = 0xCD9E_8D57u32 * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E37_79B9u32;
        k1 += 0xBB67_AE85u32;
    }
    let mut words = Four::<u32>::empty();
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
    words
}

/// Four standard normals: see [`crate::NoiseKey::normals`].
#[cube]
pub(super) fn normals(key: (u32, u32), row: u32, block: u32, step: u32, counter: u32) -> Four<f32> {
    let words = bits(key, row, block, step, counter);
    let first = box_muller(words[0], words[1]);
    let second = box_muller(words[2], words[3]);
    let mut values = Four::<f32>::empty();
    values[0] = first.0;
    values[1] = first.1;
    values[2] = second.0;
    values[3] = second.1;
    values
}

/// A number in (0, 1] from the upper 24 bits of a word.
#[cube]
fn unit(word: u32) -> f32 {
    (f32::cast_from(word >> 8) + 0.5) * (1.0 / 16_777_216.0)
}

#[cube]
fn box_muller(first: u32, second: u32) -> (f32, f32) {
    let radius = f32::sqrt(-2.0 * ln(unit(first)));
    let turned = sin_cos_turns(unit(second));
    (radius * turned.1, radius * turned.0)
}

/// Natural logarithm for arguments in [2^-25, 1].
#[cube]
fn ln(x: f32) -> f32 {
    // x = m 2^e with m in [sqrt(1/2), sqrt(2)); 32 is added to e so that it is never negative.
    let bits = u32::reinterpret(x);
    let shifted = bits - 0x3F35_04F3u32 + 0x1000_0000u32;
    let raised = shifted >> 23;
    let mantissa = f32::reinterpret(bits + 0x1000_0000u32 - (raised << 23));
    let e = f32::cast_from(raised) - 32.0;
    let z = mantissa - 1.0;
    let mut p = 7.037_683_6e-2f32 * z - 1.151_461e-1f32;
    p = p * z + 1.167_699_9e-1f32;
    p = p * z - 1.242_014_1e-1f32;
    p = p * z + 1.424_932_3e-1f32;
    p = p * z - 1.666_805_7e-1f32;
    p = p * z + 2.000_071_5e-1f32;
    p = p * z - 2.499_999_4e-1f32;
    p = p * z + 3.333_333e-1f32;
    let z2 = z * z;
    let y = p * z * z2 - 2.121_944_4e-4f32 * e - 0.5 * z2;
    z + y + 0.693_359_4f32 * e
}

/// Sine and cosine of `2 pi turns` for `turns` in [0, 1].
#[cube]
fn sin_cos_turns(turns: f32) -> (f32, f32) {
    // The nearest quarter turn. Adding and subtracting 1.5 * 2^23, as on the processor, would be
    // simplified away by a shader compiler.
    let quarters = f32::floor(turns * 4.0 + 0.5);
    let angle = (turns - quarters * 0.25) * comptime!(std::f32::consts::TAU);
    let z = angle * angle;
    let s =
        ((-1.951_529_6e-4f32 * z + 8.332_161e-3f32) * z - 1.666_665_5e-1f32) * z * angle + angle;
    let c = ((2.443_315_7e-5f32 * z - 1.388_731_6e-3f32) * z + 4.166_664_6e-2f32) * z * z - 0.5 * z
        + 1.0;
    let quarter = u32::cast_from(quarters);
    let odd = (quarter & 1) == 1;
    let sin = select(odd, c, s);
    let cos = select(odd, s, c);
    (
        select((quarter & 2) == 2, -sin, sin),
        select(((quarter + 1) & 2) == 2, -cos, cos),
    )
}

#[cube(launch)]
fn normals_kernel(
    output: &mut Array<f32>,
    rows: u32,
    key0: u32,
    key1: u32,
    counter: u32,
    #[comptime] columns: u32,
) {
    let blocks = comptime!(columns.div_ceil(4));
    let position = ABSOLUTE_POS as u32;
    let row = position / blocks;
    let block = position % blocks;
    if row < rows {
        let values = normals((key0, key1), row, block, 0u32, counter);
        #[unroll]
        for lane in 0..4usize {
            let column = block * 4 + lane as u32;
            if column < columns {
                output[(row * columns + column) as usize] = values[lane];
            }
        }
    }
}

/// [`Noise::normal`], drawn where it is used.
pub(super) fn normal<R: CubeRuntime>(
    noise: Noise,
    [rows, columns]: [usize; 2],
    device: &R::Device,
) -> CubeTensor<R> {
    let client = R::client(device);
    let output = empty(&client, device, Shape::from([rows, columns]));
    let [key0, key1] = noise.key.words();
    let cube_dim = CubeDim::new_1d(UNITS);
    let units = rows * columns.div_ceil(4);
    normals_kernel::launch::<R>(
        &client,
        calculate_cube_count_elemwise(&client, units, cube_dim),
        cube_dim,
        output.clone().into_array_arg(),
        rows as u32,
        key0,
        key1,
        noise.counter,
        columns as u32,
    );
    output
}
