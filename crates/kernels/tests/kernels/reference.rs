//! The formulas in f64, written without regard to speed.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{Activation, ChainNetwork, Linear, Mlp, StepCoefficients};

use crate::to_vec;

/// The values of a tensor as f64, in row-major order.
pub fn wide<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> Vec<f64> {
    to_vec(tensor.clone()).into_iter().map(f64::from).collect()
}

/// `x tanh(log(1 + e^x))`.
pub fn mish(x: f64) -> f64 {
    // log(1 + e^x) = x + log(1 + e^-x) does not overflow for large x.
    let softplus = x.max(0.0) + (-x.abs()).exp().ln_1p();
    x * softplus.tanh()
}

/// The distribution function of the unit normal (Marsaglia 2004): all terms of the series have one
/// sign, so nothing cancels.
pub fn normal_cdf(x: f64) -> f64 {
    let (mut term, mut sum, mut k) = (x, x, 3.0);
    while f64::abs(term) > 1e-18 * f64::abs(sum) {
        term *= x * x / k;
        sum += term;
        k += 2.0;
    }
    0.5 + sum * normal_density(x)
}

/// The density of the unit normal.
pub fn normal_density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

pub fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Mish => mish(x),
        Activation::Gelu => x * normal_cdf(x),
    }
}

/// A linear layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// `[inputs, outputs]`
    pub weight: Vec<f64>,
    pub bias: Vec<f64>,
}

impl Layer {
    pub fn of<B: Backend>(layer: &Linear<B>) -> Self {
        Self {
            weight: wide(&layer.weight),
            bias: wide(&layer.bias),
        }
    }

    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        let columns = self.bias.len();
        (0..columns)
            .map(|j| {
                let products = x.iter().enumerate();
                self.bias[j]
                    + products
                        .map(|(i, x)| x * self.weight[i * columns + j])
                        .sum::<f64>()
            })
            .collect()
    }
}

/// Layers with an activation between them.
#[derive(Debug, Clone)]
pub struct Network {
    pub layers: Vec<Layer>,
    pub activation: Activation,
}

impl Network {
    pub fn of<B: Backend>(network: &Mlp<B>) -> Self {
        Self {
            layers: network.layers.iter().map(Layer::of).collect(),
            activation: network.activation,
        }
    }

    /// The denoiser at step `t` as an ordinary network of `concat(observation, x_t)`.
    fn of_chain<B: Backend>(network: &ChainNetwork<B>, t: usize) -> Self {
        let [_, hidden] = network.action_weight.dims();
        let mut weight = wide(&network.observation_weight);
        weight.extend(wide(&network.action_weight));
        let bias = wide(&network.step_bias)[t * hidden..][..hidden].to_vec();
        let mut layers = vec![Layer { weight, bias }];
        layers.extend(network.rest.iter().map(Layer::of));
        Self {
            layers,
            activation: network.activation,
        }
    }

    /// The output for one input row.
    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        let mut x = self.layers[0].forward(x);
        for layer in &self.layers[1..] {
            for value in &mut x {
                *value = activate(self.activation, *value);
            }
            x = layer.forward(&x);
        }
        x
    }
}

/// Explicit random numbers of a chain.
pub struct Noise {
    /// `x_T`, `[states, particles, action_dim]`.
    pub start: Vec<f32>,
    /// In the order of the visits, `[steps, states, particles, action_dim]`.
    pub steps: Vec<f32>,
}

/// Ho et al. (2020), algorithm 2, one particle of one state after the other. The result is
/// `[states, particles, action_dim]`.
pub fn denoise<B: Backend>(
    network: &ChainNetwork<B>,
    observations: &Tensor<B, 2>,
    particles: usize,
    steps: &[StepCoefficients],
    noise: &Noise,
) -> Vec<f64> {
    let [states, observation_dim] = observations.dims();
    let [action_dim, _] = network.action_weight.dims();
    let observations = wide(observations);
    let networks: Vec<_> = (0..steps.len())
        .map(|t| Network::of_chain(network, t))
        .collect();
    let all = states * particles * action_dim;
    let mut actions = Vec::with_capacity(all);
    for row in 0..states * particles {
        let observation = &observations[row / particles * observation_dim..][..observation_dim];
        let own = |values: &[f32], from: usize| -> Vec<f64> {
            let values = &values[from + row * action_dim..][..action_dim];
            values.iter().map(|z| f64::from(*z)).collect()
        };
        let mut x = own(&noise.start, 0);
        for (t, c) in steps.iter().enumerate().rev() {
            let prediction = networks[t].forward(&[observation, &x].concat());
            let z = own(&noise.steps, (steps.len() - 1 - t) * all);
            for ((x, e), z) in x.iter_mut().zip(prediction).zip(z) {
                let x0 = f64::from(c.sqrt_recip_alpha_bar) * *x
                    - f64::from(c.sqrt_recip_alpha_bar_minus_one) * e;
                let mean = f64::from(c.posterior_x0) * x0.clamp(-1.0, 1.0)
                    + f64::from(c.posterior_xt) * *x;
                *x = mean + if t > 0 { f64::from(c.sigma) * z } else { 0.0 };
            }
        }
        actions.extend(x);
    }
    actions
}
