//! Flex, the default CPU backend: the fused chain, and element-wise operations in one pass over
//! memory.
//!
//! The element-wise loops are written so that the compiler vectorises them: no calls, no branches, no fused
//! multiply-add, so that every instruction set computes the same bits. They are compiled once for
//! the build's target and once more for AVX2 and AVX-512, chosen when the program runs.

use burn::{
    backend::Flex,
    tensor::{Tensor, TensorData, ops::FloatTensor},
};
use burn_flex::{FlexDevice, FlexTensor};
use rayon::prelude::*;

use crate::{
    Activation, ChainNetwork, ChainNoise, RescoreBackend, StepCoefficients,
    adam::AdamStep,
    chain,
    cpu::{
        self, InstructionSet,
        chain::{ChainView, LayerView, NoiseView},
    },
    mish::SATURATION,
};

/// Elements a task: large enough to hide the cost of handing it out, small enough for L1.
const CHUNK: usize = 8192;

impl RescoreBackend for Flex {
    fn denoise_chain(
        network: &ChainNetwork<Self>,
        observations: Tensor<Self, 2>,
        particles: usize,
        steps: &[StepCoefficients],
        noise: &ChainNoise<Self>,
    ) -> Tensor<Self, 3> {
        // The kernel has Mish in its epilogue.
        match network.activation {
            Activation::Mish => denoise_fused(network, &observations, particles, steps, noise),
            Activation::Gelu => {
                chain::denoise(network, observations, particles, steps, noise, |_, _, _| {})
            }
        }
    }

    fn mish(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let mut x = contiguous(x);
        // The storage is copied first if somebody else still needs it.
        let values: &mut [f32] = x.storage_mut();
        values.par_chunks_mut(CHUNK).for_each(mish_in_place);
        x
    }

    fn mish_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let x = contiguous(x);
        let mut grad = contiguous(grad);
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
        let mut parameter = contiguous(parameter);
        let gradient = contiguous(gradient);
        let (mut mu, mut nu) = (contiguous(mu), contiguous(nu));
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

/// `x` with its values in order and nothing else in its storage.
#[allow(clippy::needless_pass_by_value)] // as long as a second handle lived, writing would copy
fn contiguous(x: FlexTensor) -> FlexTensor {
    x.to_contiguous()
}

/// The primitive of a tensor, its values in order.
fn primitive<const D: usize>(x: &Tensor<Flex, D>) -> FlexTensor {
    contiguous(x.clone().into_primitive().tensor())
}

/// [`RescoreBackend::denoise_chain`] by the fused kernel.
fn denoise_fused(
    network: &ChainNetwork<Flex>,
    observations: &Tensor<Flex, 2>,
    particles: usize,
    steps: &[StepCoefficients],
    noise: &ChainNoise<Flex>,
) -> Tensor<Flex, 3> {
    let [states, _] = observations.dims();
    let [action_dim, _] = network.action_weight.dims();
    let observations = primitive(observations);
    let first = [&network.observation_weight, &network.action_weight].map(primitive);
    let step_bias = primitive(&network.step_bias);
    let rest: Vec<_> = network
        .rest
        .iter()
        .map(|layer| (primitive(&layer.weight), primitive(&layer.bias)))
        .collect();
    // The kernel reads slices; explicit noise must live as long as they do.
    let given = match noise {
        ChainNoise::Given { start, steps } => Some((primitive(start), primitive(steps))),
        ChainNoise::Counter { .. } | ChainNoise::CounterPerState { .. } => None,
    };
    let view = ChainView {
        observations: observations.storage(),
        states,
        particles,
        observation_weight: LayerView {
            weight: first[0].storage(),
            bias: &[],
            dims: network.observation_weight.dims(),
        },
        action_weight: LayerView {
            weight: first[1].storage(),
            bias: step_bias.storage(),
            dims: network.action_weight.dims(),
        },
        rest: network
            .rest
            .iter()
            .zip(&rest)
            .map(|(layer, (weight, bias))| LayerView {
                weight: weight.storage(),
                bias: bias.storage(),
                dims: layer.weight.dims(),
            })
            .collect(),
        steps,
        noise: noise_view(noise, given.as_ref()),
    };
    let actions = cpu::chain::denoise(&view, InstructionSet::detect());
    let data = TensorData::new(actions, [states, particles, action_dim]);
    Tensor::from_data(data, &FlexDevice)
}

/// `noise` as the kernel takes it; `given` are the tensors of explicit noise.
fn noise_view<'a>(
    noise: &'a ChainNoise<Flex>,
    given: Option<&'a (FlexTensor, FlexTensor)>,
) -> NoiseView<'a> {
    match noise {
        ChainNoise::Counter {
            key,
            counter,
            start_scale,
        } => NoiseView::Counter {
            key: *key,
            counter: *counter,
            start_scale: *start_scale,
        },
        ChainNoise::CounterPerState {
            key,
            counters,
            start_scale,
        } => NoiseView::CounterPerState {
            key: *key,
            counters,
            start_scale: *start_scale,
        },
        ChainNoise::Given { .. } => {
            let (start, steps) = given.map_or((&[][..], &[][..]), |(start, steps)| {
                (start.storage(), steps.storage())
            });
            NoiseView::Given { start, steps }
        }
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
