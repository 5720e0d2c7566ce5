//! Flex, the default CPU backend: the fused chain, scoring and layers, and element-wise operations
//! in one pass over memory.

mod elementwise;
mod sampling;

use burn::{
    backend::Flex,
    tensor::{Tensor, TensorData, TensorMetadata as _, ops::FloatTensor},
};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::{
    Activation, ChainNetwork, ChainNoise, Mlp, Precision, RescoreBackend, Sampled,
    StepCoefficients,
    adam::{AdamStep, Optimized},
    chain,
    cpu::{InstructionSet, layer, network::LayerView},
    dense::{DenseGradients, Wanted},
    scoring,
};
use elementwise::{adam_in_place, lerp_in_place};
use sampling::{best_of, can_score, denoise_fused, min_q_fused, tensor};

/// Elements a task: large enough to hide the cost of handing it out, small enough for L1.
const CHUNK: usize = 8192;

impl RescoreBackend for Flex {
    fn supports(precision: Precision, _: &[usize], _: usize, _: &Self::Device) -> bool {
        matches!(precision, Precision::F32 | Precision::Bf16)
    }

    fn denoise_chain(
        network: &ChainNetwork<Self>,
        observations: Tensor<Self, 2>,
        particles: usize,
        steps: &[StepCoefficients],
        noise: &ChainNoise<Self>,
    ) -> Tensor<Self, 3> {
        // The kernel has Mish in its epilogue.
        if network.activation != Activation::Mish {
            return chain::denoise(network, observations, particles, steps, noise, |_, _, _| {});
        }
        let shape = [
            observations.dims()[0],
            particles,
            network.action_weight.dims()[0],
        ];
        tensor(
            denoise_fused(network, &observations, particles, steps, noise),
            shape,
        )
    }

    fn min_q(
        critics: [&Mlp<Self>; 2],
        observations: Tensor<Self, 2>,
        actions: Tensor<Self, 3>,
    ) -> Tensor<Self, 2> {
        if !can_score(critics) {
            return scoring::min_q(critics, observations, actions);
        }
        let dims = actions.dims();
        let actions = primitive(&actions);
        let scores = min_q_fused(critics, &observations, actions.storage(), dims);
        tensor(scores, [dims[0], dims[1]])
    }

    fn denoise_best(
        network: &ChainNetwork<Self>,
        critics: [&Mlp<Self>; 2],
        observations: Tensor<Self, 2>,
        particles: usize,
        steps: &[StepCoefficients],
        noise: &ChainNoise<Self>,
    ) -> Sampled<Self> {
        if network.activation != Activation::Mish || !can_score(critics) {
            let actions =
                Self::denoise_chain(network, observations.clone(), particles, steps, noise);
            return scoring::select_best::<Self>(critics, observations, actions);
        }
        let shape = [
            observations.dims()[0],
            particles,
            network.action_weight.dims()[0],
        ];
        let actions = denoise_fused(network, &observations, particles, steps, noise);
        let scores = min_q_fused(critics, &observations, &actions, shape);
        best_of(&actions, scores, shape)
    }

    fn activate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let mut x = contiguous(x);
        // The storage is copied first if somebody else still needs it.
        layer::activate_in_place(InstructionSet::detect(), x.storage_mut(), activation);
        x
    }

    fn activate_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let x = contiguous(x);
        let mut grad = contiguous(grad);
        let (set, grads) = (InstructionSet::detect(), grad.storage_mut());
        layer::activate_backward_in_place(set, grads, x.storage(), activation);
        grad
    }

    fn dense(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Option<Activation>,
    ) -> FloatTensor<Self> {
        let set = InstructionSet::detect();
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let [rows, _] = x.shape().dims();
        let dims = weight.shape().dims();
        let view = LayerView {
            weight: weight.storage(),
            bias: bias.storage(),
            dims,
        };
        let mut output = layer::forward(set, x.storage(), &view);
        if let Some(activation) = activation {
            layer::activate_in_place(set, &mut output, activation);
        }
        flex_tensor(output, [rows, dims[1]])
    }

    fn dense_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        wanted: Wanted,
    ) -> DenseGradients<Self> {
        let set = InstructionSet::detect();
        let (x, weight, grad) = (contiguous(x), contiguous(weight), contiguous(grad));
        let [rows, _] = x.shape().dims();
        let dims = weight.shape().dims();
        let view = LayerView {
            weight: weight.storage(),
            bias: &[],
            dims,
        };
        DenseGradients {
            x: wanted.x.then(|| {
                let values = layer::input_gradient(set, grad.storage(), &view);
                flex_tensor(values, [rows, dims[0]])
            }),
            weight: wanted.weight.then(|| {
                let values = layer::weight_gradient(set, x.storage(), grad.storage(), dims);
                flex_tensor(values, dims)
            }),
            bias: wanted
                .bias
                .then(|| flex_tensor(layer::bias_gradient(grad.storage(), dims[1]), [dims[1]])),
        }
    }

    fn lerp(
        targets: Vec<FloatTensor<Self>>,
        online: Vec<FloatTensor<Self>>,
        tau: f64,
    ) -> Vec<FloatTensor<Self>> {
        assert_eq!(targets.len(), online.len(), "an array for each target");
        let lerp = |(target, online)| {
            let mut target = contiguous(target);
            let online = contiguous(online);
            let values: &mut [f32] = target.storage_mut();
            values
                .par_chunks_mut(CHUNK)
                .zip(online.storage::<f32>().par_chunks(CHUNK))
                .for_each(|(target, online)| {
                    lerp_in_place(target, online, (1.0 - tau) as f32, tau as f32);
                });
            target
        };
        targets.into_iter().zip(online).map(lerp).collect()
    }

    fn adam_step(
        parameters: Vec<Optimized<Self>>,
        gradients: Vec<FloatTensor<Self>>,
        step: AdamStep,
    ) -> Vec<Optimized<Self>> {
        assert_eq!(parameters.len(), gradients.len(), "a gradient for each");
        let adam = |(optimized, gradient): (Optimized<Self>, _)| {
            let mut parameter = contiguous(optimized.parameter);
            let gradient = contiguous(gradient);
            let mut mu = contiguous(optimized.mu);
            let mut nu = contiguous(optimized.nu);
            {
                let parameters: &mut [f32] = parameter.storage_mut();
                let (mus, nus): (&mut [f32], &mut [f32]) = (mu.storage_mut(), nu.storage_mut());
                parameters
                    .par_chunks_mut(CHUNK)
                    .zip(gradient.storage::<f32>().par_chunks(CHUNK))
                    .zip(mus.par_chunks_mut(CHUNK).zip(nus.par_chunks_mut(CHUNK)))
                    .for_each(|((p, g), (m, v))| adam_in_place(p, g, m, v, step));
            }
            Optimized { parameter, mu, nu }
        };
        parameters.into_iter().zip(gradients).map(adam).collect()
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

fn flex_tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}
