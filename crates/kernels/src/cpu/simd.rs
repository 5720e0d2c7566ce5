//! Vectors of `f32`, one type for each instruction set, and the functions made of them.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

use crate::mish::SATURATION;

/// A register of `f32` values.
///
/// # Safety
/// All methods must be called only where the processor has the instruction set of the type, and
/// inlined into a function that is compiled for it. Pointers must be valid for `COUNT` values.
pub(super) unsafe trait Lanes: Copy {
    /// Values in a register.
    const COUNT: usize;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// `self * factor + term`
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
    /// `self * factor - term`
    unsafe fn mul_sub(self, factor: Self, term: Self) -> Self;
    /// The smaller; `self` where either is NaN.
    unsafe fn min(self, other: Self) -> Self;
    /// The larger; `self` where either is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// `1 / self`, to about the last bit.
    unsafe fn recip(self) -> Self;
    /// `1 / self`, to at least 12 bits.
    unsafe fn recip_roughly(self) -> Self;
    /// `self` times 2 to the power of `n`, or 0 where `x < limit`. `n` stands in the lowest bits of
    /// `shifted`, which is 1.5 * 2^23 + n; `self` and the result are normal numbers.
    unsafe fn scale(self, shifted: Self, x: Self, limit: Self) -> Self;
}

/// Coefficients, from the highest power down, of polynomials for `2^f`, `f` in [-1/2, 1/2]: those
/// with the smallest largest relative error, found by iteratively reweighted least squares.
///
/// Relative error 1.5e-7, of which half is the rounding of the coefficients.
const EXP2: [f32; 6] = [
    1.327_647_2e-3,
    9.675_541e-3,
    5.550_713e-2,
    0.240_221_2,
    0.693_146_94,
    1.000_000_1,
];

/// Relative error 7.5e-5, a fiftieth of what rounding to bf16 costs.
const EXP2_ROUGHLY: [f32; 4] = [5.517_167e-2, 0.242_611_13, 0.693_260_97, 0.999_928_06];

/// `e^x` for `x <= 20`, by `2^(n + f)` with the polynomial `exp2` for `2^f`; 0 below -87.
///
/// The product `x log2(e)` is rounded once, so the relative error grows by `|x|` 6e-8.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn exp<L: Lanes>(x: L, exp2: &[f32]) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let s = |value| L::splat(value);
        let limit = s(-87.0);
        let clamped = x.max(limit);
        // Adding 1.5 * 2^23 rounds to the nearest integer n, which then stands in the lowest bits.
        let shifted = clamped.mul_add(s(std::f32::consts::LOG2_E), s(12_582_912.0));
        let n = shifted.sub(s(12_582_912.0));
        let f = clamped.mul_sub(s(std::f32::consts::LOG2_E), n);
        let mut p = s(exp2[0]);
        for c in &exp2[1..] {
            p = p.mul_add(f, s(*c));
        }
        p.scale(shifted, x, limit)
    }
}

/// `x tanh(softplus(x)) = x n / (n + 2)`, `n = e (e + 2)`, `e = e^min(x, 20)`; error below 3e-7
/// relative to max(1, |mish(x)|).
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
pub(super) unsafe fn mish<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let two = L::splat(2.0);
        let e = exp(x.min(L::splat(SATURATION)), &EXP2);
        let n = e.mul(e.add(two));
        x.mul(n).mul(n.add(two).recip())
    }
}

/// [`mish`] to about four digits, for values that are then rounded to bf16's three.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
pub(super) unsafe fn mish_roughly<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let two = L::splat(2.0);
        let e = exp(x.min(L::splat(SATURATION)), &EXP2_ROUGHLY);
        let n = e.mul(e.add(two));
        x.mul(n).mul(n.add(two).recip_roughly())
    }
}

