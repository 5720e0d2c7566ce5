//! Adam with explicit moments.
//!
//! Burn's optimisers keep their moments by parameter identity and consume a gradient when they use
//! it. Here moments must be read, stored and compared, and the reference implementation of DPMD uses
//! one gradient twice; so moments are trees of the network's own type.
//!
//! Source: D. Kingma and J. Ba, *Adam*, ICLR 2015, algorithm 1; decoupled weight decay: I.
//! Loshchilov and F. Hutter, ICLR 2019.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::{
    RescoreBackend,
    adam::{AdamStep, Optimized},
    total,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Tree, leaves,
    tree::{put_back, raw, take, tensor},
};

/// Everything about Adam but the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdamSettings {
    /// Decay of the first moment, in [0, 1).
    pub beta_1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta_2: f64,
    /// Added to the root of the second moment, > 0.
    pub epsilon: f64,
    /// Decoupled weight decay: after a step every parameter is multiplied by 1 less learning rate
    /// times this; 0 for none.
    pub weight_decay: f64,
    /// A gradient whose Euclidean norm over all parameters exceeds this is scaled down to it; 0 for
    /// no limit.
    pub clip_norm: f64,
}

impl Default for AdamSettings {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip_norm: 0.0,
        }
    }
}

impl AdamSettings {
    fn step(&self, learning_rate: f64, count: u64) -> AdamStep {
        let betas = [self.beta_1, self.beta_2];
        AdamStep::new(learning_rate, betas, self.epsilon, count)
    }
}

/// Adam's state for a network `N`: the number of steps taken and both moments.
#[derive(Debug, Clone)]
pub struct Adam<N> {
    /// Steps taken so far.
    pub count: u64,
    /// First moment, a tree of the network's shape; zero for leaves that are not trained.
    pub mu: N,
    /// Second moment.
    pub nu: N,
    settings: AdamSettings,
}

impl<N> Adam<N> {
    /// Zero moments of the shape of `network`.
    pub fn new<B: Backend>(network: &N, settings: AdamSettings) -> Self
    where
        N: Tree<B, On<B> = N>,
    {
        let zeros = || network.map("", &mut |_, tensor: &Tensor<B, 3>| tensor.zeros_like());
        Self {
            count: 0,
            mu: zeros(),
            nu: zeros(),
            settings,
        }
    }

    /// One step: moves the trained leaves of `network` against `gradient`.
    ///
    /// # Panics
    /// If a backend loses an array.
    pub fn step<B: RescoreBackend>(&mut self, network: &mut N, gradient: &N, learning_rate: f64)
    where
        N: Tree<B, On<B> = N>,
    {
        self.count += 1;
        let keep = 1.0 - learning_rate * self.settings.weight_decay;
        let step = self.settings.step(learning_rate, self.count).decayed(keep);
        let gradient = leaves(gradient);
        let roles: Vec<_> = gradient.iter().map(|(_, role, _)| *role).collect();
        let mut gradient: Vec<_> = gradient.into_iter().map(|(_, _, g)| g).collect();
        if self.settings.clip_norm > 0.0 {
            clip_by_norm(&mut gradient, self.settings.clip_norm);
        }
        // Taken out, so that nobody else holds a parameter or moment and the step can be made in
        // place.
        let parameters = take(network);
        let moments = take(&mut self.mu).into_iter().zip(take(&mut self.nu));
        let mut kept = Vec::new();
        let (mut arrays, mut gradients) = (Vec::new(), Vec::new());
        let all = parameters.into_iter().zip(moments).zip(gradient);
        for (((parameter, (mu, nu)), gradient), role) in all.zip(roles) {
            if role.is_trained() {
                arrays.push(Optimized {
                    parameter: raw(parameter),
                    mu: raw(mu),
                    nu: raw(nu),
                });
                gradients.push(raw(gradient));
                kept.push(None);
            } else {
                kept.push(Some([parameter, mu, nu]));
            }
        }
        let mut stepped = B::adam_step(arrays, gradients, step).into_iter();
        let (mut parameters, mut mus, mut nus) = (Vec::new(), Vec::new(), Vec::new());
        for kept in kept {
            let [parameter, mu, nu] = kept.unwrap_or_else(|| {
                let Optimized { parameter, mu, nu } =
                    stepped.next().expect("a result for each trained leaf");
                [tensor(parameter), tensor(mu), tensor(nu)]
            });
            parameters.push(parameter);
            mus.push(mu);
            nus.push(nu);
        }
        put_back(network, parameters);
        put_back(&mut self.mu, mus);
        put_back(&mut self.nu, nus);
    }
}

/// Scales `gradients` by `min(1, limit / (norm + 1e-6))`, `norm` their Euclidean norm over all
/// entries, and returns the norm, `[1]`.
///
/// # Panics
/// Without a tensor.
pub fn clip_by_norm<B: Backend, const D: usize>(
    gradients: &mut [Tensor<B, D>],
    limit: f64,
) -> Tensor<B, 1> {
    let norm = gradients
        .iter()
        .map(|g| total(g.clone() * g.clone()))
        .reduce(|sum, square| sum + square)
        .expect("at least one gradient")
        .sqrt();
    let scale = norm.clone().add_scalar(1e-6).recip().mul_scalar(limit);
    let scale = scale.clamp_max(1.0);
    for gradient in gradients {
        *gradient = gradient.clone() * scale.clone().unsqueeze();
    }
    norm
}

/// Adam's state for a single tensor, such as the log temperature.
#[derive(Debug, Clone)]
pub struct TensorAdam<B: Backend, const D: usize> {
    /// Steps taken so far.
    pub count: u64,
    /// First moment.
    pub mu: Tensor<B, D>,
    /// Second moment.
    pub nu: Tensor<B, D>,
    settings: AdamSettings,
}

impl<B: RescoreBackend, const D: usize> TensorAdam<B, D> {
    /// Zero moments of the shape of `parameter`.
    pub fn new(parameter: &Tensor<B, D>, settings: AdamSettings) -> Self {
        Self {
            count: 0,
            mu: parameter.zeros_like(),
            nu: parameter.zeros_like(),
            settings,
        }
    }

    /// One step of `parameter` against `gradient`; decay and clipping are not for single tensors.
    ///
    /// # Panics
    /// If a backend loses the array.
    pub fn step(
        &mut self,
        parameter: &mut Tensor<B, D>,
        gradient: &Tensor<B, D>,
        learning_rate: f64,
    ) {
        self.count += 1;
        let step = self.settings.step(learning_rate, self.count);
        // Taken out, so that nobody else holds them and the step can be made in place.
        let take = |x: &mut Tensor<B, D>| raw(std::mem::replace(x, gradient.clone()));
        let array = Optimized {
            parameter: take(parameter),
            mu: take(&mut self.mu),
            nu: take(&mut self.nu),
        };
        let stepped = B::adam_step(vec![array], vec![raw(gradient.clone())], step).pop();
        let stepped = stepped.expect("one array gives one");
        *parameter = tensor(stepped.parameter);
        (self.mu, self.nu) = (tensor(stepped.mu), tensor(stepped.nu));
    }
}
