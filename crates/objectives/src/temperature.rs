//! The temperature at which weights of particles have a given divergence from equal ones.

use crate::particles::WeightRule;

/// Where the temperature is looked for. Linear weights come near equal ones at temperatures that are
/// larger by the number of samples, because their excesses are summed; so their range ends there.
const RANGE: [f64; 2] = [1e-6, 1e2];

/// Halvings of the logarithm of that range: its width, 18.4 and more, becomes 2e-11.
const HALVINGS: usize = 40;

/// The temperature at which the mean over states of the divergence of the weights of `scores`, rows
/// of `samples`, from equal ones is `target`, which must lie between 0 and the logarithm of
/// `samples`; in 64 bits.
///
/// The divergence falls with the temperature, so that bisection of its logarithm finds it. Where no
/// temperature of the range has that divergence, the nearer end of the range is the result; where
/// the rule has no temperature, 1.
///
/// # Panics
/// Without samples.
pub fn solve(rule: WeightRule, scores: &[f32], samples: usize, target: f64) -> f64 {
    let (divergence, widened): (fn(&[f64], f64) -> f64, _) = match rule {
        WeightRule::Softmax => (softmax_divergence, 1.0),
        WeightRule::Linear => (linear_divergence, samples as f64),
        WeightRule::Advantage => return 1.0,
    };
    let shifted = below_largest(scores, samples);
    let states = shifted.len() / samples;
    let [mut low, mut high] = [RANGE[0], RANGE[1] * widened].map(f64::ln);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        let temperature = middle.exp();
        let rows = shifted.chunks_exact(samples);
        let sum: f64 = rows.map(|row| divergence(row, temperature)).sum();
        if sum < target * states as f64 {
            high = middle;
        } else {
            low = middle;
        }
    }
    (0.5 * (low + high)).exp()
}

/// Every score less the largest of its row.
fn below_largest(scores: &[f32], samples: usize) -> Vec<f64> {
    let rows = scores.chunks_exact(samples);
    rows.flat_map(|row| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter()
            .map(move |score| f64::from(*score) - f64::from(largest))
    })
    .collect()
}

/// `sum p log(p K)` of the softmax of `row / temperature`: with `e = exp(row / temperature)` it is
/// `sum e row / (temperature sum e) - log(sum e / K)`.
fn softmax_divergence(row: &[f64], temperature: f64) -> f64 {
    let (mut sum, mut weighted) = (0.0, 0.0);
    for score in row {
        let scaled = score / temperature;
        let e = scaled.exp();
        sum += e;
        weighted += e * scaled.max(f64::MIN);
    }
    weighted / sum - (sum / row.len() as f64).ln()
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
    use super::*;

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
                    let temperature = solve(rule, &scores, samples, target);
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
            let temperature = solve(WeightRule::Softmax, &scores, 8, 1.0);
            assert!((temperature / end - 1.0).abs() < 1e-6, "{temperature}");
        }
        assert!((solve(WeightRule::Advantage, &[0.0, 1.0], 2, 0.3) - 1.0).abs() < f64::EPSILON);
    }
}
