//! Adam with explicit moments.
//!
//! Burn's optimisers keep their moments by parameter identity and consume a gradient when they
//! use it. Here moments must be read, stored and compared, and the reference implementation of
//! DPMD uses one gradient twice; so moments are plain trees of the network's own type.
//!
//! Source: D. Kingma and J. Ba, *Adam*, ICLR 2015, algorithm 1.

use burn::tensor::{Tensor, TensorPrimitive, backend::Backend, ops::FloatTensor};

use crate::{
    Linear, Parameters, RescoreBackend,
    parameters::{put_back, take},
};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f32 = 1e-8;

/// The numbers of one Adam step that are the same for all parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// `1 - beta_1`, rounded once: the difference of the rounded numbers is off by 1e-5.
    pub one_minus_beta_1: f32,
    /// `1 - beta_2`, rounded once.
    pub one_minus_beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// `1 - beta_1^count`
    pub correction_1: f32,
    /// `1 - beta_2^count`
    pub correction_2: f32,
}

impl AdamStep {
    /// The `count`-th step (from 1) with the usual decays 0.9 and 0.999 and epsilon 1e-8.
    pub fn new(learning_rate: f64, count: u64) -> Self {
        let power = |beta: f64| beta.powf(count as f64);
        Self {
            learning_rate: learning_rate as f32,
            beta_1: BETA_1 as f32,
            beta_2: BETA_2 as f32,
            one_minus_beta_1: (1.0 - BETA_1) as f32,
            one_minus_beta_2: (1.0 - BETA_2) as f32,
            epsilon: EPSILON,
            correction_1: (1.0 - power(BETA_1)) as f32,
            correction_2: (1.0 - power(BETA_2)) as f32,
        }
    }
}

/// A parameter and its moments, all of one shape.
#[derive(Debug, Clone)]
pub struct Optimized<B: Backend> {
    /// The parameter.
    pub parameter: FloatTensor<B>,
    /// First moment.
    pub mu: FloatTensor<B>,
    /// Second moment.
    pub nu: FloatTensor<B>,
}

/// One array of the default body of [`RescoreBackend::adam_step`].
pub(crate) fn reference<B: Backend>(
    Optimized { parameter, mu, nu }: Optimized<B>,
    gradient: FloatTensor<B>,
    step: AdamStep,
) -> Optimized<B> {
    let scale = |x: FloatTensor<B>, factor: f32| B::float_mul_scalar(x, factor.into());
    let mu = B::float_add(
        scale(mu, step.beta_1),
        scale(gradient.clone(), step.one_minus_beta_1),
    );
    let squared = B::float_mul(gradient.clone(), gradient);
    let nu = B::float_add(
        scale(nu, step.beta_2),
        scale(squared, step.one_minus_beta_2),
    );
    let root = B::float_sqrt(scale(nu.clone(), 1.0 / step.correction_2));
    let denominator = B::float_add_scalar(root, step.epsilon.into());
    let direction = B::float_div(scale(mu.clone(), 1.0 / step.correction_1), denominator);
    let parameter = B::float_sub(parameter, scale(direction, step.learning_rate));
    Optimized { parameter, mu, nu }
}

/// Adam's state for a network `N`: the number of steps taken and both moments.
#[derive(Debug, Clone)]
pub struct Adam<N> {
    /// Steps taken so far.
    pub count: u64,
    /// First moment, a tree of the network's shape.
    pub mu: N,
    /// Second moment.
    pub nu: N,
}

impl<N> Adam<N> {
    /// Zero moments of the shape of `network`.
    pub fn new<B: Backend>(network: &N) -> Self
    where
        N: Parameters<B, On<B> = N>,
    {
        let zeros = || {
            network.map(&mut |_, layer: &Linear<B>| Linear {
                weight: layer.weight.zeros_like(),
                bias: layer.bias.zeros_like(),
            })
        };
        Self {
            count: 0,
            mu: zeros(),
            nu: zeros(),
        }
    }

    /// One step: moves `network` against `gradient`.
    pub fn step<B: RescoreBackend>(&mut self, network: &mut N, gradient: &N, learning_rate: f64)
    where
        N: Parameters<B, On<B> = N>,
    {
        self.count += 1;
        let step = AdamStep::new(learning_rate, self.count);
        // Taken out, so that nobody else holds a parameter or moment and the step can be made in
        // place.
        let moments = take(&mut self.mu).into_iter().zip(take(&mut self.nu));
        let mut arrays = Vec::new();
        let mut gradients = Vec::new();
        for ((layer, (mu, nu)), (_, g)) in take(network)
            .into_iter()
            .zip(moments)
            .zip(gradient.layers())
        {
            arrays.push(optimized(layer.weight, mu.weight, nu.weight));
            arrays.push(optimized(layer.bias, mu.bias, nu.bias));
            gradients.push(raw(g.weight.clone()));
            gradients.push(raw(g.bias.clone()));
        }
        let stepped = B::adam_step(arrays, gradients, step);
        let layers = |array: fn(&Optimized<B>) -> &FloatTensor<B>| {
            stepped
                .chunks_exact(2)
                .map(|pair| Linear {
                    weight: tensor(array(&pair[0]).clone()),
                    bias: tensor(array(&pair[1]).clone()),
                })
                .collect()
        };
        put_back(network, layers(|array| &array.parameter));
        put_back(&mut self.mu, layers(|array| &array.mu));
        put_back(&mut self.nu, layers(|array| &array.nu));
    }
}

fn raw<B: Backend, const D: usize>(x: Tensor<B, D>) -> FloatTensor<B> {
    x.into_primitive().tensor()
}

fn tensor<B: Backend, const D: usize>(x: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

fn optimized<B: Backend, const D: usize>(
    parameter: Tensor<B, D>,
    mu: Tensor<B, D>,
    nu: Tensor<B, D>,
) -> Optimized<B> {
    Optimized {
        parameter: raw(parameter),
        mu: raw(mu),
        nu: raw(nu),
    }
}

/// Adam's state for a single tensor (the temperature).
#[derive(Debug, Clone)]
pub struct TensorAdam<B: Backend, const D: usize> {
    /// Steps taken so far.
    pub count: u64,
    /// First moment.
    pub mu: Tensor<B, D>,
    /// Second moment.
    pub nu: Tensor<B, D>,
}

impl<B: RescoreBackend, const D: usize> TensorAdam<B, D> {
    /// Zero moments of the shape of `parameter`.
    pub fn new(parameter: &Tensor<B, D>) -> Self {
        Self {
            count: 0,
            mu: parameter.zeros_like(),
            nu: parameter.zeros_like(),
        }
    }

    /// `parameter` after one step against `gradient`.
    #[must_use]
    pub fn step(
        &mut self,
        parameter: &Tensor<B, D>,
        gradient: &Tensor<B, D>,
        learning_rate: f64,
    ) -> Tensor<B, D> {
        self.count += 1;
        let step = AdamStep::new(learning_rate, self.count);
        let array = optimized(parameter.clone(), self.mu.clone(), self.nu.clone());
        let stepped = B::adam_step(vec![array], vec![raw(gradient.clone())], step);
        let mut next = parameter.clone();
        // One array gives one.
        for Optimized { parameter, mu, nu } in stepped {
            (next, self.mu, self.nu) = (tensor(parameter), tensor(mu), tensor(nu));
        }
        next
    }
}
