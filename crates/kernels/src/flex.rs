//! Flex, the default CPU backend: element-wise operations in one pass over memory.
//!
//! The loops are written so that the compiler vectorises them: no calls, no branches, no fused
//! multiply-add, so that every instruction set computes the same bits. They are compiled once for
//! the build's target and once more for AVX2 and AVX-512, chosen when the program runs.

use burn::{backend::Flex, tensor::ops::FloatTensor};
use rayon::prelude::*;

use crate::{RescoreBackend, adam::AdamStep, mish::SATURATION};

/// Elements a task: large enough to hide the cost of handing it out, small enough for L1.
const CHUNK: usize = 8192;

impl RescoreBackend for Flex {
    fn mish(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let mut x = x.to_contiguous();
        // The storage is copied first if somebody else still needs it.
        let values: &mut [f32] = x.storage_mut();
        values.par_chunks_mut(CHUNK).for_each(mish_in_place);
        x
    }

    fn mish_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let x = x.to_contiguous();
        let mut grad = grad.to_contiguous();
        let grads: &mut [f32] = grad.storage_mut();
        grads
            .par_chunks_mut(CHUNK)
            .zip(x.storage::<f32>().par_chunks(CHUNK))
            .for_each(|(grads, values)| mish_backward_in_place(grads, values));
        grad
    }

    fn adam_step(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        [mu, nu]: [FloatTensor<Self>; 2],
        step: AdamStep,
    ) -> (FloatTensor<Self>, [FloatTensor<Self>; 2]) {
        let mut parameter = parameter.to_contiguous();
        let gradient = gradient.to_contiguous();
        let (mut mu, mut nu) = (mu.to_contiguous(), nu.to_contiguous());
        {
            let parameters: &mut [f32] = parameter.storage_mut();
            let (mus, nus): (&mut [f32], &mut [f32]) = (mu.storage_mut(), nu.storage_mut());
            parameters
                .par_chunks_mut(CHUNK)
                .zip(gradient.storage::<f32>().par_chunks(CHUNK))
                .zip(mus.par_chunks_mut(CHUNK).zip(nus.par_chunks_mut(CHUNK)))
                .for_each(|((p, g), (m, v))| adam_in_place(p, g, m, v, step));
        }
        (parameter, [mu, nu])
    }
}

/// Defines a loop that is compiled for several instruction sets.
macro_rules! multiversion {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $body:block) => {
        $(#[$doc])*
        fn $name($($arg: $ty),*) {
            #[inline(always)]
            fn body($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
                fn avx512($($arg: $ty),*) {
                    body($($arg),*);
                }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) {
                    body($($arg),*);
                }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                {
                    // SAFETY: the processor has every feature that the function is compiled for.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*);
        }
    };
}

/// `e^x` for x <= 20, relative error below 2e-7; arguments below -87 give the value at -87.
///
/// Cephes' `expf`: `x = n ln 2 + r`, a polynomial for `e^r`, `n` into the exponent.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // NaN passes through both comparisons and so into the result.
    let x = if x < -87.0 { -87.0 } else { x };
    // Adding 1.5 * 2^23 rounds to the nearest integer n, which then stands in the lowest bits.
    let magic = 12_582_912.0_f32;
    let shifted = x * std::f32::consts::LOG2_E + magic;
    let n = shifted - magic;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4_f32;
    for c in [
        1.398_2e-3_f32,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        5.0e-1,
    ] {
        p = p * r + c;
    }
    let y = p * r * r + r + 1.0;
    // n + 127 is in [1, 156], so it fills the exponent's bits and no others.
    y * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

multiversion! {
    /// Mish of every value.
    fn mish_in_place(values: &mut [f32]) {
        for x in values {
            let e = exp(if *x > SATURATION { SATURATION } else { *x });
            let n = e * (e + 2.0);
            *x *= n / (n + 2.0);
        }
    }
}

multiversion! {
    /// `grads *= mish'(values)`.
    fn mish_backward_in_place(grads: &mut [f32], values: &[f32]) {
        for (grad, &x) in grads.iter_mut().zip(values) {
            let e = exp(if x > SATURATION { SATURATION } else { x });
            let n = e * (e + 2.0);
            let th = n / (n + 2.0);
            let sigmoid = e / (e + 1.0);
            *grad *= th + x * (1.0 - th * th) * sigmoid;
        }
    }
}

multiversion! {
    /// One Adam step on all values.
    fn adam_in_place(
        parameters: &mut [f32],
        gradients: &[f32],
        mus: &mut [f32],
        nus: &mut [f32],
        step: AdamStep
    ) {
        let rate = step.learning_rate / step.correction_1;
        let root_correction = 1.0 / step.correction_2;
        let moments = mus.iter_mut().zip(nus.iter_mut());
        for ((p, &g), (mu, nu)) in parameters.iter_mut().zip(gradients).zip(moments) {
            *mu = step.beta_1 * *mu + step.one_minus_beta_1 * g;
            *nu = step.beta_2 * *nu + step.one_minus_beta_2 * g * g;
            *p -= rate * *mu / ((*nu * root_correction).sqrt() + step.epsilon);
        }
    }
}
