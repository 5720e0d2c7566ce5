//! Burn's GPU backends: CUDA and, through WGPU, Vulkan, Metal, DirectX and WebGPU.
//!
//! Kernels are written once, in Rust that `CubeCL` compiles for the device when they are first
//! used: the denoising chain as one kernel, scoring as another, noise drawn where it is used, and what
//! a training step does to every element in one pass over memory, for all parameters at once.

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "shared memory is no value"
)]
mod chain;
pub mod devices;
mod elementwise;
#[expect(
    clippy::needless_pass_by_value,
    reason = "a kernel takes what it is compiled for by value"
)]
mod formula;
#[expect(clippy::needless_pass_by_value, reason = "as above")]
mod join;
#[expect(
    clippy::needless_pass_by_value,
    clippy::trivially_copy_pass_by_ref,
    reason = "as above both"
)]
mod layers;
mod noise;
mod plan;
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "shared memory is no value"
)]
mod product;
mod rows;
#[expect(clippy::needless_pass_by_value, reason = "as above")]
mod scores;
#[expect(clippy::needless_pass_by_value, reason = "as above")]
mod stack;
#[expect(
    clippy::needless_pass_by_value,
    clippy::trivially_copy_pass_by_ref,
    reason = "as above both"
)]
mod steps;
#[expect(
    clippy::needless_pass_by_value,
    clippy::trivially_copy_pass_by_ref,
    reason = "as above both"
)]
mod tensor_cores;

use burn::tensor::{
    DType, Shape, Tensor, TensorPrimitive,
    ops::{FloatTensor, IntTensor},
};
use burn_cubecl::{
    BoolElement, CubeBackend, CubeRuntime, ops::numeric::empty_device_contiguous_dtype,
    tensor::CubeTensor,
};
use cubecl::client::ComputeClient;

use crate::{
    Activation, ChainNetwork, ChainNoise, Combine, Noise, Precision, RescoreBackend, Sampled,
    Stack, StepCoefficients,
    adam::{AdamStep, Optimized},
    backend::{categorical, scoring},
    categorical::{Atoms, Returns},
    dense::{self, DenseGradients, Wanted},
    formula::{Arguments, Reduce, Term},
    join::Chosen,
    layer_norm::NormGradients,
    stack::{StackGradients, StackPass, StackWanted},
};

/// Threads of a cube (a workgroup, a block): the most that WebGPU promises.
const UNITS: u32 = 256;

