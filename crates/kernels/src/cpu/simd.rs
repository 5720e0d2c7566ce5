//! Vectors of `f32`, one type for each instruction set, and their exponential.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

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
pub(super) const EXP2: [f32; 6] = [
    1.327_647_2e-3,
    9.675_541e-3,
    5.550_713e-2,
    0.240_221_2,
    0.693_146_94,
    1.000_000_1,
];

/// Relative error 7.5e-5, a fiftieth of what rounding to bf16 costs.
pub(super) const EXP2_ROUGHLY: [f32; 4] = [5.517_167e-2, 0.242_611_13, 0.693_260_97, 0.999_928_06];

/// `e^x` for `x <= 20`, by `2^(n + f)` with the polynomial `exp2` for `2^f`; 0 below -87.
///
/// The product `x log2(e)` is rounded once, so the relative error grows by `|x|` 6e-8.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
pub(super) unsafe fn exp<L: Lanes>(x: L, exp2: &[f32]) -> L {
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
