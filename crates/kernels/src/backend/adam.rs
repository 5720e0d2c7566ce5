//! One Adam step of many arrays.
//!
//! Source: D. Kingma and J. Ba, *Adam*, ICLR 2015, algorithm 1.

use burn::tensor::{backend::Backend, ops::FloatTensor};

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
    /// What a parameter is multiplied by after the step: less than 1 with decoupled weight decay.
    pub keep: f32,
}

impl AdamStep {
    /// The `count`-th step (from 1) with the decays `beta_1`, `beta_2` of the moments.
    pub fn new(learning_rate: f64, [beta_1, beta_2]: [f64; 2], epsilon: f64, count: u64) -> Self {
        let power = |beta: f64| beta.powf(count as f64);
        Self {
            learning_rate: learning_rate as f32,
            beta_1: beta_1 as f32,
            beta_2: beta_2 as f32,
            one_minus_beta_1: (1.0 - beta_1) as f32,
            one_minus_beta_2: (1.0 - beta_2) as f32,
            epsilon: epsilon as f32,
            correction_1: (1.0 - power(beta_1)) as f32,
            correction_2: (1.0 - power(beta_2)) as f32,
            keep: 1.0,
        }
    }

    /// The same step, after which parameters are multiplied by `keep` (Loshchilov and Hutter 2019).
    #[must_use]
    pub fn decayed(self, keep: f64) -> Self {
        let keep = keep as f32;
        Self { keep, ..self }
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
    let moved = B::float_sub(parameter, scale(direction, step.learning_rate));
    let parameter = if step.keep < 1.0 {
        scale(moved, step.keep)
    } else {
        moved
    };
    Optimized { parameter, mu, nu }
}
