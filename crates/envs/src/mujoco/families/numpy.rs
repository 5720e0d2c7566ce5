//! Arithmetic in NumPy's order and precision.

use std::ops::Add;

/// `weight * sum a^2` in single precision, as NumPy 2 computes it from a `float32` action and a
/// Python number.
pub(super) fn control_cost(weight: f64, action: &[f32]) -> f64 {
    f64::from(weight as f32 * sum(action.len(), |i| action[i] * action[i]))
}

/// The sum of `n` terms in the order in which NumPy adds contiguous arrays: one after the other
/// below eight, up to 128 in eight interleaved sums, beyond in two halves. In single precision
/// another order gives another result, far beyond the 1e-9 to which trajectories agree.
pub(super) fn sum<T: Copy + Default + Add<Output = T>>(n: usize, term: impl Fn(usize) -> T) -> T {
    pairwise(0, n, &term)
}

fn pairwise<T: Copy + Default + Add<Output = T>>(
    start: usize,
    n: usize,
    term: &impl Fn(usize) -> T,
) -> T {
    let at = |i: usize| term(start + i);
    if n < 8 {
        return (0..n).fold(T::default(), |sum, i| sum + at(i));
    }
    if n > 128 {
        let half = n / 2 - n / 2 % 8;
        return pairwise(start, half, term) + pairwise(start + half, n - half, term);
    }
    let mut partial: [T; 8] = std::array::from_fn(at);
    let whole = n - n % 8;
    for i in 8..whole {
        partial[i % 8] = partial[i % 8] + at(i);
    }
    let [a, b, c, d, e, f, g, h] = partial;
    let sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
    (whole..n).fold(sum, |sum, i| sum + at(i))
}

/// The sum of squares of all numbers of `rows` after `map`.
pub(super) fn sum_of_squares<const N: usize>(rows: &[[f64; N]], map: impl Fn(f64) -> f64) -> f64 {
    sum(rows.len() * N, |i| {
        let x = map(rows[i / N][i % N]);
        x * x
    })
}

/// Euclidean norm, with fused multiply-adds as in NumPy's dot product.
pub(super) fn norm(vector: &[f64]) -> f64 {
    let square = vector.iter().fold(0.0, |sum: f64, x| x.mul_add(*x, sum));
    square.sqrt()
}

/// `a - b`.
pub(super) fn difference(a: &[f64; 3], b: &[f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_numpy_to_the_bit() {
        // NumPy 2.4.6: np.sum(np.square(x)) of x = 1/d, 2/d, ..., n/d in float32. For eight and
        // more of these, adding one after the other gives another last bit.
        for (n, d, bits) in [
            (7u16, 7.0f32, 1_077_336_942),
            (8, 7.0, 1_082_472_825),
            (8, 9.0, 1_075_916_648),
            (17, 3.0, 1_128_682_838),
            (17, 11.0, 1_097_599_095),
            (128, 9.0, 1_174_957_726),
            (129, 9.0, 1_175_168_101),
            (333, 7.0, 1_215_720_077),
        ] {
            let x: Vec<f32> = (1..=n).map(|i| f32::from(i) / d).collect();
            let sum = sum(x.len(), |i| x[i] * x[i]);
            assert_eq!(sum.to_bits(), bits, "{n} values over {d}: {sum}");
        }
    }
}
