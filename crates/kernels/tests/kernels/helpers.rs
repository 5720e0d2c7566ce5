//! Random tensors, their values, and comparisons with f64.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use rescore_kernels::{Activation, NoiseKey};

/// All activations.
pub const ACTIVATIONS: [Activation; 4] = [
    Activation::Mish,
    Activation::Gelu,
    Activation::Relu,
    Activation::Tanh,
];

/// Runs each generic function as a test on both backends.
macro_rules! on_both_backends {
    ($($name:ident),* $(,)?) => {
        mod flex {
            $(#[test]
            fn $name() {
                super::$name::<burn::backend::Flex>();
            })*
        }
        mod ndarray {
            $(#[test]
            fn $name() {
                super::$name::<burn::backend::NdArray>();
            })*
        }
    };
}
pub(crate) use on_both_backends;

/// `count` normals times `scale`, a function of `name` alone.
pub fn normals(name: &str, count: usize, scale: f32) -> Vec<f32> {
    let mut values = vec![0.0; count];
    NoiseKey::new(0, name).fill_normals(&mut values, count.max(1), 0, 0, 0);
    for value in &mut values {
        *value *= scale;
    }
    values
}

pub fn tensor<B: Backend, const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values, shape), &B::Device::default())
}

pub fn to_vec<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Requires `|a - b| <= tolerance * max(1, |b|)` of every pair; NaN never passes.
#[track_caller]
pub fn assert_close(actual: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: number of values");
    for (i, (a, b)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(*a) - b).abs() / b.abs().max(1.0);
        assert!(error <= tolerance, "{what}: value {i} is {a}, not {b}");
    }
}
