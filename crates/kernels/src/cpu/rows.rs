//! Operations on whole rows in one pass over memory: norms and softmax.
//!
//! Sums are taken over sixteen columns side by side, so that the compiler turns them into vectors
//! and every instruction set adds in the same order.

use rescore_noise::multiversion;

/// Columns whose sums run side by side.
const SIDE: usize = 16;

/// Bits that adding it to a number of moderate size moves the nearest integer into.
const ROUND: f32 = 12_582_912.0;

/// `e^x` for `x <= 0`, 0 below -87: `2^n e^r` with the nearest integer `n` to `x / log 2` and, for
/// `|r| <= log 2 / 2`, the Taylor polynomial of degree 7; relative error below 2e-7.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let clamped = x.max(-87.0);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // log 2 in two parts: the product of the first with n is exact.
    let r = (clamped - n * 0.693_359_4) + n * 0.000_212_194_44;
    let mut p = 1.0 / 5040.0;
    for c in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = p * r + c;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    if x < -87.0 { 0.0 } else { p * power }
}

/// Sum of `value(i)` for `i` below `count`.
#[inline(always)]
fn sum(count: usize, value: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0; SIDE];
    let whole = count / SIDE * SIDE;
    for first in (0..whole).step_by(SIDE) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += value(first + i);
        }
    }
    for i in whole..count {
        sums[i - whole] += value(i);
    }
    let mut width = SIDE;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            sums[i] += sums[i + width];
        }
    }
    sums[0]
}

/// The largest of a row's values.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; SIDE];
    let chunks = row.chunks_exact(SIDE);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (most, value) in most.iter_mut().zip(chunk) {
            *most = if *value > *most { *value } else { *most };
        }
    }
    let all = most.iter().chain(rest);
    all.fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a })
}

multiversion! {
    /// `output = (x - mean) / sqrt(variance + epsilon) scale + shift` of rows as wide as `scale`.
    pub(crate) fn layer_norm(
        x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, output: &mut [f32]
    ) {
        let width = scale.len();
        let shift = &shift[..width];
        for (x, output) in x.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
            let mean = sum(width, |i| x[i]) / width as f32;
            let variance = sum(width, |i| (x[i] - mean) * (x[i] - mean)) / width as f32;
            let inverse = 1.0 / (variance + epsilon).sqrt();
            for i in 0..width {
                output[i] = (x[i] - mean) * inverse * scale[i] + shift[i];
            }
        }
    }
}

multiversion! {
    /// Derivatives of [`layer_norm`] by `x`, which take the place of those by its output in `grad`,
    /// and, added to, by `scale` and `shift`.
    pub(crate) fn layer_norm_backward(
        x: &[f32], scale: &[f32], epsilon: f32, grad: &mut [f32],
        of_scale: &mut [f32], of_shift: &mut [f32]
    ) {
        let width = scale.len();
        let (of_scale, of_shift) = (&mut of_scale[..width], &mut of_shift[..width]);
        for (x, grad) in x.chunks_exact(width).zip(grad.chunks_exact_mut(width)) {
            let count = width as f32;
            let mean = sum(width, |i| x[i]) / count;
            let variance = sum(width, |i| (x[i] - mean) * (x[i] - mean)) / count;
            let inverse = 1.0 / (variance + epsilon).sqrt();
            let across = sum(width, |i| grad[i] * scale[i]) / count;
            let along = sum(width, |i| grad[i] * scale[i] * ((x[i] - mean) * inverse)) / count;
            for i in 0..width {
                let normal = (x[i] - mean) * inverse;
                of_scale[i] += grad[i] * normal;
                of_shift[i] += grad[i];
                grad[i] = inverse * (grad[i] * scale[i] - across - normal * along);
            }
        }
    }
}

multiversion! {
    /// The expectation of each row's softmax over atoms from `low` on at distances of `spacing`.
    pub(crate) fn expectations(
        logits: &[f32], low: f32, spacing: f32, width: usize, work: &mut [f32], output: &mut [f32]
    ) {
        let work = &mut work[..width];
        for (row, output) in logits.chunks_exact(width).zip(output) {
            let most = largest(row);
            for i in 0..width {
                work[i] = exp(row[i] - most);
            }
            let mass = sum(width, |i| work[i]);
            let places = sum(width, |i| work[i] * i as f32);
            *output = low + spacing * (places / mass);
        }
    }
}

multiversion! {
    /// Derivatives of [`expectations`] by the logits: `p (z - expectation) grad`.
    pub(crate) fn expectation_slopes(
        logits: &[f32], spacing: f32, grad: &[f32], width: usize, output: &mut [f32]
    ) {
        let rows = logits.chunks_exact(width).zip(grad);
        for ((row, grad), output) in rows.zip(output.chunks_exact_mut(width)) {
            let most = largest(row);
            for i in 0..width {
                output[i] = exp(row[i] - most);
            }
            let mass = sum(width, |i| output[i]);
            let place = sum(width, |i| output[i] * i as f32) / mass;
            let factor = spacing * grad / mass;
            for i in 0..width {
                output[i] *= (i as f32 - place) * factor;
            }
        }
    }
}

multiversion! {
    /// Cross entropies of each row's softmax against its targets.
    pub(crate) fn cross_entropies(
        logits: &[f32], targets: &[f32], width: usize, output: &mut [f32]
    ) {
        let rows = logits.chunks_exact(width).zip(targets.chunks_exact(width));
        for ((row, target), output) in rows.zip(output) {
            let most = largest(row);
            let mass = sum(width, |i| exp(row[i] - most));
            let of_targets = sum(width, |i| target[i]);
            let weighted = sum(width, |i| target[i] * (row[i] - most));
            *output = of_targets * mass.ln() - weighted;
        }
    }
}

multiversion! {
    /// Derivatives of [`cross_entropies`] by the logits: `(softmax sum_k target_k - target) grad`.
    pub(crate) fn cross_entropy_slopes(
        logits: &[f32], targets: &[f32], grad: &[f32], width: usize, output: &mut [f32]
    ) {
        let rows = logits.chunks_exact(width).zip(targets.chunks_exact(width)).zip(grad);
        for (((row, target), grad), output) in rows.zip(output.chunks_exact_mut(width)) {
            let most = largest(row);
            for i in 0..width {
                output[i] = exp(row[i] - most);
            }
            let mass = sum(width, |i| output[i]);
            let share = sum(width, |i| target[i]) / mass;
            for i in 0..width {
                output[i] = (output[i] * share - target[i]) * grad;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_agrees_with_f64() {
        for i in 0..=87_000_u32 {
            let x = -(i as f32) / 1000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) / exact - 1.0).abs();
            assert!(error < 2e-7, "e^{x}: {error}");
        }
        assert!(exp(-100.0).abs() < f32::MIN_POSITIVE);
        assert!(exp(f32::NEG_INFINITY).abs() < f32::MIN_POSITIVE);
    }

    #[test]
    fn sums_of_any_length_are_complete() {
        for count in 0..40 {
            let expected = (count * (count + 1) / 2) as f32;
            assert!((sum(count, |i| (i + 1) as f32) - expected).abs() < 1e-3);
        }
    }
}
