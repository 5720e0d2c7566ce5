//! The denoising chain: ancestral sampling of a diffusion policy.
//!
//! Source: J. Ho, A. Jain and P. Abbeel, *Denoising diffusion probabilistic models*, 2020,
//! algorithm 2, with the predicted clean action clipped to the action bounds.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use rayon::prelude::*;

use crate::{
    Activation, Layer, NoiseKey, RescoreBackend, Stack, dense, flatten_particles, noise,
    unflatten_particles,
};

/// Coefficients of one denoising step `t`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepCoefficients {
    /// `sqrt(1 / alpha_bar[t])`
    pub sqrt_recip_alpha_bar: f32,
    /// `sqrt(1 / alpha_bar[t] - 1)`
    pub sqrt_recip_alpha_bar_minus_one: f32,
    /// Weight of the predicted clean action in the posterior mean.
    pub posterior_x0: f32,
    /// Weight of the noisy action in the posterior mean.
    pub posterior_xt: f32,
    /// Standard deviation of the posterior; not used at `t = 0`.
    pub sigma: f32,
}

/// How a chain holds weights and activations between its layers; sums, the action and everything
/// that is trained are `f32` always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, of which 8 are the exponent's: half the memory and, where the processor multiplies
    /// them, twice the products. [`RescoreBackend::supports`] tells which backends have it.
    Bf16,
}

impl Precision {
    /// Its name in configurations and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// A denoiser as the chain uses it: what is constant over a chain is computed once.
///
/// Layer 1 acts on `concat(observation, x_t, time embedding)`. Its observation part is constant
/// over steps and particles, its time part constant over the batch, so they come apart.
#[derive(Debug, Clone)]
pub struct ChainNetwork<B: Backend> {
    /// Rows of layer 1 that see the observation, `[observation_dim, hidden]`.
    pub observation_weight: Tensor<B, 2>,
    /// Rows of layer 1 that see the noisy action, `[action_dim, hidden]`.
    pub action_weight: Tensor<B, 2>,
    /// Bias of layer 1 plus its time part, `[denoising_steps, hidden]`.
    pub step_bias: Tensor<B, 2>,
    /// Layers 2 to the output, of one member.
    pub rest: Vec<Layer<B>>,
    /// Activation between the layers.
    pub activation: Activation,
    /// Precision of the chain, where the backend has it.
    pub precision: Precision,
}

/// Where the chain's random numbers come from.
#[derive(Debug, Clone)]
pub enum ChainNoise<B: Backend> {
    /// Counter-based: row = state x particles + particle, step = denoising step (their number for
    /// the start), one counter for all states.
    Counter {
        /// Stream.
        key: NoiseKey,
        /// Update or act counter.
        counter: u32,
        /// Standard deviation of the start `x_T`.
        start_scale: f32,
    },
    /// Counter-based with a counter for each state and row = particle, so that an action does not
    /// depend on the state's place in the batch.
    CounterPerState {
        /// Stream.
        key: NoiseKey,
        /// One counter a state.
        counters: Vec<u32>,
        /// Standard deviation of the start `x_T`.
        start_scale: f32,
    },
    /// Explicit numbers, for checks against another implementation.
    Given {
        /// The start `x_T`, already scaled, `[states, particles, action_dim]`.
        start: Tensor<B, 3>,
        /// Unit normals in the order in which the steps are visited,
        /// `[denoising_steps, states, particles, action_dim]`; the last is not used.
        steps: Tensor<B, 4>,
    },
}

impl<B: Backend> ChainNoise<B> {
    /// Noise that is a function of each observation alone (`[states, observation_dim]`): its bits
    /// select the random numbers. Reads the observations back from the device.
    pub fn of_observations(key: NoiseKey, observations: &Tensor<B, 2>, start_scale: f32) -> Self {
        let [_, dim] = observations.dims();
        let values: Vec<f32> = observations.to_data().iter::<f32>().collect();
        Self::CounterPerState {
            key,
            counters: values.chunks(dim.max(1)).map(noise::hash).collect(),
            start_scale,
        }
    }

    /// `x_T` as rows, `[states * particles, action_dim]`, for `shape` `[states, particles,
    /// action_dim]` and `num_steps` draws of [`ChainNoise::step`].
    pub fn start(&self, shape: [usize; 3], num_steps: usize, device: &B::Device) -> Tensor<B, 2> {
        match self {
            Self::Counter { start_scale, .. } | Self::CounterPerState { start_scale, .. } => {
                self.draw(shape, num_steps, device).mul_scalar(*start_scale)
            }
            Self::Given { start, .. } => flatten_particles(start.clone()),
        }
    }

    /// Unit normals of denoising step `t`, of steps that are visited from `num_steps - 1` down to 0,
    /// as rows, `[states * particles, action_dim]`.
    pub fn step(
        &self,
        shape: [usize; 3],
        t: usize,
        num_steps: usize,
        device: &B::Device,
    ) -> Tensor<B, 2> {
        match self {
            Self::Counter { .. } | Self::CounterPerState { .. } => self.draw(shape, t, device),
            Self::Given { steps, .. } => {
                let visited = num_steps - 1 - t;
                let [_, states, particles, dim] = steps.dims();
                steps
                    .clone()
                    .slice([visited..visited + 1])
                    .reshape([states * particles, dim])
            }
        }
    }

