//! AVX-512 and AVX2.

#[allow(clippy::wildcard_imports)] // intrinsics carry their module in their names
use std::arch::x86_64::*;

use super::Lanes;

/// 16 values, AVX-512 F, DQ and VL.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Avx512(pub(in crate::cpu) __m512);

// SAFETY: every method is intrinsics of the instruction set that the trait demands.
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
    unsafe fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, term.0) })
    }

    #[inline(always)]
    unsafe fn mul_sub(self, factor: Self, term: Self) -> Self {
        Self(unsafe { _mm512_fmsub_ps(self.0, factor.0, term.0) })
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
    unsafe fn recip_roughly(self) -> Self {
        Self(unsafe { _mm512_rcp14_ps(self.0) })
    }

    #[inline(always)]
    unsafe fn scale(self, shifted: Self, x: Self, limit: Self) -> Self {
        unsafe {
            let keep = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x.0, limit.0);
            let power = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted.0));
            let bits = _mm512_maskz_add_epi32(keep, _mm512_castps_si512(self.0), power);
            Self(_mm512_castsi512_ps(bits))
        }
    }
}

/// 8 values, AVX2 and FMA.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Avx2(__m256);

// SAFETY: every method is intrinsics of the instruction set that the trait demands.
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
    unsafe fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, term.0) })
    }

    #[inline(always)]
    unsafe fn mul_sub(self, factor: Self, term: Self) -> Self {
        Self(unsafe { _mm256_fmsub_ps(self.0, factor.0, term.0) })
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
    unsafe fn recip_roughly(self) -> Self {
        Self(unsafe { _mm256_rcp_ps(self.0) })
    }

    #[inline(always)]
    unsafe fn scale(self, shifted: Self, x: Self, limit: Self) -> Self {
        unsafe {
            let keep = _mm256_cmp_ps::<_CMP_NLT_UQ>(x.0, limit.0);
            let power = _mm256_slli_epi32::<23>(_mm256_castps_si256(shifted.0));
            let bits = _mm256_add_epi32(_mm256_castps_si256(self.0), power);
            Self(_mm256_and_ps(keep, _mm256_castsi256_ps(bits)))
        }
    }
}
