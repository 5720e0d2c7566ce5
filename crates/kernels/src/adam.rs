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

/// The default body of [`RescoreBackend::adam_step`].
pub(crate) fn reference<B: Backend>(
    parameter: FloatTensor<B>,
    gradient: FloatTensor<B>,
    [mu, nu]: [FloatTensor<B>; 2],
    step: AdamStep,
) -> (FloatTensor<B>, [FloatTensor<B>; 2]) {
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
    (parameter, [mu, nu])
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
        let parameters = take(network).into_iter().zip(moments);
        let mut updated = Vec::new();
        let mut mu = Vec::new();
        let mut nu = Vec::new();
        for ((layer, (m, v)), (_, g)) in parameters.zip(gradient.layers()) {
            let (weight, [weight_mu, weight_nu]) =
                step_tensor(layer.weight, g.weight.clone(), m.weight, v.weight, step);
            let (bias, [bias_mu, bias_nu]) =
                step_tensor(layer.bias, g.bias.clone(), m.bias, v.bias, step);
            updated.push(Linear { weight, bias });
            mu.push(Linear {
                weight: weight_mu,
                bias: bias_mu,
            });
            nu.push(Linear {
                weight: weight_nu,
                bias: bias_nu,
            });
        }
        put_back(network, updated);
        put_back(&mut self.mu, mu);
        put_back(&mut self.nu, nu);
    }
}

type Stepped<B, const D: usize> = (Tensor<B, D>, [Tensor<B, D>; 2]);

fn step_tensor<B: RescoreBackend, const D: usize>(
    parameter: Tensor<B, D>,
    gradient: Tensor<B, D>,
    mu: Tensor<B, D>,
    nu: Tensor<B, D>,
    step: AdamStep,
) -> Stepped<B, D> {
    let raw = |x: Tensor<B, D>| x.into_primitive().tensor();
    let tensor = |x| Tensor::from_primitive(TensorPrimitive::Float(x));
    let (parameter, [mu, nu]) =
        B::adam_step(raw(parameter), raw(gradient), [raw(mu), raw(nu)], step);
    (tensor(parameter), [tensor(mu), tensor(nu)])
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
        let (mu, nu) = (self.mu.clone(), self.nu.clone());
        let (parameter, [mu, nu]) = step_tensor(parameter.clone(), gradient.clone(), mu, nu, step);
        self.mu = mu;
        self.nu = nu;
        parameter
    }
}