impl<R, T> RescoreBackend for CubeBackend<R, f32, i32, T>
where
    R: CubeRuntime,
    T: BoolElement,
{
    fn supports(
        precision: Precision,
        hidden_dims: &[usize],
        action_dim: usize,
        device: &Self::Device,
    ) -> bool {
        match precision {
            Precision::F32 => true,
            Precision::Bf16 => tensor_cores::takes(&R::client(device), hidden_dims, action_dim),
        }
    }

    fn normal(noise: Noise, shape: [usize; 2], device: &Self::Device) -> FloatTensor<Self> {
        noise::normal(noise, shape, device)
    }

    fn matmul(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        product::product(a, b)
    }

    fn denoise_chain(
        network: &ChainNetwork<Self>,
        observations: Tensor<Self, 2>,
        particles: usize,
        steps: &[StepCoefficients],
        noise: &ChainNoise<Self>,
    ) -> Tensor<Self, 3> {
        chain::denoise(network, observations, particles, steps, noise)
    }

    fn activate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        elementwise::activate(x, activation)
    }

    fn activate_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        elementwise::activate_backward(x, grad, activation)
    }

    fn dense(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Option<Activation>,
    ) -> FloatTensor<Self> {
        let [output, _] = product::dense(x, weight, bias, activation, false);
        output
    }

    fn dense_activated(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
    ) -> [FloatTensor<Self>; 2] {
        let [output, z] = product::dense(x, weight, bias, Some(activation), true);
        [z, output]
    }

    fn dense_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        wanted: Wanted,
    ) -> DenseGradients<Self> {
        let by_input = Wanted {
            weight: false,
            bias: false,
            ..wanted
        };
        let found = dense::backward::<Self>(x.clone(), weight.clone(), grad.clone(), by_input);
        if !wanted.weight && !wanted.bias {
            return found;
        }
        let [weight, bias] = stack::layer_gradients::<R, T>(x, weight, grad);
        DenseGradients {
            x: found.x,
            weight: wanted.weight.then_some(weight),
            bias: wanted.bias.then_some(bias),
        }
    }

    fn norm_rows(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        rows::norm::norm(x, scale, shift, epsilon)
    }

    fn norm_rows_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> NormGradients<Self> {
        let [x, scale, shift] = rows::norm::norm_backward(x, scale, grad, epsilon);
        NormGradients { x, scale, shift }
    }

    fn expectation(logits: FloatTensor<Self>, atoms: Atoms) -> FloatTensor<Self> {
        rows::distribution::expectation(logits, atoms)
    }

    fn expectation_backward(
        logits: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        atoms: Atoms,
    ) -> FloatTensor<Self> {
        rows::distribution::expectation_backward(logits, grad, atoms)
    }

    fn target_distribution(
        logits: FloatTensor<Self>,
        atoms: Atoms,
        combine: Combine,
        returns: Returns<Self>,
    ) -> FloatTensor<Self> {
        rows::distribution::target_distribution(&logits, atoms, combine, &returns)
            .unwrap_or_else(|| categorical::target_reference(logits, atoms, combine, returns))
    }

    fn cross_entropy(logits: FloatTensor<Self>, targets: FloatTensor<Self>) -> FloatTensor<Self> {
        rows::distribution::cross_entropy(logits, targets)
    }

    fn cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        rows::distribution::cross_entropy_backward(logits, targets, grad)
    }

    fn softmax_weights(
        scores: FloatTensor<Self>,
        temperature: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3] {
        rows::weights::softmax_weights(scores, temperature)
    }

    fn softmax_temperature(scores: FloatTensor<Self>, target: f64) -> FloatTensor<Self> {
        rows::weights::softmax_temperature(scores, target)
    }

    fn join(parts: Vec<FloatTensor<Self>>, chosen: Option<Chosen<Self>>) -> FloatTensor<Self> {
        join::join(parts, chosen)
    }

    fn join_backward(
        grad: FloatTensor<Self>,
        first: usize,
        table: FloatTensor<Self>,
        indices: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        join::backward(grad, first, &table, indices)
    }

    fn formula(term: &Term, arguments: Arguments<Self>, reduce: Reduce) -> FloatTensor<Self> {
        formula::compute(term, arguments, reduce)
    }

    fn stack(x: Tensor<Self, 3>, stack: &Stack<Self>) -> Tensor<Self, 3> {
        stack::forward(x, stack, false).output
    }

    fn stack_kept(x: Tensor<Self, 3>, stack: &Stack<Self>) -> StackPass<Self> {
        stack::forward(x, stack, true)
    }

    fn stack_backward(
        x: &Tensor<Self, 3>,
        stack: &Stack<Self>,
        kept: &[FloatTensor<Self>],
        grad: Tensor<Self, 3>,
        wanted: &StackWanted,
    ) -> StackGradients<Self> {
        stack::backward(x, stack, kept, grad, wanted)
    }

    fn score(
        critics: &Stack<Self>,
        combine: Combine,
        observations: Tensor<Self, 2>,
        actions: Tensor<Self, 3>,
    ) -> Tensor<Self, 2> {
        scores::score(critics, combine, &observations, &actions)
            .unwrap_or_else(|| scoring::score(critics, combine, observations, actions))
    }

    fn best(actions: Tensor<Self, 3>, scores: Tensor<Self, 2>) -> Sampled<Self> {
        scores::best(actions, scores)
    }

    fn lerp(
        targets: Vec<FloatTensor<Self>>,
        online: Vec<FloatTensor<Self>>,
        tau: f64,
    ) -> Vec<FloatTensor<Self>> {
        elementwise::lerp(targets, online, tau)
    }

    fn adam_step(
        parameters: Vec<Optimized<Self>>,
        gradients: Vec<FloatTensor<Self>>,
        step: AdamStep,
    ) -> Vec<Optimized<Self>> {
        let arrays = |Optimized { parameter, mu, nu }| [parameter, mu, nu];
        let parameters = parameters.into_iter().map(arrays).collect();
        elementwise::adam_step(parameters, gradients, step)
            .into_iter()
            .map(|[parameter, mu, nu]| Optimized { parameter, mu, nu })
            .collect()
    }
}

/// Memory for numbers in order, not yet written.
fn empty<R: CubeRuntime>(
    client: &ComputeClient<R>,
    device: &R::Device,
    shape: Shape,
) -> CubeTensor<R> {
    empty_device_contiguous_dtype(client.clone(), device.clone(), shape, DType::F32)
}

/// The primitive of a tensor.
fn primitive<R, T, const D: usize>(x: Tensor<CubeBackend<R, f32, i32, T>, D>) -> CubeTensor<R>
where
    R: CubeRuntime,
    T: BoolElement,
{
    burn_cubecl::kernel::into_contiguous(x.into_primitive().tensor())
}

/// The tensor of a primitive.
fn tensor<R, T, const D: usize>(x: CubeTensor<R>) -> Tensor<CubeBackend<R, f32, i32, T>, D>
where
    R: CubeRuntime,
    T: BoolElement,
{
    Tensor::from_primitive(TensorPrimitive::Float(x))
}
