//! The denoising chain in f64, written without regard to speed.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{ChainNetwork, StepCoefficients};

use crate::reference::{Layer, Network, wide};

/// Explicit random numbers of a chain.
pub struct Noise {
    /// `x_T`, `[states, particles, action_dim]`.
    pub start: Vec<f32>,
    /// In the order of the visits, `[steps, states, particles, action_dim]`.
    pub steps: Vec<f32>,
}

/// The denoiser at step `t` as an ordinary network of `concat(observation, x_t)`.
fn at_step<B: Backend>(network: &ChainNetwork<B>, t: usize) -> Network {
    let [_, hidden] = network.action_weight.dims();
    let mut weight = wide(&network.observation_weight);
    weight.extend(wide(&network.action_weight));
    let bias = wide(&network.step_bias)[t * hidden..][..hidden].to_vec();
    let mut layers = vec![Layer { weight, bias }];
    layers.extend(network.rest.iter().map(|layer| Layer::of(layer, 0)));
    Network {
        layers,
        activation: network.activation,
    }
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
    let networks: Vec<_> = (0..steps.len()).map(|t| at_step(network, t)).collect();
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
