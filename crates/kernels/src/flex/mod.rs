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
    Activation, ChainNetwork, ChainNoise, Combine, Precision, RescoreBackend, Sampled, Stack,
    StepCoefficients,
    adam::{AdamStep, Optimized},
    backend::{
        layer_norm,
        residual::{self, ResidualView},
        scoring,
    },
    categorical::Atoms,
    chain,
    cpu::{
        InstructionSet, layer, network::LayerView, residual::can_score as can_score_residual, rows,
    },
    dense::{DenseGradients, Wanted},
    layer_norm::NormGradients,
};
use elementwise::{adam_in_place, lerp_in_place};
use sampling::{best_of, can_score, denoise_fused, score_fused, score_residual_fused, tensor};

/// Elements a task: large enough to hide the cost of handing it out, small enough for L1.
const CHUNK: usize = 8192;

/// Rows a task, of those that are hundreds of values wide.
const ROWS: usize = 64;

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

    fn score(
        critics: &Stack<Self>,
        combine: Combine,
        observations: Tensor<Self, 2>,
        actions: Tensor<Self, 3>,
    ) -> Tensor<Self, 2> {
        if !can_score(critics) {
            return scoring::score(critics, combine, observations, actions);
        }
        let dims = actions.dims();
        let actions = primitive(&actions);
        let scores = score_fused(critics, combine, &observations, actions.storage(), dims);
        tensor(scores, [dims[0], dims[1]])
    }

    fn score_residual(
        critics: &ResidualView<Self>,
        atoms: Option<Atoms>,
        combine: Combine,
        observations: Tensor<Self, 2>,
        actions: Tensor<Self, 3>,
    ) -> Tensor<Self, 2> {
        let blocks = critics.blocks.iter();
        let mut widths: Vec<_> = blocks.map(|block| block.up.weight.dims()[2]).collect();
        widths.push(critics.input.weight.dims()[2]);
        if !can_score_residual(InstructionSet::detect(), &widths) {
            return residual::score(critics, atoms, combine, observations, actions);
        }
        let [states, particles, _] = actions.dims();
        let rows = residual::pairs(observations, actions);
        let scores = score_residual_fused(critics, atoms, combine, &rows);
        tensor(scores, [states, particles])
    }

    fn best(actions: Tensor<Self, 3>, scores: Tensor<Self, 2>) -> Sampled<Self> {
        let dims = actions.dims();
        let (actions, scores) = (primitive(&actions), primitive(&scores));
        best_of(actions.storage(), scores.storage::<f32>().to_vec(), dims)
    }

    fn denoise_best(
        network: &ChainNetwork<Self>,
        critics: &Stack<Self>,
        combine: Combine,
        observations: Tensor<Self, 2>,
        particles: usize,
        steps: &[StepCoefficients],
        noise: &ChainNoise<Self>,
    ) -> Sampled<Self> {
        if network.activation != Activation::Mish || !can_score(critics) {
            let actions =
                Self::denoise_chain(network, observations.clone(), particles, steps, noise);
            let scores = Self::score(critics, combine, observations, actions.clone());
            return Self::best(actions, scores);
        }
        let shape = [
            observations.dims()[0],
            particles,
            network.action_weight.dims()[0],
        ];
        let actions = denoise_fused(network, &observations, particles, steps, noise);
        let scores = score_fused(critics, combine, &observations, &actions, shape);
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
        let [inputs, rows, depth] = x.shape().dims();
        let [members, _, columns] = weight.shape().dims();
        let mut output = vec![0.0; members * rows * columns];
        for member in 0..members {
            let view = LayerView {
                weight: part(weight.storage(), member, depth * columns),
                bias: part(bias.storage(), member, columns),
                dims: [depth, columns],
            };
            let x = part(x.storage(), member % inputs, rows * depth);
            let output = part_mut(&mut output, member, rows * columns);
            layer::forward(set, x, &view, output);
        }
        if let Some(activation) = activation {
            layer::activate_in_place(set, &mut output, activation);
        }
        flex_tensor(output, [members, rows, columns])
    }

    fn dense_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        wanted: Wanted,
    ) -> DenseGradients<Self> {
        let set = InstructionSet::detect();
        let (x, weight, grad) = (contiguous(x), contiguous(weight), contiguous(grad));
        let [inputs, rows, depth] = x.shape().dims();
        let [members, _, columns] = weight.shape().dims();
        let dims = [depth, columns];
        let of = |member| part::<f32>(grad.storage(), member, rows * columns);
        DenseGradients {
            x: wanted.x.then(|| {
                let mut values = vec![0.0; inputs * rows * depth];
                for member in 0..members {
                    let view = LayerView {
                        weight: part(weight.storage(), member, depth * columns),
                        bias: &[],
                        dims,
                    };
                    if member < inputs {
                        let values = part_mut(&mut values, member, rows * depth);
                        layer::input_gradient(set, of(member), &view, values);
                    } else {
                        let mut more = vec![0.0; rows * depth];
                        layer::input_gradient(set, of(member), &view, &mut more);
                        for (sum, value) in values.iter_mut().zip(more) {
                            *sum += value;
                        }
                    }
                }
                flex_tensor(values, [inputs, rows, depth])
            }),
            weight: wanted.weight.then(|| {
                let mut values = vec![0.0; members * depth * columns];
                for member in 0..members {
                    let x = part(x.storage(), member % inputs, rows * depth);
                    let values = part_mut(&mut values, member, depth * columns);
                    layer::weight_gradient(set, x, of(member), dims, values);
                }
                flex_tensor(values, [members, depth, columns])
            }),
            bias: wanted.bias.then(|| {
                let mut values = vec![0.0; members * columns];
                for member in 0..members {
                    layer::bias_gradient(of(member), part_mut(&mut values, member, columns));
                }
                flex_tensor(values, [members, 1, columns])
            }),
        }
    }

    fn norm_rows(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let [members, rows, width] = x.shape().dims();
        if scale.shape()[0] != members || width == 0 {
            return layer_norm::forward::<Self>(x, scale, shift, epsilon);
        }
        let (x, scale, shift) = (contiguous(x), contiguous(scale), contiguous(shift));
        let mut output = vec![0.0; members * rows * width];
        for member in 0..members {
            let [scale, shift] = [&scale, &shift].map(|of| part(of.storage(), member, width));
            let x = part::<f32>(x.storage(), member, rows * width);
            let output = part_mut(&mut output, member, rows * width);
            let tasks = output.par_chunks_mut(ROWS * width);
            tasks
                .zip(x.par_chunks(ROWS * width))
                .for_each(|(output, x)| rows::layer_norm(x, scale, shift, epsilon as f32, output));
        }
        flex_tensor(output, [members, rows, width])
    }

    fn norm_rows_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> NormGradients<Self> {
        let [members, rows, width] = x.shape().dims();
        if scale.shape()[0] != members || width == 0 {
            return layer_norm::backward::<Self>(x, scale, grad, epsilon);
        }
        let (x, scale, mut grad) = (contiguous(x), contiguous(scale), contiguous(grad));
        let [mut of_scale, mut of_shift] = [(); 2].map(|()| vec![0.0; members * width]);
        let grads: &mut [f32] = grad.storage_mut();
        // One task a member, so that the sums over rows have an order.
        grads
            .par_chunks_mut((rows * width).max(1))
            .zip(
                of_scale
                    .par_chunks_mut(width)
                    .zip(of_shift.par_chunks_mut(width)),
            )
            .enumerate()
            .for_each(|(member, (grad, (of_scale, of_shift)))| {
                let x = part(x.storage(), member, rows * width);
                let scale = part(scale.storage(), member, width);
                rows::layer_norm_backward(x, scale, epsilon as f32, grad, of_scale, of_shift);
            });
        let sums = |values| flex_tensor(values, [members, 1, width]);
        NormGradients {
            x: grad,
            scale: sums(of_scale),
            shift: sums(of_shift),
        }
    }

    fn expectation(logits: FloatTensor<Self>, atoms: Atoms) -> FloatTensor<Self> {
        let logits = contiguous(logits);
        let [members, rows, width] = logits.shape().dims();
        let mut output = vec![0.0; members * rows];
        let (low, spacing) = (atoms.low as f32, atoms.spacing as f32);
        output
            .par_chunks_mut(ROWS)
            .zip(logits.storage::<f32>().par_chunks(ROWS * width))
            .for_each(|(output, logits)| {
                let mut work = vec![0.0; width];
                rows::expectations(logits, low, spacing, width, &mut work, output);
            });
        flex_tensor(output, [members, rows, 1])
    }

    fn expectation_backward(
        logits: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        atoms: Atoms,
    ) -> FloatTensor<Self> {
        let (logits, grad) = (contiguous(logits), contiguous(grad));
        let [members, rows, width] = logits.shape().dims();
        let mut output = vec![0.0; members * rows * width];
        output
            .par_chunks_mut(ROWS * width)
            .zip(logits.storage::<f32>().par_chunks(ROWS * width))
            .zip(grad.storage::<f32>().par_chunks(ROWS))
            .for_each(|((output, logits), grad)| {
                rows::expectation_slopes(logits, atoms.spacing as f32, grad, width, output);
            });
        flex_tensor(output, [members, rows, width])
    }

    fn cross_entropy(logits: FloatTensor<Self>, targets: FloatTensor<Self>) -> FloatTensor<Self> {
        let (logits, targets) = (contiguous(logits), contiguous(targets));
        let [members, rows, width] = logits.shape().dims();
        let mut output = vec![0.0; members * rows];
        for member in 0..members {
            let logits = part::<f32>(logits.storage(), member, rows * width);
            part_mut(&mut output, member, rows)
                .par_chunks_mut(ROWS)
                .zip(logits.par_chunks(ROWS * width))
                .zip(targets.storage::<f32>().par_chunks(ROWS * width))
                .for_each(|((output, logits), targets)| {
                    rows::cross_entropies(logits, targets, width, output);
                });
        }
        flex_tensor(output, [members, rows, 1])
    }

    fn cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (logits, targets, grad) = (contiguous(logits), contiguous(targets), contiguous(grad));
        let [members, rows, width] = logits.shape().dims();
        let mut output = vec![0.0; members * rows * width];
        for member in 0..members {
            let logits = part::<f32>(logits.storage(), member, rows * width);
            let grad = part::<f32>(grad.storage(), member, rows);
            part_mut(&mut output, member, rows * width)
                .par_chunks_mut(ROWS * width)
                .zip(logits.par_chunks(ROWS * width))
                .zip(targets.storage::<f32>().par_chunks(ROWS * width))
                .zip(grad.par_chunks(ROWS))
                .for_each(|(((output, logits), targets), grad)| {
                    rows::cross_entropy_slopes(logits, targets, grad, width, output);
                });
        }
        flex_tensor(output, [members, rows, width])
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

/// The `index`-th of the parts of `length` values that `values` is made of.
fn part<T>(values: &[T], index: usize, length: usize) -> &[T] {
    &values[index * length..][..length]
}

/// As [`part`].
fn part_mut(values: &mut [f32], index: usize, length: usize) -> &mut [f32] {
    &mut values[index * length..][..length]
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