/// `d mish(x) / dx = th + x (1 - th^2) sigmoid(x)`, `th = n / (n + 2)` as in [`mish`].
///
/// With `d = n + 2` and `1 - th^2 = 4 (n + 1) / d^2 = 4 (e + 1)^2 / d^2`, the last factor's
/// `sigmoid(x) = e / (e + 1)` leaves `th + x 4 e (e + 1) / d^2`: one division for both.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
pub(super) unsafe fn mish_slope<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let (one, two, four) = (L::splat(1.0), L::splat(2.0), L::splat(4.0));
        let e = exp(x.min(L::splat(SATURATION)), &EXP2);
        let n = e.mul(e.add(two));
        let r = n.add(two).recip();
        let bend = four.mul(e).mul(e.add(one)).mul(r).mul(r);
        n.mul(r).add(x.mul(bend))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{InstructionSet, compiled::compiled};
    use super::*;

    compiled! {
        fn mish_of(values: &mut [f32]) = mish_kernel;
        fn rough_mish_of(values: &mut [f32]) = rough_mish_kernel;
        fn slope_of(values: &mut [f32]) = slope_kernel;
    }

    /// Defines a kernel that applies `$function` to all values.
    macro_rules! kernel {
        ($name:ident, $function:ident) => {
            #[inline(always)]
            unsafe fn $name<L: Lanes, const ROWS: usize>(values: &mut [f32]) {
                for chunk in values.chunks_exact_mut(L::COUNT) {
                    // SAFETY: the chunk has COUNT values; the instruction set is the caller's.
                    unsafe { $function(L::load(chunk.as_ptr())).store(chunk.as_mut_ptr()) }
                }
            }
        };
    }
    kernel!(mish_kernel, mish);
    kernel!(rough_mish_kernel, mish_roughly);
    kernel!(slope_kernel, mish_slope);

    /// What `function` makes of the values on every instruction set.
    fn on_all_sets(
        values: &[f32],
        function: fn(InstructionSet, &mut [f32]),
    ) -> Vec<(InstructionSet, Vec<f32>)> {
        let run = |set| {
            let mut values = values.to_vec();
            function(set, &mut values);
            (set, values)
        };
        InstructionSet::available().map(run).collect()
    }

    fn arguments() -> Vec<f32> {
        (0..64_000)
            .map(|i| (i as f32 / 64_000.0) * 140.0 - 100.0)
            .collect()
    }

    fn exact_mish(x: f64) -> f64 {
        x * x.exp().ln_1p().tanh()
    }

    fn exact_slope(x: f64) -> f64 {
        let th = x.exp().ln_1p().tanh();
        th + x * (1.0 - th * th) / (1.0 + (-x).exp())
    }

    #[track_caller]
    fn check(results: Vec<(InstructionSet, Vec<f32>)>, exact: fn(f64) -> f64, tolerance: f64) {
        for (set, values) in results {
            for (x, y) in arguments().iter().zip(values) {
                let e = exact(f64::from(*x));
                let error = (f64::from(y) - e).abs() / e.abs().max(1.0);
                assert!(error < tolerance, "{set:?}: f({x}) = {y}, not {e}");
            }
        }
    }

    #[test]
    fn mish_and_its_slope_agree_with_f64() {
        check(on_all_sets(&arguments(), mish_of), exact_mish, 3e-7);
        check(on_all_sets(&arguments(), rough_mish_of), exact_mish, 5e-4);
        check(on_all_sets(&arguments(), slope_of), exact_slope, 1e-6);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "infinity and zero are exact")]
    fn infinities_and_nan_are_as_in_the_formula() {
        let mut special = vec![0.0_f32; 16];
        special[..4].copy_from_slice(&[f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN]);
        for (set, values) in on_all_sets(&special, mish_of) {
            assert_eq!(values[0], f32::INFINITY, "{set:?}");
            // -inf * 0, as in the plain formula
            assert!(
                values[1..4].iter().all(|y| y.is_nan()),
                "{set:?}: {values:?}"
            );
            assert_eq!(values[4], 0.0, "{set:?}");
        }
    }
}
