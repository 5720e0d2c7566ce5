//! Linear layers of an ensemble.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use rescore_kernels::{Activation, Layer, NoiseKey, RescoreBackend, dense::dense};

use crate::{Leaf, Role, Tree};

/// Fully connected layers `y = x W + b`, one for each member.
#[derive(Debug, Clone)]
pub struct Linear<B: Backend> {
    /// `W`, `[members, in, out]`.
    pub weight: Tensor<B, 3>,
    /// `b`, `[members, 1, out]`; none where a norm follows that would subtract it again.
    pub bias: Option<Tensor<B, 3>>,
}

/// Distribution of the initial weights; biases start at zero.
///
/// The first two are normals truncated at two standard deviations, as the two JAX libraries have
/// them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initializer {
    /// Scale `1 / sqrt(fan_in)` *before* truncation, so that the standard deviation is 12 % less
    /// (dm-haiku's default, and so the reference implementation's).
    TruncatedNormal,
    /// Standard deviation `1 / sqrt(fan_in)` *after* truncation (flax's `lecun_normal`).
    LecunNormal,
    /// Orthonormal rows or columns, whichever are fewer, times a gain (Saxe et al. 2014).
    Orthogonal(f64),
}

/// Standard deviation of a unit normal truncated at +-2.
const TRUNCATED_STD: f64 = 0.879_625_661_034_239_8;

impl Initializer {
    /// Weights `[fan_in, fan_out]`; `key` and `index` select the random numbers.
    fn weights(self, [fan_in, fan_out]: [usize; 2], key: NoiseKey, index: u32) -> Vec<f32> {
        let std = 1.0 / (fan_in as f64).sqrt();
        let scale = match self {
            Self::TruncatedNormal => std,
            Self::LecunNormal => std / TRUNCATED_STD,
            Self::Orthogonal(gain) => return orthogonal([fan_in, fan_out], gain, key, index),
        };
        let mut values = Vec::with_capacity(fan_in * fan_out);
        let mut block = 0;
        while values.len() < fan_in * fan_out {
            // rejection at +-2 keeps 95 % of the draws
            let normals = key.normals(index, block, 0, 0);
            values.extend(
                normals
                    .iter()
                    .filter(|z| z.abs() < 2.0)
                    .map(|z| (f64::from(*z) * scale) as f32),
            );
            block += 1;
        }
        values.truncate(fan_in * fan_out);
        values
    }
}

/// Gram and Schmidt's orthonormal vectors of normals, twice over each for accuracy.
fn orthogonal([rows, columns]: [usize; 2], gain: f64, key: NoiseKey, index: u32) -> Vec<f32> {
    let (count, length) = (rows.min(columns), rows.max(columns));
    let mut normals = vec![0.0; count * length];
    key.fill_normals(&mut normals, length, 0, index, 0);
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    for normals in normals.chunks_exact(length) {
        let mut vector: Vec<f64> = normals.iter().map(|z| f64::from(*z)).collect();
        for _ in 0..2 {
            for other in &basis {
                let along: f64 = vector.iter().zip(other).map(|(v, o)| v * o).sum();
                for (v, o) in vector.iter_mut().zip(other) {
                    *v -= along * o;
                }
            }
        }
        let norm = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        basis.push(vector.into_iter().map(|v| v / norm).collect());
    }
    let at = |row: usize, column: usize| {
        if rows <= columns {
            basis[row][column]
        } else {
            basis[column][row]
        }
    };
    (0..rows * columns)
        .map(|i| (gain * at(i / columns, i % columns)) as f32)
        .collect()
}

impl<B: Backend> Linear<B> {
    /// Layers with random weights, one for each of `keys`, with a bias or without. `index`, together
    /// with a key, selects the random numbers.
    pub fn init(
        [fan_in, fan_out]: [usize; 2],
        bias: bool,
        initializer: Initializer,
        keys: &[NoiseKey],
        index: u32,
        device: &B::Device,
    ) -> Self {
        let members = keys.len();
        let values: Vec<f32> = keys
            .iter()
            .flat_map(|key| initializer.weights([fan_in, fan_out], *key, index))
            .collect();
        let shape = [members, fan_in, fan_out];
        Self {
            weight: Tensor::from_data(TensorData::new(values, shape), device),
            bias: bias.then(|| Tensor::zeros([members, 1, fan_out], device)),
        }
    }

    /// The weights as kernels take them.
    pub fn layer(&self) -> Layer<B> {
        let [members, _, columns] = self.weight.dims();
        let zeros = || Tensor::zeros([members, 1, columns], &self.weight.device());
        Layer {
            weight: self.weight.clone(),
            bias: self.bias.clone().unwrap_or_else(zeros),
        }
    }
}

impl<B: RescoreBackend> Linear<B> {
    /// `x W + b`, then `activation` where there is one: `x` `[members, rows, in]`, or `[1, rows, in]`
    /// where all members have the same input; result `[members, rows, out]`.
    pub fn forward(&self, x: Tensor<B, 3>, activation: Option<Activation>) -> Tensor<B, 3> {
        dense(x, &self.layer(), activation)
    }
}

impl<B: Backend> Tree<B> for Linear<B> {
    type On<C: Backend> = Linear<C>;

    fn map<C: Backend>(
        &self,
        path: &str,
        f: &mut dyn FnMut(Leaf<'_>, &Tensor<B, 3>) -> Tensor<C, 3>,
    ) -> Linear<C> {
        let mut leaf = |name: &str, role, tensor| {
            let name = &format!("{path}{name}");
            f(Leaf { name, role }, tensor)
        };
        Linear {
            weight: leaf("weight", Role::Weight, &self.weight),
            bias: (self.bias.as_ref()).map(|bias| leaf("bias", Role::Bias, bias)),
        }
    }
}
