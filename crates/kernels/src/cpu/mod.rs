//! Kernels for the CPU.
//!
//! * [`simd`]: the few vector operations that the kernels need, for each instruction set.
//! * [`product`]: a product of a few rows with packed weights, bias and Mish in its epilogue.
//! * [`chain`]: the whole denoising chain on a tile of rows that stays in cache.
//!
//! A kernel is generic over the vector type and compiled once for every instruction set;
//! [`InstructionSet::detect`] picks one when the program runs.

pub(crate) mod chain;
mod product;
mod simd;

use std::sync::OnceLock;

/// An instruction set that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InstructionSet {
    /// AVX-512 F, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Whatever the build's target has.
    Portable,
}

impl InstructionSet {
    /// The best that this processor has, or a lesser one that the environment variable
    /// `RESCORE_CPU` (`avx512`, `avx2`, `portable`) asks for; any other value of it is ignored.
    /// Read once.
    pub(crate) fn detect() -> Self {
        static DETECTED: OnceLock<InstructionSet> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let wanted = std::env::var("RESCORE_CPU").unwrap_or_default();
            Self::available()
                .find(|set| set.name() == wanted)
                .or_else(|| Self::available().next())
                .unwrap_or(Self::Portable)
        })
    }

    /// All that the kernels are compiled for here, the fastest first.
    const ALL: &[Self] = &[
        #[cfg(target_arch = "x86_64")]
        Self::Avx512,
        #[cfg(target_arch = "x86_64")]
        Self::Avx2,
        Self::Portable,
    ];

    /// All that this processor has, the fastest first.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|set| set.is_available())
    }

    /// Whether this processor has it.
    pub(crate) fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Portable => true,
        }
    }

    /// Its name in `RESCORE_CPU`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }
}
