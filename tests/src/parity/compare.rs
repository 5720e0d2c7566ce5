//! Collects comparisons and the worst of them.

use anyhow::{Result, bail, ensure};

/// All comparisons so far.
#[derive(Debug, Default)]
pub struct Comparison {
    arrays: usize,
    worst: f64,
    worst_at: String,
    failures: Vec<String>,
}

impl Comparison {
    /// Compares one array: `|a - b| <= tolerance max(1, |b|)` for every element.
    ///
    /// # Errors
    /// When the lengths differ. A deviation is recorded and reported by [`Comparison::verdict`],
    /// so that one run shows all of them.
    pub fn array(
        &mut self,
        at: &str,
        actual: &[f64],
        expected: &[f64],
        tolerance: f64,
    ) -> Result<()> {
        ensure!(
            actual.len() == expected.len(),
            "{at}: {} values computed, {} expected",
            actual.len(),
            expected.len()
        );
        self.arrays += 1;
        let deviation = |(a, b): (&f64, &f64)| (a - b).abs() / (tolerance * b.abs().max(1.0));
        let ratios = actual.iter().zip(expected).map(deviation);
        // NaN must not pass as the smaller of two numbers.
        let (worst, index) = ratios
            .enumerate()
            .fold((0.0, 0), |(worst, at), (i, ratio)| {
                if ratio > worst || ratio.is_nan() {
                    (if ratio.is_nan() { f64::INFINITY } else { ratio }, i)
                } else {
                    (worst, at)
                }
            });
        if worst > self.worst || self.worst_at.is_empty() {
            self.worst = worst;
            at.clone_into(&mut self.worst_at);
        }
        if worst > 1.0 {
            self.failures.push(format!(
                "{at}[{index}]: {} computed, {} expected, {worst:.2} times the tolerance",
                actual[index], expected[index]
            ));
        }
        Ok(())
    }

    /// Arrays compared.
    pub fn arrays(&self) -> usize {
        self.arrays
    }

    /// The largest deviation as a multiple of its tolerance.
    pub fn worst(&self) -> f64 {
        self.worst
    }

    /// Where the largest deviation is, as `FILE:ARRAY`.
    pub fn worst_at(&self) -> &str {
        &self.worst_at
    }

    /// # Errors
    /// When an array deviated by more than its tolerance.
    pub fn verdict(&self) -> Result<()> {
        if self.failures.is_empty() {
            return Ok(());
        }
        let shown = self.failures.iter().take(20).cloned().collect::<Vec<_>>();
        bail!(
            "{} of {} arrays deviate:\n{}",
            self.failures.len(),
            self.arrays,
            shown.join("\n")
        )
    }
}
