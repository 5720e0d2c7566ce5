//! How a product holds its activations and weights: `f32`, or bf16 with sums in `f32`.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m256i, __m512bh, _mm256_storeu_si256, _mm512_cvtneps_pbh, _mm512_dpbf16_ps,
    _mm512_loadu_si512, _mm512_set1_epi32,
};

#[cfg(target_arch = "x86_64")]
use super::simd::Avx512;
use super::{
    activation::{mish, mish_roughly},
    buffer::Plain,
    simd::Lanes,
};

/// A way to hold values.
pub(super) trait Format {
    /// A held value.
    type Value: Plain;
    /// Consecutive values of the depth that one multiplication takes in.
    const GROUP: usize;

    /// The nearest value that can be held.
    fn round(value: f32) -> Self::Value;
}

/// A way to multiply the values of a format in registers of the type `L`.
///
/// # Safety
/// Methods as for [`Lanes`]; pointers must be valid for what they are said to point to.
pub(super) unsafe trait Precision<L: Lanes>: Format {
    /// `GROUP` values of a row's depth, the same for all columns.
    type Factor: Copy;
    /// `GROUP` weights for each of `L::COUNT` columns.
    type Weights: Copy;

    /// From `GROUP` values.
    unsafe fn broadcast(from: *const Self::Value) -> Self::Factor;
    /// From `GROUP * L::COUNT` values, those of a column side by side.
    unsafe fn load(from: *const Self::Value) -> Self::Weights;
    /// `sum` plus the products of the group.
    unsafe fn multiply_add(x: Self::Factor, w: Self::Weights, sum: L) -> L;
    /// Rounds `value` and writes it to `L::COUNT` places.
    unsafe fn store(value: L, to: *mut Self::Value);
    /// Mish, as exact as is worth while when the result is then stored.
    unsafe fn mish(x: L) -> L;
}

/// Everything in `f32`.
pub(super) struct Single;

impl Format for Single {
    type Value = f32;
    const GROUP: usize = 1;

    #[inline(always)]
    fn round(value: f32) -> f32 {
        value
    }
}

// SAFETY: loads and stores are those of `Lanes`.
unsafe impl<L: Lanes> Precision<L> for Single {
    type Factor = L;
    type Weights = L;

    #[inline(always)]
    unsafe fn broadcast(from: *const f32) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::splat(*from) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load(from) }
    }

    #[inline(always)]
    unsafe fn multiply_add(x: L, w: L, sum: L) -> L {
        // SAFETY: the caller's promise.
        unsafe { x.mul_add(w, sum) }
    }

    #[inline(always)]
    unsafe fn store(value: L, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { value.store(to) }
    }

    #[inline(always)]
    unsafe fn mish(x: L) -> L {
        // SAFETY: the caller's promise.
        unsafe { mish(x) }
    }
}

/// The bits of the bf16 number nearest to `value`, ties to even; NaN stays NaN.
#[inline(always)]
pub(super) fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        // quiet, so that no mantissa becomes that of an infinity
        return (bits >> 16) as u16 | 0x40;
    }
    (bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16) as u16
}

/// Values rounded to bf16 but held and multiplied as `f32`: what processors without bf16
/// instructions do, so that a run means the same there. It is not faster than [`Single`].
pub(super) struct RoundedHalf;

impl Format for RoundedHalf {
    type Value = f32;
    const GROUP: usize = 1;

    #[inline(always)]
    fn round(value: f32) -> f32 {
        f32::from_bits(u32::from(to_bf16(value)) << 16)
    }
}

// SAFETY: as for `Single`.
unsafe impl<L: Lanes> Precision<L> for RoundedHalf {
    type Factor = L;
    type Weights = L;

    #[inline(always)]
    unsafe fn broadcast(from: *const f32) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::splat(*from) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load(from) }
    }

    #[inline(always)]
    unsafe fn multiply_add(x: L, w: L, sum: L) -> L {
        // SAFETY: the caller's promise.
        unsafe { x.mul_add(w, sum) }
    }

    #[inline(always)]
    unsafe fn store(value: L, to: *mut f32) {
        // SAFETY: the caller's promise: room for `L::COUNT` values.
        unsafe {
            value.store(to);
            for value in std::slice::from_raw_parts_mut(to, L::COUNT) {
                *value = Self::round(*value);
            }
        }
    }

    #[inline(always)]
    unsafe fn mish(x: L) -> L {
        // SAFETY: the caller's promise.
        unsafe { mish_roughly(x) }
    }
}

/// bf16 in memory, multiplied in pairs by AVX-512's `vdpbf16ps`: twice the products of an `f32`
/// multiply-add, summed in `f32`.
#[cfg(target_arch = "x86_64")]
pub(super) struct Half;

#[cfg(target_arch = "x86_64")]
impl Format for Half {
    type Value = u16;
    const GROUP: usize = 2;

    #[inline(always)]
    fn round(value: f32) -> u16 {
        to_bf16(value)
    }
}

#[cfg(target_arch = "x86_64")]
// SAFETY: every method is intrinsics of AVX-512 F, VL and BF16; what is read and written is what
// the trait says.
#[allow(clippy::undocumented_unsafe_blocks)] // one reason for all: the trait's own promise
unsafe impl Precision<Avx512> for Half {
    type Factor = __m512bh;
    type Weights = __m512bh;

    #[inline(always)]
    unsafe fn broadcast(from: *const u16) -> __m512bh {
        unsafe {
            let pair = from.cast::<i32>().read_unaligned();
            std::mem::transmute(_mm512_set1_epi32(pair))
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const u16) -> __m512bh {
        unsafe { std::mem::transmute(_mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    unsafe fn multiply_add(x: __m512bh, w: __m512bh, sum: Avx512) -> Avx512 {
        Avx512(unsafe { _mm512_dpbf16_ps(sum.0, x, w) })
    }

    #[inline(always)]
    unsafe fn store(value: Avx512, to: *mut u16) {
        unsafe {
            let half: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(value.0));
            _mm256_storeu_si256(to.cast(), half);
        }
    }

    #[inline(always)]
    unsafe fn mish(x: Avx512) -> Avx512 {
        unsafe { mish_roughly(x) }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "bf16 numbers are exact in f32")]
mod tests {
    use super::to_bf16;

    #[test]
    fn rounding_is_to_nearest_even() {
        let widen = |half: u16| f32::from_bits(u32::from(half) << 16);
        assert_eq!(widen(to_bf16(1.0)), 1.0);
        // halfway between 1 and the next number 1 + 2^-7: to even
        assert_eq!(widen(to_bf16(1.003_906_3)), 1.0);
        assert_eq!(widen(to_bf16(1.0 + 3.0 / 256.0)), 1.0 + 2.0 / 128.0);
        assert_eq!(widen(to_bf16(f32::MAX)), f32::INFINITY);
        assert_eq!(widen(to_bf16(f32::NEG_INFINITY)), f32::NEG_INFINITY);
        assert!(widen(to_bf16(f32::from_bits(0x7F80_0001))).is_nan());
    }
}
