//! What the machine can do.

use std::time::Instant;

/// Side of the matrices.
const SIDE: usize = 2048;

/// Rates that results are compared with, measured in the same run on the same threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yardsticks {
    /// Billions of operations a second of a 2048^3 product in `f32` by the `gemm` crate, the best
    /// of five.
    pub matmul_gflops: f64,
    /// The same of multiply-adds that touch no memory, where the kernels that can measure it are
    /// compiled in.
    pub peak_gflops: Option<f64>,
}

impl Yardsticks {
    /// Measures both; takes about a second.
    pub fn measure() -> Self {
        rayon::scope(|_| Self {
            matmul_gflops: (0..5).map(|_| matmul_gflops()).fold(0.0, f64::max),
            peak_gflops: peak_gflops(),
        })
    }

    /// Both in words.
    pub fn line(&self) -> String {
        let peak = self.peak_gflops.map_or_else(String::new, |peak| {
            format!(", multiply-add peak {peak:.0} GFLOP/s")
        });
        format!(
            "{SIDE}^3 product {:.0} GFLOP/s{peak}, {} threads",
            self.matmul_gflops,
            rayon::current_num_threads()
        )
    }
}

#[allow(clippy::unnecessary_wraps)] // the other build has none
fn peak_gflops() -> Option<f64> {
    #[cfg(feature = "flex")]
    return Some(rescore_kernels::peak::multiply_add_gflops());
    #[cfg(not(feature = "flex"))]
    None
}

fn matmul_gflops() -> f64 {
    let (a, b) = (vec![1.0_f32; SIDE * SIDE], vec![0.5_f32; SIDE * SIDE]);
    let mut c = vec![0.0_f32; SIDE * SIDE];
    let row = SIDE.cast_signed();
    let start = Instant::now();
    // SAFETY: all three are `SIDE` rows of `SIDE` values, and the result is nobody else's.
    unsafe {
        gemm::gemm(
            SIDE,
            SIDE,
            SIDE,
            c.as_mut_ptr(),
            1,
            row,
            false,
            a.as_ptr(),
            1,
            row,
            b.as_ptr(),
            1,
            row,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(rayon::current_num_threads()),
        );
    }
    let seconds = start.elapsed().as_secs_f64();
    std::hint::black_box(&c);
    2.0 * (SIDE as f64).powi(3) / seconds / 1e9
}
