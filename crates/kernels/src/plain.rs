//! The default bodies as functions of any Burn backend, with Mish written out in its operations:
//! what a kernel is measured against on the backend that it replaces them on.

use burn::tensor::{Tensor, TensorPrimitive, backend::Backend};

use crate::{
    Activation, ChainNetwork, ChainNoise, Stack, StepCoefficients,
    adam::{self, AdamStep, Optimized},
    chain,
    mish::SATURATION,
};

/// `x tanh(softplus(x))` as `x n / (n + 2)`, `n = e^x (e^x + 2)`; differentiable where `B` is.
pub fn mish<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let e = x.clone().clamp_max(SATURATION).exp();
    let n = e.clone() * e.add_scalar(2.0);
    x * (n.clone() / n.add_scalar(2.0))
}

/// The output `[members, rows, out]` of a stack with Mish for `x` `[1, rows, in]`.
///
/// # Panics
/// When its activation is another.
pub fn stack<B: Backend>(network: &Stack<B>, x: Tensor<B, 3>) -> Tensor<B, 3> {
    assert_eq!(network.activation, Activation::Mish);
    let last = network.layers.len() - 1;
    let layers = network.layers.iter().enumerate();
    layers.fold(x, |x, (i, layer)| {
        let z = x.matmul(layer.weight.clone()) + layer.bias.clone();
        if i < last { mish(z) } else { z }
    })
}

/// As [`crate::RescoreBackend::denoise_chain`], in `f32`.
///
/// # Panics
/// When the network's activation is not Mish.
pub fn denoise<B: Backend>(
    network: &ChainNetwork<B>,
    observations: Tensor<B, 2>,
    particles: usize,
    steps: &[StepCoefficients],
    noise: &ChainNoise<B>,
) -> Tensor<B, 3> {
    let rest = Stack {
        layers: network.rest.clone(),
        activation: network.activation,
    };
    let after_first = |x: Tensor<B, 2>| stack(&rest, mish(x).unsqueeze_dim(0)).squeeze_dim::<2>(0);
    let observe = |_, _: &Tensor<B, 2>, _: &Tensor<B, 2>| {};
    chain::denoise_by(
        network,
        (Tensor::matmul, after_first),
        observations,
        particles,
        steps,
        noise,
        observe,
    )
}

/// One array of [`crate::RescoreBackend::adam_step`].
pub fn adam_step<B: Backend, const D: usize>(
    parameter: Tensor<B, D>,
    gradient: Tensor<B, D>,
    [mu, nu]: [Tensor<B, D>; 2],
    step: AdamStep,
) -> (Tensor<B, D>, [Tensor<B, D>; 2]) {
    let raw = |x: Tensor<B, D>| x.into_primitive().tensor();
    let tensor = |x| Tensor::from_primitive(TensorPrimitive::Float(x));
    let array = Optimized {
        parameter: raw(parameter),
        mu: raw(mu),
        nu: raw(nu),
    };
    let stepped = adam::reference::<B>(array, raw(gradient), step);
    (
        tensor(stepped.parameter),
        [tensor(stepped.mu), tensor(stepped.nu)],
    )
}
