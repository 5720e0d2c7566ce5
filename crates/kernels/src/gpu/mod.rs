//! Burn's GPU backends: CUDA and, through WGPU, Vulkan, Metal, DirectX and WebGPU.
//!
//! Kernels are written once, in Rust that `CubeCL` compiles for the device when they are first
//! used: the denoising chain as one kernel, noise drawn where it is used, and what a training step
//! does to every element in one pass over memory.

#[expect(
    clippy::needless_pass_by_value,
    clippy::trivially_copy_pass_by_ref,
    reason = "a kernel takes what it is compiled for by value, and shared memory is no value"
)]
mod chain;
pub mod devices;
mod elementwise;
mod noise;
mod product;
#[expect(
    clippy::needless_pass_by_value,
    clippy::trivially_copy_pass_by_ref,
    reason = "as above"
)]
mod steps;
#[expect(
    clippy::needless_pass_by_value,
    clippy::trivially_copy_pass_by_ref,
    reason = "as above"
)]
mod tensor_cores;

use burn::tensor::{
    DType, Shape, Tensor, TensorMetadata as _, TensorPrimitive,
    ops::{FloatTensor, FloatTensorOps as _},
};
use burn_cubecl::{
    BoolElement, CubeBackend, CubeRuntime, ops::numeric::empty_device_contiguous_dtype,
    tensor::CubeTensor,
};
use cubecl::client::ComputeClient;

use crate::{
    ChainNetwork, ChainNoise, Noise, Precision, RescoreBackend, StepCoefficients,
    adam::AdamStep,
    dense::{DenseGradients, Wanted},
};

/// Threads of a cube (a workgroup, a block): the most that WebGPU promises.
const UNITS: u32 = 256;

impl<R, T> RescoreBackend for CubeBackend<R, f32, i32, T>
where
    R: CubeRuntime,
    T: BoolElement,
{
    fn supports(precision: Precision, device: &Self::Device) -> bool {
        match precision {
            Precision::F32 => true,
            Precision::Bf16 => tensor_cores::has_tensor_cores(&R::client(device)),
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

    fn mish(x: FloatTensor<Self>) -> FloatTensor<Self> {
        elementwise::mish(x)
    }

    fn mish_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        elementwise::mish_backward(x, grad)
    }

    fn dense(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        with_mish: bool,
    ) -> FloatTensor<Self> {
        elementwise::add_bias(product::product(x, weight), bias, with_mish)
    }

    fn dense_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        wanted: Wanted,
    ) -> DenseGradients<Self> {
        let turned = |x| Self::float_swap_dims(x, 0, 1);
        DenseGradients {
            x: (wanted.x).then(|| product::product(grad.clone(), turned(weight))),
            weight: (wanted.weight).then(|| product::product(turned(x), grad.clone())),
            bias: (wanted.bias).then(|| {
                let columns = grad.shape().dims::<2>()[1];
                Self::float_reshape(Self::float_sum_dim(grad, 0), Shape::from([columns]))
            }),
        }
    }

    fn lerp(target: FloatTensor<Self>, online: FloatTensor<Self>, tau: f64) -> FloatTensor<Self> {
        elementwise::lerp(target, online, tau)
    }

    fn adam_step(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        moments: [FloatTensor<Self>; 2],
        step: AdamStep,
    ) -> (FloatTensor<Self>, [FloatTensor<Self>; 2]) {
        elementwise::adam_step(parameter, gradient, moments, step)
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
