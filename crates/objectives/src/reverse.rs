//! Clean actions from the reverse kernel of the diffusion, within the action bounds.
//!
//! At a noisy action `x_t = sqrt(alpha_bar) a + sqrt(1 - alpha_bar) e` the reverse kernel `N(x_t /
//! sqrt(alpha_bar), (1 - alpha_bar) / alpha_bar)` has mass outside of [-1, 1]; clipping its samples
//! piles that mass up on the bounds, and the noise that belongs to a clipped sample is another one.
//! Here the kernel is restricted to the bounds instead (as in `MaxEntDP`, Dong et al. 2025), by the
//! inverse of its distribution function, so that noise and clean action belong together:
//! `x_0 = a + (e - n) / rho`, `rho = sqrt(alpha_bar / (1 - alpha_bar))`, where the noise `n` is a
//! unit normal restricted to `[e - rho (1 - a), e + rho (1 + a)]`.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::normal_tail;

/// Below this `rho` the bounds are so near to each other that the clean action is solved for.
const NARROW: f64 = 0.1;

/// Samples of the reverse kernel.
#[derive(Debug, Clone)]
pub struct ReverseSamples<B: Backend> {
    /// The noise, `[batch, samples, action_dim]`.
    pub noise: Tensor<B, 3>,
    /// The clean actions, in [-1, 1], `[batch, samples, action_dim]`.
    pub clean: Tensor<B, 3>,
}

/// The noise that leads to the clean actions 1 and -1, `[batch, action_dim]` each, for actions in
/// [-1, 1] and the noise that was added to them, `[batch, action_dim]`, and `rho` `[batch, 1]`.
pub fn noise_bounds<B: Backend>(
    actions: Tensor<B, 2>,
    noise: Tensor<B, 2>,
    rho: Tensor<B, 2>,
) -> [Tensor<B, 2>; 2] {
    // Not from x_t: near alpha_bar = 1 its difference to the action cancels.
    let low = noise.clone() - rho.clone() * actions.clone().neg().add_scalar(1.0);
    let high = noise + rho * actions.add_scalar(1.0);
    [low, high]
}

/// The samples that `uniforms` `[batch, samples, action_dim]`, in (0, 1], select: a greater one gives
/// more noise and a smaller clean action. The other arguments are those of [`noise_bounds`].
pub fn truncated_reverse_samples<B: Backend>(
    actions: Tensor<B, 2>,
    noise: Tensor<B, 2>,
    rho: Tensor<B, 2>,
    uniforms: Tensor<B, 3>,
) -> ReverseSamples<B> {
    let shape = uniforms.dims();
    let [low, high] = noise_bounds(actions.clone(), noise.clone(), rho.clone())
        .map(|bound| bound.unsqueeze_dim::<3>(1));
    let [actions, noise, rho] =
        [actions, noise, rho].map(|x| x.unsqueeze_dim::<3>(1).expand(shape));
    let wide = wide_noise([low, high], &uniforms);
    let of_wide = actions.clone() + (noise.clone() - wide.clone()) / rho.clone();
    let of_narrow = narrow_clean(
        actions.clone() * rho.clone() + noise.clone(),
        &rho,
        uniforms,
    );
    // Near alpha_bar = 0 a clean action that follows from the noise has its rounding multiplied by
    // 1 / rho, up to 400.
    let narrow = noise + rho.clone() * (actions - of_narrow.clone());
    let is_narrow = rho.lower_elem(NARROW);
    ReverseSamples {
        noise: wide.mask_where(is_narrow.clone(), narrow),
        clean: of_wide.clamp(-1.0, 1.0).mask_where(is_narrow, of_narrow),
    }
}

/// The normal between two bounds where its distribution function has gone `uniforms` of the way
/// between them. Both tails are sums of positive terms, and the smaller one is inverted.
fn wide_noise<B: Backend>([low, high]: [Tensor<B, 3>; 2], uniforms: &Tensor<B, 3>) -> Tensor<B, 3> {
    let rest = uniforms.clone().neg().add_scalar(1.0);
    let between = |low: Tensor<B, 3>, high: Tensor<B, 3>| {
        rest.clone() * normal_cdf(low) + uniforms.clone() * normal_cdf(high)
    };
    let below = between(low.clone(), high.clone());
    let above = between(low.clone().neg(), high.clone().neg());
    let from_above = above.clone().lower(below.clone());
    let lower = lower_quantile(below.min_pair(above));
    let noise = lower.clone().mask_where(from_above, lower.neg());
    noise.max_pair(low).min_pair(high)
}

