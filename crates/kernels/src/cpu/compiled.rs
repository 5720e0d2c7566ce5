//! Functions compiled for every instruction set.

/// Defines functions that run a generic kernel `kernel::<L, ROWS>` compiled for the instruction
/// set that they are given first: registers of the type `L`, `ROWS` rows in a register tile.
/// `kernel` must be `unsafe fn` and `#[inline(always)]`.
macro_rules! compiled {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?)
        = $kernel:ident $(::<$precision:ty>)?;)*) => {$(
        $(#[$doc])*
        fn $name(set: $crate::cpu::InstructionSet, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $ty),*) {
                // SAFETY: the attribute enables what the vector type needs.
                unsafe { $kernel::<$crate::cpu::simd::Avx512, $($precision,)? 8>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) {
                // SAFETY: the attribute enables what the vector type needs.
                unsafe { $kernel::<$crate::cpu::simd::Avx2, $($precision,)? 6>($($arg),*) }
            }
            fn portable($($arg: $ty),*) {
                // SAFETY: nothing is needed.
                unsafe { $kernel::<$crate::cpu::simd::Portable, $($precision,)? 4>($($arg),*) }
            }
            assert!(set.is_available(), "this processor has no {}", set.name());
            match set {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the set is available.
                InstructionSet::Avx512Bf16 | InstructionSet::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the set is available.
                InstructionSet::Avx2 => unsafe { avx2($($arg),*) },
                InstructionSet::Portable => portable($($arg),*),
            }
        }
    )*};
}
pub(super) use compiled;
