//! The temperature at which weights of particles have a given divergence from equal ones.

use burn::tensor::Tensor;
use rescore_kernels::{
    RescoreBackend, upload,
    weights::{softmax_divergence, softmax_temperature, solve},
};

use crate::particles::WeightRule;

/// The logarithm of the temperature, `[1]`, at which the mean over states of the divergence of the weights
/// of `scores` `[states, particles]` from equal ones is `target`, which must lie between 0 and the
/// logarithm of the number of particles.
///
/// Where no temperature from 1e-6 to 100 has that divergence, the nearer end is the result; where the rule
/// has no temperature, 0. Linear weights come near equal ones at temperatures that are larger by the number
/// of samples, because their excesses are summed; so their range ends there. They are solved for on the
/// host, which reads the scores from the device.
pub fn log_temperature<B: RescoreBackend>(
    rule: WeightRule,
    scores: Tensor<B, 2>,
    target: f64,
) -> Tensor<B, 1> {
    let (device, [_, samples]) = (scores.device(), scores.dims());
    match rule {
        WeightRule::Softmax => softmax_temperature(scores, target),
        WeightRule::Linear => {
            let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
            let logarithm = on_host(rule, &scores, samples, target);
            upload(vec![logarithm as f32], [1], &device)
        }
        WeightRule::Advantage => Tensor::zeros([1], &device),
    }
}

/// The same of scores on the host, rows of `samples`, in 64 bits.
fn on_host(rule: WeightRule, scores: &[f32], samples: usize, target: f64) -> f64 {
    match rule {
        WeightRule::Softmax => solve(scores, samples, (target, 1.0), softmax_divergence),
        WeightRule::Linear => {
            let widened = samples as f64;
            solve(scores, samples, (target, widened), linear_divergence)
        }
        WeightRule::Advantage => 0.0,
    }
}

/// The same of `max((row - nu) / temperature, 0)`, whose sum is 1.
fn linear_divergence(row: &[f64], temperature: f64) -> f64 {
    let mut sorted = row.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut nu) = (0.0, 0.0);
    for (i, score) in sorted.iter().enumerate() {
        let count = (i + 1) as f64;
        sum += score;
        if sum - count * score <= temperature {
            nu = (sum - temperature) / count;
        }
    }
    let probabilities = row.iter().map(|score| (score - nu) / temperature);
    let present = probabilities.filter(|p| *p > 0.0);
    present.map(|p| p * (p * row.len() as f64).ln()).sum()
}

#[cfg(test)]
mod tests {
    use rescore_kernels::weights::below_largest;

    use super::*;

    fn temperature(rule: WeightRule, scores: &[f32], samples: usize, target: f64) -> f64 {
        on_host(rule, scores, samples, target).exp()
    }

    /// Scores without a pattern.
    fn scores(states: usize, samples: usize, scale: f32) -> Vec<f32> {
        (0..states * samples)
            .map(|i| scale * (((i * i * 31 + i * 7) % 97) as f32 / 97.0 + i as f32 % 3.0))
            .collect()
    }

    fn mean_divergence(rule: WeightRule, scores: &[f32], samples: usize, temperature: f64) -> f64 {
        let shifted = below_largest(scores, samples);
        let rows = shifted.chunks_exact(samples);
        let of = |row| match rule {
            WeightRule::Linear => linear_divergence(row, temperature),
            _ => softmax_divergence(row, temperature),
        };
        rows.map(of).sum::<f64>() / (shifted.len() / samples) as f64
    }

    #[test]
    fn the_divergence_at_the_temperature_is_the_target() {
        for rule in [WeightRule::Softmax, WeightRule::Linear] {
            for (samples, scale) in [(2, 1.0), (8, 1e-3), (8, 1.0), (32, 5.0)] {
                let scores = scores(64, samples, scale);
                for share in [0.1, 0.48, 0.8] {
                    let target = share * (samples as f64).ln();
                    let temperature = temperature(rule, &scores, samples, target);
                    let found = mean_divergence(rule, &scores, samples, temperature);
                    let off = (found - target).abs();
                    assert!(off < 1e-5, "{rule:?}, {samples}, {scale}, {share}: {off}");
                }
            }
        }
    }

    #[test]
    fn the_divergence_falls_with_the_temperature() {
        for rule in [WeightRule::Softmax, WeightRule::Linear] {
            let scores = scores(4, 8, 1.0);
            let divergences: Vec<f64> = (-40..20)
                .map(|power| mean_divergence(rule, &scores, 8, (f64::from(power) * 0.3).exp()))
                .collect();
            let falls = divergences.windows(2).all(|w| w[1] <= w[0] + 1e-12);
            assert!(falls, "{rule:?}: {divergences:?}");
            let most = 8_f64.ln();
            assert!(
                divergences
                    .iter()
                    .all(|d| (-1e-12..=most + 1e-12).contains(d))
            );
        }
    }

    /// Equal scores have no divergence, very different ones too much, and scores that are no numbers
    /// end the search all the same.
    #[test]
    fn a_target_out_of_reach_gives_an_end_of_the_range() {
        let apart: Vec<f32> = (0..8).map(|i| 1e6 * i as f32).collect();
        for (scores, end) in [
            (vec![1.0; 8], 1e-6),
            (apart, 1e2),
            (vec![f32::NAN; 8], 1e2),
            (vec![f32::NEG_INFINITY; 8], 1e2),
        ] {
            let temperature = temperature(WeightRule::Softmax, &scores, 8, 1.0);
            assert!((temperature / end - 1.0).abs() < 1e-6, "{temperature}");
        }
        let none = temperature(WeightRule::Advantage, &[0.0, 1.0], 2, 0.3);
        assert!((none - 1.0).abs() < f64::EPSILON);
    }
}
