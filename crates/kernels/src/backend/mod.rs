//! The backend trait of the project, and beside it the default bodies of its operations.

pub(crate) mod activation;
pub mod adam;
pub mod categorical;
pub mod chain;
pub(crate) mod constant;
pub mod dense;
pub mod formula;
pub mod join;
pub mod layer_norm;
pub mod noise;
pub mod residual;
pub(crate) mod scoring;
pub mod stack;
pub(crate) mod supplied;
pub(crate) mod total;
pub mod weights;

use burn::{
    backend::autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy},
    tensor::{
        Tensor,
        backend::Backend,
        ops::{FloatTensor, IntTensor},
    },
};

use crate::{
    Activation, ChainNetwork, ChainNoise, Combine, Noise, Precision, Sampled, Stack,
    StepCoefficients,
};
use adam::{AdamStep, Optimized};
use categorical::{Atoms, Returns};
use dense::{DenseGradients, Wanted};
use formula::{Arguments, Reduce, Term};
use join::Chosen;
use layer_norm::NormGradients;
use residual::ResidualView;
use stack::{StackGradients, StackPass, StackWanted};

/// A Burn backend with the operations that this project adds.
///
/// The default bodies are plain tensor code, run on any backend, and are what a replacement is
/// checked against. Activations, the linear layer, the norm of rows and distributions over atoms have
/// derivatives; sampling is never differentiated.
pub trait RescoreBackend: Backend {
    /// Whether `device` samples the chain in this precision for networks with hidden layers of
    /// these widths; every one does in `f32`.
    fn supports(
        precision: Precision,
        hidden_dims: &[usize],
        action_dim: usize,
        device: &Self::Device,
    ) -> bool {
        let _ = (hidden_dims, action_dim, device);
        precision == Precision::F32
    }

    /// Counter-based standard normals `[rows, columns]`.
    fn normal(noise: Noise, shape: [usize; 2], device: &Self::Device) -> FloatTensor<Self> {
        Self::float_from_data(noise.normal_on_host(shape), device)
    }

