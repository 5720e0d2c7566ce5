//! The formulas in f64, written without regard to speed.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{Activation, Stack};

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
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
    }
}

/// A linear layer of one network.
#[derive(Debug, Clone)]
pub struct Layer {
    /// `[inputs, outputs]`
    pub weight: Vec<f64>,
    pub bias: Vec<f64>,
}

impl Layer {
    /// One member's.
    pub fn of<B: Backend>(layer: &rescore_kernels::Layer<B>, member: usize) -> Self {
        let of = |x: &Tensor<B, 3>| wide(&x.clone().narrow(0, member, 1));
        Self {
            weight: of(&layer.weight),
            bias: of(&layer.bias),
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
    /// One member's.
    pub fn of<B: Backend>(stack: &Stack<B>, member: usize) -> Self {
        let layers = stack.layers.iter();
        Self {
            layers: layers.map(|layer| Layer::of(layer, member)).collect(),
            activation: stack.activation,
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
