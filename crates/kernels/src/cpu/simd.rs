//! Vectors of `f32`, one type for each instruction set.

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
    unsafe fn mul(self, other: Self) -> Self;
    /// `self * factor + term`
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
    /// The smaller; `self` where either is NaN.
    unsafe fn min(self, other: Self) -> Self;
    /// The larger; `self` where either is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// `1 / self`, to about the last bit.
    unsafe fn recip(self) -> Self;
    /// 2 to the power of the integer in the lowest bits of `self`, which is 1.5 * 2^23 plus an
    /// integer in [-126, 127].
    unsafe fn power_of_two(self) -> Self;
    /// `self` where `x >= limit` or `x` is NaN, else 0.
    unsafe fn zero_where_less(self, x: Self, limit: Self) -> Self;
}

/// `e^x` for x <= 20, relative error about 1e-7; 0 below -87. Cephes' `expf`.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn exp<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let s = |value| L::splat(value);
        let clamped = x.max(s(-87.0));
        // Adding 1.5 * 2^23 rounds to the nearest integer n, which then stands in the lowest bits.
        let shifted = clamped.mul_add(s(std::f32::consts::LOG2_E), s(12_582_912.0));
        let n = shifted.add(s(-12_582_912.0));
        let r = n.mul_add(s(-0.693_359_4), clamped);
        let r = n.mul_add(s(2.121_944_4e-4), r);
        let mut p = s(1.987_569_1e-4);
        for c in [
            1.398_2e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_5e-1,
            0.5,
        ] {
            p = p.mul_add(r, s(c));
        }
        let y = p.mul(r).mul_add(r, r.add(s(1.0)));
        y.mul(shifted.power_of_two()).zero_where_less(x, s(-87.0))
    }
}

/// `x tanh(softplus(x)) = x n / (n + 2)`, `n = e (e + 2)`, `e = e^min(x, 20)`.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
pub(super) unsafe fn mish<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let two = L::splat(2.0);
        let e = exp(x.min(L::splat(SATURATION)));
        let n = e.mul(e.add(two));
        x.mul(n).mul(n.add(two).recip())
    }
}

/// Eight values in plain Rust; the compiler makes what it can of them.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

// SAFETY: no instruction set is needed.
unsafe impl Lanes for Portable {
    const COUNT: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: valid for 8 values, the caller's promise; arrays of f32 have no more alignment.
        Self(unsafe { from.cast::<[f32; 8]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as for `load`.
        unsafe { to.cast::<[f32; 8]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        // Not fused: without the instruction that would be a call to a slow function.
        Self(std::array::from_fn(|i| self.0[i] * factor.0[i] + term.0[i]))
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if b < a { b } else { a })
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if b > a { b } else { a })
    }

    #[inline(always)]
    unsafe fn recip(self) -> Self {
        Self(self.0.map(|value| 1.0 / value))
    }

    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        Self(
            self.0
                .map(|value| f32::from_bits(value.to_bits().wrapping_add(127) << 23)),
        )
    }

    #[inline(always)]
    unsafe fn zero_where_less(self, x: Self, limit: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if x.0[i] < limit.0[i] { 0.0 } else { self.0[i] }
        }))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports)] // intrinsics carry their module in their names
    use std::arch::x86_64::*;

    use super::Lanes;

    /// 16 values, AVX-512 F, DQ and VL.
    #[derive(Clone, Copy)]
    pub(in crate::cpu) struct Avx512(__m512);

    // SAFETY: every method is one intrinsic of the instruction set that the trait demands.
    #[allow(clippy::undocumented_unsafe_blocks)] // one reason for all: the trait's own promise
    unsafe impl Lanes for Avx512 {
        const COUNT: usize = 16;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            Self(unsafe { _mm512_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Self(unsafe { _mm512_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, term.0) })
        }

        // min and max return their second operand where either is NaN
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            Self(unsafe { _mm512_min_ps(other.0, self.0) })
        }

        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            Self(unsafe { _mm512_max_ps(other.0, self.0) })
        }

        #[inline(always)]
        unsafe fn recip(self) -> Self {
            // 14 bits, and one Newton step doubles them
            unsafe {
                let guess = _mm512_rcp14_ps(self.0);
                let error = _mm512_fnmadd_ps(self.0, guess, _mm512_set1_ps(2.0));
                Self(_mm512_mul_ps(guess, error))
            }
        }

        #[inline(always)]
        unsafe fn power_of_two(self) -> Self {
            unsafe {
                let bits = _mm512_castps_si512(self.0);
                let biased = _mm512_add_epi32(bits, _mm512_set1_epi32(127));
                Self(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased)))
            }
        }

        #[inline(always)]
        unsafe fn zero_where_less(self, x: Self, limit: Self) -> Self {
            unsafe {
                let keep = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x.0, limit.0);
                Self(_mm512_maskz_mov_ps(keep, self.0))
            }
        }
    }

    /// 8 values, AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub(in crate::cpu) struct Avx2(__m256);

    // SAFETY: every method is one intrinsic of the instruction set that the trait demands.
    #[allow(clippy::undocumented_unsafe_blocks)] // one reason for all: the trait's own promise
    unsafe impl Lanes for Avx2 {
        const COUNT: usize = 8;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            Self(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Self(unsafe { _mm256_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm256_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            Self(unsafe { _mm256_mul_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
            Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, term.0) })
        }

        // min and max return their second operand where either is NaN
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            Self(unsafe { _mm256_min_ps(other.0, self.0) })
        }

        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            Self(unsafe { _mm256_max_ps(other.0, self.0) })
        }

        #[inline(always)]
        unsafe fn recip(self) -> Self {
            // The approximation has 12 bits only, so divide.
            Self(unsafe { _mm256_div_ps(_mm256_set1_ps(1.0), self.0) })
        }

        #[inline(always)]
        unsafe fn power_of_two(self) -> Self {
            unsafe {
                let bits = _mm256_castps_si256(self.0);
                let biased = _mm256_add_epi32(bits, _mm256_set1_epi32(127));
                Self(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased)))
            }
        }

        #[inline(always)]
        unsafe fn zero_where_less(self, x: Self, limit: Self) -> Self {
            unsafe {
                let keep = _mm256_cmp_ps::<_CMP_NLT_UQ>(x.0, limit.0);
                Self(_mm256_and_ps(keep, self.0))
            }
        }
    }
}