    /// `activation` of every element.
    fn activate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        activation::forward::<Self>(x, activation)
    }

    /// `grad` times the derivative of `activation` at every element.
    fn activate_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        activation::backward::<Self>(x, grad, activation)
    }

    /// The product of `[rows, inner]` and `[inner, columns]`, or of as many of them as the leading
    /// axis of both counts (1 fits all), in `f32` throughout: a backend's own product may round its
    /// factors where the device multiplies them faster then.
    fn matmul(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(a, b)
    }

    /// `x W + b`, then `activation` where there is one: `x` `[members, rows, in]`, or `[1, rows, in]`
    /// where all members have the same input, `weight` `[members, in, out]`, `bias` `[members, 1,
    /// out]`, result `[members, rows, out]`.
    fn dense(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Option<Activation>,
    ) -> FloatTensor<Self> {
        let z = dense::forward::<Self>(x, weight, bias);
        match activation {
            Some(activation) => Self::activate(z, activation),
            None => z,
        }
    }

    /// [`RescoreBackend::dense`] with an activation, and before it what its derivative needs:
    /// `x W + b`.
    fn dense_activated(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
    ) -> [FloatTensor<Self>; 2] {
        let z = Self::dense(x, weight, bias, None);
        [z.clone(), Self::activate(z, activation)]
    }

    /// Derivatives of [`RescoreBackend::dense`] without activation, for `grad` `[members, rows,
    /// out]`.
    fn dense_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        wanted: Wanted,
    ) -> DenseGradients<Self> {
        dense::backward::<Self>(x, weight, grad, wanted)
    }

    /// The outputs `[members, rows, out]` of a stack of layers for `x` `[members, rows, in]`, or `[1,
    /// rows, in]` where all members have the same input.
    fn stack(x: Tensor<Self, 3>, stack: &Stack<Self>) -> Tensor<Self, 3> {
        stack::forward(x, stack)
    }

    /// As [`RescoreBackend::stack`], with what [`RescoreBackend::stack_backward`] needs.
    fn stack_kept(x: Tensor<Self, 3>, stack: &Stack<Self>) -> StackPass<Self> {
        stack::forward_kept(&x, stack)
    }

    /// Derivatives of [`RescoreBackend::stack`] for `grad` `[members, rows, out]`; `kept` is what the
    /// forward pass kept.
    fn stack_backward(
        x: &Tensor<Self, 3>,
        stack: &Stack<Self>,
        kept: &[FloatTensor<Self>],
        grad: Tensor<Self, 3>,
        wanted: &StackWanted,
    ) -> StackGradients<Self> {
        stack::backward(x, stack, kept, &grad, wanted)
    }

    /// The columns of two `parts`, `[rows, ..]` each, and of the rows of a table at indices `[rows]`,
    /// where there is one, beside each other.
    fn join(parts: Vec<FloatTensor<Self>>, chosen: Option<Chosen<Self>>) -> FloatTensor<Self> {
        join::forward::<Self>(parts, chosen)
    }

    /// The derivative of [`RescoreBackend::join`] by its table for `grad` `[rows, columns]`, whose
    /// columns from `first` on are the table's.
    fn join_backward(
        grad: FloatTensor<Self>,
        first: usize,
        table: FloatTensor<Self>,
        indices: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        join::backward::<Self>(grad, first, &table, indices)
    }

    /// A formula of `arguments`, reduced or not; see [`formula::Formula`].
    fn formula(term: &Term, arguments: Arguments<Self>, reduce: Reduce) -> FloatTensor<Self> {
        formula::reference(term, &arguments, reduce)
    }

    /// See [`layer_norm::layer_norm`].
    fn norm_rows(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        layer_norm::forward::<Self>(x, scale, shift, epsilon)
    }

    /// Derivatives of [`RescoreBackend::norm_rows`] for `grad` `[members, rows, width]`.
    fn norm_rows_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> NormGradients<Self> {
        layer_norm::backward::<Self>(x, scale, grad, epsilon)
    }

    /// See [`categorical::expectation`]; the result is `[members, rows, 1]`.
    fn expectation(logits: FloatTensor<Self>, atoms: Atoms) -> FloatTensor<Self> {
        categorical::expectation_forward::<Self>(logits, atoms)
    }

    /// The derivative of [`RescoreBackend::expectation`] by the logits for `grad` `[members, rows,
    /// 1]`.
    fn expectation_backward(
        logits: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        atoms: Atoms,
    ) -> FloatTensor<Self> {
        categorical::expectation_backward::<Self>(logits, grad, atoms)
    }

    /// See [`categorical::cross_entropy`]; the result is `[members, rows, 1]`.
    fn cross_entropy(logits: FloatTensor<Self>, targets: FloatTensor<Self>) -> FloatTensor<Self> {
        categorical::cross_entropy_forward::<Self>(logits, targets)
    }

    /// The derivative of [`RescoreBackend::cross_entropy`] by the logits for `grad` `[members, rows,
    /// 1]`.
    fn cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        categorical::cross_entropy_backward::<Self>(logits, targets, grad)
    }

    /// See [`categorical::target_distribution`].
    fn target_distribution(
        logits: FloatTensor<Self>,
        atoms: Atoms,
        combine: Combine,
        returns: Returns<Self>,
    ) -> FloatTensor<Self> {
        categorical::target_reference(logits, atoms, combine, returns)
    }

    /// See [`weights::softmax_weights`]; the results are `[states, particles]`, and `[states, 1]` twice.
    fn softmax_weights(
        scores: FloatTensor<Self>,
        temperature: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3] {
        weights::reference::<Self>(scores, temperature)
    }

    /// See [`weights::softmax_temperature`].
    fn softmax_temperature(scores: FloatTensor<Self>, target: f64) -> FloatTensor<Self> {
        weights::temperature_reference::<Self>(scores, target)
    }

    /// Samples `particles` actions for each of the `observations` (`[states, observation_dim]`) by
    /// the denoising chain; returns `[states, particles, action_dim]`.
    ///
    /// `steps[t]` are the coefficients of denoising step `t`; the chain visits the last first.
    fn denoise_chain(
        network: &ChainNetwork<Self>,
        observations: Tensor<Self, 2>,
        particles: usize,
        steps: &[StepCoefficients],
        noise: &ChainNoise<Self>,
    ) -> Tensor<Self, 3> {
        chain::denoise(network, observations, particles, steps, noise, |_, _, _| {})
    }

    /// What the members of `critics`, each with one value for `concat(observation, action)`, make
    /// of every particle: observations `[states, observation_dim]`, actions `[states, particles,
    /// action_dim]`, result `[states, particles]`.
    fn score(
        critics: &Stack<Self>,
        combine: Combine,
        observations: Tensor<Self, 2>,
        actions: Tensor<Self, 3>,
    ) -> Tensor<Self, 2> {
        scoring::score(critics, combine, observations, actions)
    }

    /// As [`RescoreBackend::score`] for residual critics, which give one value or, with `atoms`, the
    /// logits of a distribution over them.
    fn score_residual(
        critics: &ResidualView<Self>,
        atoms: Option<Atoms>,
        combine: Combine,
        observations: Tensor<Self, 2>,
        actions: Tensor<Self, 3>,
    ) -> Tensor<Self, 2> {
        residual::score(critics, atoms, combine, observations, actions)
    }

    /// [`RescoreBackend::denoise_chain`], then the particle with the largest
    /// [`RescoreBackend::score`] of every state; ties go to the lowest index.
    fn denoise_best(
        network: &ChainNetwork<Self>,
        critics: &Stack<Self>,
        combine: Combine,
        observations: Tensor<Self, 2>,
        particles: usize,
        steps: &[StepCoefficients],
        noise: &ChainNoise<Self>,
    ) -> Sampled<Self> {
        let actions = Self::denoise_chain(network, observations.clone(), particles, steps, noise);
        let scores = Self::score(critics, combine, observations, actions.clone());
        Self::best(actions, scores)
    }

    /// The particle with the largest score of every state, clipped to [-1, 1]: `actions` `[states,
    /// particles, action_dim]`, `scores` `[states, particles]`. Ties go to the lowest index; where a
    /// score is NaN, the last particle is taken.
    fn best(actions: Tensor<Self, 3>, scores: Tensor<Self, 2>) -> Sampled<Self> {
        scoring::best(actions, scores)
    }

    /// `(1 - tau) target + tau online` of every element of every array.
    ///
    /// # Panics
    /// If there are not as many of both.
    fn lerp(
        targets: Vec<FloatTensor<Self>>,
        online: Vec<FloatTensor<Self>>,
        tau: f64,
    ) -> Vec<FloatTensor<Self>> {
        assert_eq!(targets.len(), online.len(), "an array for each target");
        let lerp = |(target, online)| {
            Self::float_add(
                Self::float_mul_scalar(target, (1.0 - tau).into()),
                Self::float_mul_scalar(online, tau.into()),
            )
        };
        targets.into_iter().zip(online).map(lerp).collect()
    }

    /// One Adam step of every parameter, each with a gradient of its shape.
    ///
    /// # Panics
    /// If there are not as many of both.
    fn adam_step(
        parameters: Vec<Optimized<Self>>,
        gradients: Vec<FloatTensor<Self>>,
        step: AdamStep,
    ) -> Vec<Optimized<Self>> {
        assert_eq!(parameters.len(), gradients.len(), "a gradient for each");
        let arrays = parameters.into_iter().zip(gradients);
        arrays
            .map(|(parameter, gradient)| adam::reference(parameter, gradient, step))
            .collect()
    }
}

