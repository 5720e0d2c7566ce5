//! Burn's GPU backends: CUDA and, through WGPU, Vulkan, Metal, DirectX and WebGPU.
//!
//! Kernels are written once, in Rust that `CubeCL` compiles for the device when they are first
//! used: the denoising chain as one kernel, noise drawn where it is used, and what a training step
//! does to every element in one pass over memory. Products of matrices are Burn's.

mod chain;
pub mod devices;
mod elementwise;
mod noise;
mod tensor_cores;

use burn::tensor::{DType, Shape, Tensor, TensorPrimitive, ops::FloatTensor};
use burn_cubecl::{
    BoolElement, CubeBackend, CubeRuntime, ops::numeric::empty_device_contiguous_dtype,
    tensor::CubeTensor,
};
use cubecl::client::ComputeClient;

use crate::{
    ChainNetwork, ChainNoise, Noise, Precision, RescoreBackend, StepCoefficients, adam::AdamStep,
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
        use burn::tensor::ops::FloatTensorOps as _;
        elementwise::add_bias(Self::float_matmul(x, weight), bias, with_mish)
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