/// `Phi(x)`, relatively accurate for negative arguments.
fn normal_cdf<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let tail = normal_tail(x.clone().abs());
    let upper = tail.clone().neg().add_scalar(1.0);
    tail.mask_where(x.greater_elem(0.0), upper)
}

/// `sum_i coefficients[i] x^i`
fn polynomial<B: Backend>(x: &Tensor<B, 3>, coefficients: &[f64]) -> Tensor<B, 3> {
    let highest_first = coefficients.iter().rev();
    highest_first.fold(x.zeros_like(), |sum, c| (sum * x.clone()).add_scalar(*c))
}

/// The argument at which `Phi` is `p`, for `p` up to 1/2: Wichura's PPND7, accurate to 1e-7 (Applied
/// Statistics 37, 1988, algorithm AS 241).
fn lower_quantile<B: Backend>(p: Tensor<B, 3>) -> Tensor<B, 3> {
    let ratio = |x: &Tensor<B, 3>, above: &[f64], below: &[f64]| {
        polynomial(x, above) / polynomial(x, below)
    };
    let p = p.clamp(f32::MIN_POSITIVE, 0.5);
    let q = p.clone().sub_scalar(0.5);
    let r = (q.clone() * q.clone()).neg().add_scalar(0.180_625);
    let centre = q * ratio(
        &r,
        &[
            3.387_132_717_9,
            50.434_271_938,
            159.291_132_02,
            59.109_374_72,
        ],
        &[1.0, 17.895_169_469, 78.757_757_664, 67.187_563_6],
    );
    let root = p.clone().log().neg().sqrt();
    let near = root.clone().sub_scalar(1.6);
    let tail = ratio(
        &near,
        &[
            1.423_437_277_7,
            2.756_815_39,
            1.306_728_481_6,
            0.170_238_211_03,
        ],
        &[1.0, 0.737_001_642_5, 0.120_211_329_75],
    );
    let far = root.clone().sub_scalar(5.0);
    let far_tail = ratio(
        &far,
        &[
            6.657_905_115,
            3.081_226_386,
            0.428_682_943_37,
            0.017_337_203_997,
        ],
        &[1.0, 0.241_978_942_25, 0.012_258_202_635],
    );
    let tail = tail.mask_where(root.greater_elem(5.0), far_tail).neg();
    centre.mask_where(p.lower_elem(0.075), tail)
}

/// The clean action where bounds are near: its density on [-1, 1] is proportional to `g(y) = exp(rho
/// c y - rho^2 y^2 / 2)`, and three of Newton's steps from a uniform one solve `integral of g from y
/// to 1 = uniforms (integral of g from -1 to 1)`.
fn narrow_clean<B: Backend>(
    c: Tensor<B, 3>,
    rho: &Tensor<B, 3>,
    uniforms: Tensor<B, 3>,
) -> Tensor<B, 3> {
    let slope = rho.clone() * c;
    let bend = (rho.clone() * rho.clone()).mul_scalar(-0.5);
    let density =
        |y: Tensor<B, 3>| (slope.clone() * y.clone() + bend.clone() * y.clone() * y).exp();
    // Gauss and Legendre's four points.
    let points = [
        (0.339_981_043_584_856_3, 0.652_145_154_862_546_1),
        (0.861_136_311_594_052_6, 0.347_854_845_137_453_9),
    ];
    let integral_to_1 = |y: &Tensor<B, 3>| {
        let half = y.clone().neg().add_scalar(1.0).mul_scalar(0.5);
        let middle = y.clone().add_scalar(1.0).mul_scalar(0.5);
        let sum = points.iter().flat_map(|(x, weight)| {
            [*x, -*x].map(|x| density(middle.clone() + half.clone() * x) * *weight)
        });
        let sum = sum.reduce(|sum, value| sum + value);
        sum.expect("there are points") * half
    };
    let mut y = uniforms.clone().mul_scalar(-2.0).add_scalar(1.0);
    let wanted = uniforms * integral_to_1(&y.full_like(-1.0));
    for _ in 0..3 {
        let step = (integral_to_1(&y) - wanted.clone()) / density(y.clone());
        y = (y + step).clamp(-1.0, 1.0);
    }
    y
}