impl<B: RescoreBackend, C: CheckpointStrategy> RescoreBackend for Autodiff<B, C> {
    fn activate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        activation::differentiable::<B, C>(x, activation)
    }

    fn dense(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Option<Activation>,
    ) -> FloatTensor<Self> {
        dense::differentiable::<B, C>(x, weight, bias, activation)
    }

    fn stack(x: Tensor<Self, 3>, stack: &Stack<Self>) -> Tensor<Self, 3> {
        stack::differentiable::<B, C>(x, stack)
    }

    fn formula(term: &Term, arguments: Arguments<Self>, reduce: Reduce) -> FloatTensor<Self> {
        formula::differentiable::<B, C>(term, arguments, reduce)
    }

    fn join(parts: Vec<FloatTensor<Self>>, chosen: Option<Chosen<Self>>) -> FloatTensor<Self> {
        join::differentiable::<B, C>(parts, chosen)
    }

    fn norm_rows(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        layer_norm::differentiable::<B, C>(x, scale, shift, epsilon)
    }

    fn expectation(logits: FloatTensor<Self>, atoms: Atoms) -> FloatTensor<Self> {
        categorical::differentiable_expectation::<B, C>(logits, atoms)
    }

    fn cross_entropy(logits: FloatTensor<Self>, targets: FloatTensor<Self>) -> FloatTensor<Self> {
        categorical::differentiable_cross_entropy::<B, C>(logits, targets)
    }
}