    /// Counter-based unit normals for step `step`, `[states * particles, action_dim]`.
    fn draw(
        &self,
        [states, particles, dim]: [usize; 3],
        step: usize,
        device: &B::Device,
    ) -> Tensor<B, 2> {
        let mut values = vec![0.0; states * particles * dim];
        // One state a task; the partition cannot change the numbers.
        values
            .par_chunks_mut(particles * dim)
            .enumerate()
            .for_each(|(state, rows)| match self {
                Self::Counter { key, counter, .. } => {
                    let first_row = (state * particles) as u32;
                    key.fill_normals(rows, dim, first_row, step as u32, *counter);
                }
                Self::CounterPerState { key, counters, .. } => {
                    key.fill_normals(rows, dim, 0, step as u32, counters[state]);
                }
                Self::Given { .. } => {}
            });
        Tensor::from_data(TensorData::new(values, [states * particles, dim]), device)
    }
}

/// The chain in plain tensor code; the reference for every kernel.
///
/// `observe(t, x, noise_pred)` is called after step `t` with the new state of the chain and the
/// network's output, both `[states * particles, action_dim]`.
pub fn denoise<B: RescoreBackend>(
    network: &ChainNetwork<B>,
    observations: Tensor<B, 2>,
    particles: usize,
    steps: &[StepCoefficients],
    noise: &ChainNoise<B>,
    observe: impl FnMut(usize, &Tensor<B, 2>, &Tensor<B, 2>),
) -> Tensor<B, 3> {
    let rest = Stack {
        layers: network.rest.clone(),
        activation: network.activation,
    };
    let after_first = |x: Tensor<B, 2>| {
        let x = network.activation.forward(x.unsqueeze_dim(0));
        rest.forward(x).squeeze_dim(0)
    };
    denoise_by(
        network,
        (dense::matmul, after_first),
        observations,
        particles,
        steps,
        noise,
        observe,
    )
}

/// A product of matrices.
pub(crate) type Product<B> = fn(Tensor<B, 2>, Tensor<B, 2>) -> Tensor<B, 2>;

/// [`denoise`] with the network from the first layer's output on, before its activation, as a
/// function, and the product of matrices before it.
pub(crate) fn denoise_by<B: Backend>(
    network: &ChainNetwork<B>,
    (matmul, after_first): (Product<B>, impl Fn(Tensor<B, 2>) -> Tensor<B, 2>),
    observations: Tensor<B, 2>,
    particles: usize,
    steps: &[StepCoefficients],
    noise: &ChainNoise<B>,
    observe: impl FnMut(usize, &Tensor<B, 2>, &Tensor<B, 2>),
) -> Tensor<B, 3> {
    let [states, _] = observations.dims();
    let [action_dim, hidden] = network.action_weight.dims();
    let rows = states * particles;
    let device = observations.device();
    let observation_part = matmul(observations, network.observation_weight.clone());
    let predict = |t: usize, x: Tensor<B, 2>| {
        let per_state = observation_part.clone() + network.step_bias.clone().slice([t..t + 1]);
        let action_part = matmul(x, network.action_weight.clone());
        let first = action_part.reshape([states, particles, hidden])
            + per_state.reshape([states, 1, hidden]);
        after_first(first.reshape([rows, hidden]))
    };
    let shape = [states, particles, action_dim];
    ancestral(shape, &device, predict, steps, noise, observe)
}

/// The chain for any network: `predict(t, x)` is its output `[states * particles, action_dim]` at
/// step `t` for noisy actions `x` of that shape; `observe` as in [`denoise`]. Result `[states,
/// particles, action_dim]` for `shape` of these sizes.
pub fn ancestral<B: Backend>(
    shape: [usize; 3],
    device: &B::Device,
    mut predict: impl FnMut(usize, Tensor<B, 2>) -> Tensor<B, 2>,
    steps: &[StepCoefficients],
    noise: &ChainNoise<B>,
    mut observe: impl FnMut(usize, &Tensor<B, 2>, &Tensor<B, 2>),
) -> Tensor<B, 3> {
    let mut x = noise.start(shape, steps.len(), device);
    for (t, c) in steps.iter().enumerate().rev() {
        let noise_pred = predict(t, x.clone());
        let x0 = (x.clone().mul_scalar(c.sqrt_recip_alpha_bar)
            - noise_pred
                .clone()
                .mul_scalar(c.sqrt_recip_alpha_bar_minus_one))
        .clamp(-1.0, 1.0);
        x = x0.mul_scalar(c.posterior_x0) + x.mul_scalar(c.posterior_xt);
        if t > 0 {
            x = x + noise
                .step(shape, t, steps.len(), device)
                .mul_scalar(c.sigma);
        }
        observe(t, &x, &noise_pred);
    }
    unflatten_particles(x, shape[0])
}
