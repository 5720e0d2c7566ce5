//! The rate at which the processor can multiply and add: the limit of every kernel here.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use super::{InstructionSet, compiled::compiled, simd::Lanes};

/// Independent sums: enough to hide the latency of a multiply-add on every instruction set.
const SUMS: usize = 12;
const ROUNDS: usize = 4_000_000;

/// Billions of floating-point operations a second of multiply-adds that touch no memory, on all
/// threads of the pool that this is called in; the best of five runs. Takes a fraction of a second.
pub fn multiply_add_gflops() -> f64 {
    let set = InstructionSet::detect();
    let threads = rayon::current_num_threads();
    let operations = (threads * ROUNDS * SUMS * set.lanes() * 2) as f64;
    let once = |_| {
        let start = Instant::now();
        (0..threads).into_par_iter().for_each(|_| spin(set, ROUNDS));
        operations / start.elapsed().as_secs_f64() / 1e9
    };
    (0..5).map(once).fold(0.0, f64::max)
}

compiled! {
    /// `rounds` rounds of one multiply-add a sum.
    fn spin(rounds: usize) = multiply_add;
}

/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn multiply_add<L: Lanes, const ROWS: usize>(rounds: usize) {
    // SAFETY: the caller's promise; the array has room for the largest register.
    unsafe {
        let factor = L::splat(black_box(0.999));
        let term = L::splat(black_box(1e-3));
        let mut sums = [L::splat(black_box(1.0)); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, term);
            }
        }
        let mut value = [0.0; 16];
        for sum in sums {
            sum.store(value.as_mut_ptr());
            black_box(&value);
        }
    }
}
