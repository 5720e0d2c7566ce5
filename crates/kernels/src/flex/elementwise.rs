//! Element-wise operations in one pass over memory.

use rescore_noise::multiversion;

use crate::adam::AdamStep;

multiversion! {
    /// One Adam step on all values.
    pub(super) fn adam_in_place(
        parameters: &mut [f32],
        gradients: &[f32],
        mus: &mut [f32],
        nus: &mut [f32],
        step: AdamStep
    ) {
        let rate = step.learning_rate / step.correction_1;
        let root_correction = 1.0 / step.correction_2;
        let moments = mus.iter_mut().zip(nus.iter_mut());
        for ((p, &g), (mu, nu)) in parameters.iter_mut().zip(gradients).zip(moments) {
            *mu = step.beta_1 * *mu + step.one_minus_beta_1 * g;
            *nu = step.beta_2 * *nu + step.one_minus_beta_2 * g * g;
            *p -= rate * *mu / ((*nu * root_correction).sqrt() + step.epsilon);
            *p *= step.keep;
        }
    }
}

multiversion! {
    /// `target = keep * target + take * online`
    pub(super) fn lerp_in_place(target: &mut [f32], online: &[f32], keep: f32, take: f32) {
        for (t, o) in target.iter_mut().zip(online) {
            *t = *t * keep + o * take;
        }
    }
}
