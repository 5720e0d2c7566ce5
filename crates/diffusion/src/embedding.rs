//! Sinusoidal embedding of the denoising step.

use burn::tensor::{Tensor, TensorData, backend::Backend};

/// Embeddings of the steps `0..num_steps`, `[num_steps, dim]`.
///
/// `concat(sin(t f), cos(t f)) / sqrt(dim)` with `f[j] = 10000^(-j / (dim / 2))`, all sines first,
/// `t` not rescaled (Vaswani et al. 2017, scaled as the reference implementation does).
///
/// # Panics
/// When `dim` is odd or zero.
pub fn time_embedding<B: Backend>(
    num_steps: usize,
    dim: usize,
    device: &B::Device,
) -> Tensor<B, 2> {
    assert!(
        dim > 0 && dim.is_multiple_of(2),
        "the embedding is sines and cosines"
    );
    let half = dim / 2;
    let scale = 1.0 / (dim as f64).sqrt();
    let mut values = Vec::with_capacity(num_steps * dim);
    for t in 0..num_steps {
        let angle = |j: usize| t as f64 * 10_000_f64.powf(-(j as f64) / half as f64);
        values.extend((0..half).map(|j| (angle(j).sin() * scale) as f32));
        values.extend((0..half).map(|j| (angle(j).cos() * scale) as f32));
    }
    Tensor::from_data(TensorData::new(values, [num_steps, dim]), device)
}
