//! The activations and their derivatives, a register of values at a time.

use super::simd::{EXP2, EXP2_ROUGHLY, Lanes, exp};
use crate::gelu::{INV_SQRT_TAU, TAIL, TAIL_SLOPE};
use crate::mish::SATURATION;

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

/// An element-wise function that is differentiated.
pub(super) trait Function {
    /// Its value at `x`.
    ///
    /// # Safety
    /// As for [`Lanes`].
    unsafe fn value<L: Lanes>(x: L) -> L;

    /// Its derivative at `x`.
    ///
    /// # Safety
    /// As for [`Lanes`].
    unsafe fn slope<L: Lanes>(x: L) -> L;
}

/// [`crate::Activation::Mish`]
pub(super) struct Mish;

/// [`crate::Activation::Gelu`]
pub(super) struct Gelu;

impl Function for Mish {
    #[inline(always)]
    unsafe fn value<L: Lanes>(x: L) -> L {
        // SAFETY: the caller's promise.
        unsafe { mish(x) }
    }

    /// `th + x (1 - th^2) sigmoid(x)`, `th = n / (n + 2)` as in [`mish`].
    ///
    /// With `d = n + 2` and `1 - th^2 = 4 (n + 1) / d^2 = 4 (e + 1)^2 / d^2`, the last factor's
    /// `sigmoid(x) = e / (e + 1)` leaves `th + x 4 e (e + 1) / d^2`: one division for both.
    #[inline(always)]
    unsafe fn slope<L: Lanes>(x: L) -> L {
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
}

/// [`crate::Activation::Relu`]
pub(super) struct Relu;

impl Function for Relu {
    #[inline(always)]
    unsafe fn value<L: Lanes>(x: L) -> L {
        // SAFETY: the caller's promise.
        unsafe { x.max(L::splat(0.0)) }
    }

    /// 1 where `x` is positive: what is a normal number and multiplied by the largest one exceeds 1.
    #[inline(always)]
    unsafe fn slope<L: Lanes>(x: L) -> L {
        // SAFETY: the caller's promise.
        unsafe {
            let (zero, one) = (L::splat(0.0), L::splat(1.0));
            x.mul(L::splat(f32::MAX)).max(zero).min(one)
        }
    }
}

impl Gelu {
    /// `y = |x|`, at most [`Gelu::FAR`] for positive `x`, then `e = e^(-x^2 / 2)` and the tail
    /// `Phi(-y)`.
    #[inline(always)]
    unsafe fn tail<L: Lanes>(x: L) -> [L; 3] {
        // SAFETY: the caller's promise.
        unsafe {
            let s = |value| L::splat(value);
            // What is infinite is not multiplied by a tail of 0, which would not be a number; where
            // it is negative, it should not be one.
            let y = s(0.0).sub(x).max(x.min(s(Self::FAR)));
            let e = exp(x.mul(x).mul(s(-0.5)), &EXP2);
            let t = y.min(s(Self::FAR)).mul_add(s(TAIL_SLOPE), s(1.0)).recip();
            let mut p = s(TAIL[0]);
            for c in &TAIL[1..] {
                p = p.mul_add(t, s(*c));
            }
            [y, e, e.mul(p)]
        }
    }

    /// From here on the tail is 0 in `f32`.
    const FAR: f32 = 14.0;
}

impl Function for Gelu {
    /// `x Phi(x) = max(x, 0) - |x| Phi(-|x|)`; error below 3e-7 relative to max(1, |x|).
    #[inline(always)]
    unsafe fn value<L: Lanes>(x: L) -> L {
        // SAFETY: the caller's promise.
        unsafe {
            let [y, _, tail] = Self::tail(x);
            x.max(L::splat(0.0)).sub(y.mul(tail))
        }
    }

