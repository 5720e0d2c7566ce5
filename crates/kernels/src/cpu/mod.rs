//! Kernels for the CPU.
//!
//! * [`simd`]: the few vector operations that the kernels need, for each instruction set;
//!   [`activation`]: Mish and GELU made of them; [`precision`]: `f32` and bf16.
//! * [`product`]: a product of a few rows with packed weights, bias and Mish in its epilogue;
//!   [`layer`]: a linear layer and an activation for training, with their derivatives.
//! * [`network`]: a network on a tile of rows that stays in cache; [`chain`]: the denoising chain
//!   made of it; [`score`] and [`residual`]: several critics of linear layers or of residual blocks;
//!   [`rows`]: norms and softmax of rows.
//!
//! A kernel is generic over the vector type and [`compiled`] once for every instruction set;
//! [`InstructionSet::detect`] picks one when the program runs.

mod activation;
mod buffer;
pub(crate) mod chain;
mod compiled;
pub(crate) mod layer;
pub(crate) mod network;
pub mod peak;
mod precision;
mod product;
pub(crate) mod residual;
pub(crate) mod rows;
pub(crate) mod score;
mod simd;

use std::sync::OnceLock;

/// An instruction set that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InstructionSet {
    /// AVX-512 F, BW, DQ, VL and BF16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
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
    /// `RESCORE_CPU` (`avx512bf16`, `avx512`, `avx2`, `portable`) asks for; any other value of it is ignored.
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
        Self::Avx512Bf16,
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
            Self::Avx512Bf16 => {
                Self::Avx512.is_available()
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512bf16")
            }
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
            Self::Avx512Bf16 => "avx512bf16",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Values in a register.
    pub(super) const fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 | Self::Avx512 => 16,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 8,
            Self::Portable => 8,
        }
    }

    /// Rows of a register tile; as in `compiled`.
    pub(super) const fn block_rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 | Self::Avx512 => 8,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 6,
            Self::Portable => 4,
        }
    }

    /// Rows of a tile when there are `rows` in all: a multiple of [`Self::block_rows`], at most 64
    /// so that a tile's activations stay in the second-level cache, and fewer where that gives all
    /// cores something to do.
    pub(super) fn tile_rows(self, rows: usize) -> usize {
        let block = self.block_rows();
        rows.div_ceil(4)
            .next_multiple_of(block)
            .min(64 / block * block)
    }
}
