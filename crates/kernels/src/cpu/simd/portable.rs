//! Eight values in plain Rust; the compiler makes what it can of them.

use super::Lanes;

/// Eight values. On aarch64, where every processor has it, multiplication and addition are fused,
/// and the compiler turns an array into two NEON registers; elsewhere fusing without the
/// instruction would be a call to a slow function.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(f))
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

/// `a * b + c`
#[inline(always)]
fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_arch = "aarch64") {
        a.mul_add(b, c)
    } else {
        a * b + c
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
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(std::array::from_fn(|i| {
            mul_add(self.0[i], factor.0[i], term.0[i])
        }))
    }

    #[inline(always)]
    unsafe fn mul_sub(self, factor: Self, term: Self) -> Self {
        Self(std::array::from_fn(|i| {
            mul_add(self.0[i], factor.0[i], -term.0[i])
        }))
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
        self.map(|value| 1.0 / value)
    }

    #[inline(always)]
    unsafe fn recip_roughly(self) -> Self {
        self.map(|value| 1.0 / value)
    }

    #[inline(always)]
    unsafe fn scale(self, shifted: Self, x: Self, limit: Self) -> Self {
        Self(std::array::from_fn(|i| {
            let scaled = self.0[i]
                .to_bits()
                .wrapping_add(shifted.0[i].to_bits() << 23);
            if x.0[i] < limit.0[i] {
                0.0
            } else {
                f32::from_bits(scaled)
            }
        }))
    }
}