    /// `Phi(x) + x phi(x)`, where `Phi(x)` is the tail or 1 less it.
    #[inline(always)]
    unsafe fn slope<L: Lanes>(x: L) -> L {
        // SAFETY: the caller's promise.
        unsafe {
            let s = |value| L::splat(value);
            let [_, e, tail] = Self::tail(x);
            // 1 where x is positive, 0 where it is negative; next to 0, where it is between, both
            // are the same.
            let positive = x.mul(s(f32::MAX)).max(s(0.0)).min(s(1.0));
            let cdf = positive.mul_add(s(1.0).sub(tail.add(tail)), tail);
            let density = e.mul(s(INV_SQRT_TAU as f32));
            x.min(s(Self::FAR)).mul_add(density, cdf)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{InstructionSet, compiled::compiled};

    compiled! {
        fn mish_of(values: &mut [f32]) = mish_kernel;
        fn rough_mish_of(values: &mut [f32]) = rough_mish_kernel;
        fn mish_slope_of(values: &mut [f32]) = mish_slope_kernel;
        fn gelu_of(values: &mut [f32]) = gelu_kernel;
        fn gelu_slope_of(values: &mut [f32]) = gelu_slope_kernel;
    }

    /// Defines a kernel that applies `$function` to all values.
    macro_rules! kernel {
        ($name:ident, $function:path) => {
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
    kernel!(mish_slope_kernel, Mish::slope);
    kernel!(gelu_kernel, Gelu::value);
    kernel!(gelu_slope_kernel, Gelu::slope);

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
        check(on_all_sets(&arguments(), mish_slope_of), exact_slope, 1e-6);
    }

    /// `Phi(-y)` for positive `y`: near 0 by the series in which all terms have one sign, else by the
    /// continued fraction of Laplace.
    fn exact_tail(y: f64) -> f64 {
        let density = (-0.5 * y * y).exp() / std::f64::consts::TAU.sqrt();
        if y < 2.0 {
            let term = |sum_term: (f64, f64), k: i32| {
                let term = sum_term.1 * y * y / f64::from(2 * k + 1);
                (sum_term.0 + term, term)
            };
            0.5 - density * (1..60).fold((y, y), term).0
        } else {
            let fraction = (1..300).rev().fold(y, |rest, k| y + f64::from(k) / rest);
            density / fraction
        }
    }

    fn exact_cdf(x: f64) -> f64 {
        let tail = exact_tail(x.abs());
        if x < 0.0 { tail } else { 1.0 - tail }
    }

    fn exact_gelu_slope(x: f64) -> f64 {
        exact_cdf(x) + x * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
    }

    #[test]
    fn gelu_and_its_slope_agree_with_f64() {
        let exact = |x: f64| x * exact_cdf(x);
        check(on_all_sets(&arguments(), gelu_of), exact, 3e-7);
        check(
            on_all_sets(&arguments(), gelu_slope_of),
            exact_gelu_slope,
            1e-6,
        );
        // The tail is exact in its own digits, up to the roundings of the exponent.
        for (set, values) in on_all_sets(&arguments(), gelu_of) {
            let tail = arguments().into_iter().zip(values);
            for (x, y) in tail.filter(|(x, _)| (-13.0..0.0).contains(x)) {
                let exact = exact(f64::from(x));
                let error = (f64::from(y) / exact - 1.0).abs();
                let tolerance = 6e-7 + 2e-7 * f64::from(x * x);
                assert!(error < tolerance, "{set:?}: gelu({x}) = {y}, not {exact}");
            }
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "infinity and zero are exact")]
    fn infinities_and_nan_are_as_in_the_formula() {
        let mut special = vec![0.0_f32; 16];
        special[..4].copy_from_slice(&[f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN]);
        for function in [mish_of, gelu_of] {
            for (set, values) in on_all_sets(&special, function) {
                assert_eq!(values[0], f32::INFINITY, "{set:?}");
                // -inf * 0, as in the plain formula
                assert!(
                    values[1..4].iter().all(|y| y.is_nan()),
                    "{set:?}: {values:?}"
                );
                assert_eq!(values[4], 0.0, "{set:?}");
            }
        }
        for (set, values) in on_all_sets(&special, gelu_slope_of) {
            assert_eq!(values[0], 1.0, "{set:?}");
            assert!(values[1..4].iter().all(|y| y.is_nan()), "{set:?}");
            assert_eq!(values[4], 0.5, "{set:?}");
        }
    }
}
