//! Sinusoidal embedding of times.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use rescore_kernels::constant;

/// Embeddings of `times`, `[times, dim]`: of denoising steps, or of a continuous time.
///
/// `concat(sin(t f), cos(t f)) / sqrt(dim)` with `f[j] = 10000^(-j / (dim / 2))`, all sines first,
/// `t` not rescaled (Vaswani et al. 2017, scaled as the reference implementation does).
///
/// # Panics
/// When `dim` is odd or zero.
pub fn time_embedding<B: Backend>(times: &[f64], dim: usize, device: &B::Device) -> Tensor<B, 2> {
    let frequencies = frequencies(dim);
    let scale = 1.0 / (dim as f64).sqrt();
    let mut values = Vec::with_capacity(times.len() * dim);
    for t in times {
        values.extend(frequencies.iter().map(|f| ((t * f).sin() * scale) as f32));
        values.extend(frequencies.iter().map(|f| ((t * f).cos() * scale) as f32));
    }
    constant(values, [times.len(), dim], device)
}

/// As [`time_embedding`] for times that lie on the device, `[batch]` to `[batch, dim]`, in 32 bits.
///
/// # Panics
/// As [`time_embedding`].
pub fn embed_times<B: Backend>(times: &Tensor<B, 1>, dim: usize) -> Tensor<B, 2> {
    let frequencies: Vec<f32> = frequencies(dim).into_iter().map(|f| f as f32).collect();
    let row = TensorData::new(frequencies, [1, dim / 2]);
    let angles = times.clone().unsqueeze_dim::<2>(1) * Tensor::from_data(row, &times.device());
    let waves = Tensor::cat(vec![angles.clone().sin(), angles.cos()], 1);
    waves.div_scalar((dim as f64).sqrt())
}

fn frequencies(dim: usize) -> Vec<f64> {
    assert!(
        dim > 0 && dim.is_multiple_of(2),
        "the embedding is sines and cosines"
    );
    let half = dim / 2;
    (0..half)
        .map(|j| 10_000_f64.powf(-(j as f64) / half as f64))
        .collect()
}
