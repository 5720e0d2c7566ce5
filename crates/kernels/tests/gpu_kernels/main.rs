//! The kernels for GPUs against the default bodies on the same device and against the processor.
//!
//! No gradients here: the fixtures have them.
#![cfg(any(feature = "cuda", feature = "wgpu"))]

mod sampling;
mod training;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use rescore_kernels::{Layer, NoiseKey};

use sampling::{
    a_bad_observation_spoils_its_own_state,
    a_network_too_wide_for_the_kernel_is_sampled_all_the_same,
    a_very_long_chain_is_sampled_to_its_end, bf16_is_near_f32, normals_are_those_of_the_processor,
    scores_that_are_no_numbers_show, the_best_particles_are_chosen,
    the_chain_agrees_with_its_default_body, the_head_of_a_batch_is_the_batch_of_the_head,
};
use training::{
    a_total_is_the_same_every_time, elementwise_operations_agree_with_the_processor,
    formulas_are_those_of_the_processor, joined_columns_are_those_of_the_processor,
    products_are_those_of_the_processor, rows_are_those_of_the_processor,
    stacks_are_trained_as_on_the_processor, weights_are_those_of_the_processor,
};

/// `count` normals times `scale`, a function of `name` alone.
fn normals(name: &str, count: usize, scale: f32) -> Vec<f32> {
    let mut values = vec![0.0; count];
    NoiseKey::new(0, name).fill_normals(&mut values, count.max(1), 0, 0, 0);
    values.iter().map(|value| value * scale).collect()
}

fn tensor<B: Backend, const D: usize>(name: &str, shape: [usize; D], scale: f32) -> Tensor<B, D> {
    let values = normals(name, shape.iter().product(), scale);
    Tensor::from_data(TensorData::new(values, shape), &B::Device::default())
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Requires `|a - b| <= tolerance * max(1, |b|)` of every pair; NaN never passes.
#[track_caller]
fn assert_close(actual: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: number of values");
    for (i, (a, b)) in actual.iter().zip(expected).enumerate() {
        let error = (a - b).abs() / b.abs().max(1.0);
        assert!(error <= tolerance, "{what}: value {i} is {a}, not {b}");
    }
}

/// A layer of `members` networks.
fn layer<B: Backend>(name: &str, [members, depth, columns]: [usize; 3]) -> Layer<B> {
    let scale = 1.0 / (depth as f32).sqrt();
    Layer {
        weight: tensor(&format!("{name} weight"), [members, depth, columns], scale),
        bias: tensor(&format!("{name} bias"), [members, 1, columns], 0.3),
    }
}

/// Each function as a test on the GPU backends of the build.
macro_rules! on_gpu {
    ($($name:ident),* $(,)?) => {
        #[cfg(feature = "wgpu")]
        mod wgpu {
            $(#[test]
            #[ignore = "needs a graphics driver: cargo xtask test --backend wgpu"]
            fn $name() {
                super::$name::<burn::backend::Wgpu>();
            })*
        }
        #[cfg(feature = "cuda")]
        mod cuda {
            $(#[test]
            #[ignore = "needs an NVIDIA GPU: cargo xtask test --backend cuda"]
            fn $name() {
                super::$name::<burn::backend::Cuda>();
            })*
        }
    };
}
on_gpu!(
    normals_are_those_of_the_processor,
    the_chain_agrees_with_its_default_body,
    the_head_of_a_batch_is_the_batch_of_the_head,
    a_bad_observation_spoils_its_own_state,
    a_network_too_wide_for_the_kernel_is_sampled_all_the_same,
    the_best_particles_are_chosen,
    scores_that_are_no_numbers_show,
    a_very_long_chain_is_sampled_to_its_end,
    elementwise_operations_agree_with_the_processor,
    a_total_is_the_same_every_time,
    bf16_is_near_f32,
    stacks_are_trained_as_on_the_processor,
    products_are_those_of_the_processor,
    formulas_are_those_of_the_processor,
    joined_columns_are_those_of_the_processor,
    weights_are_those_of_the_processor,
    rows_are_those_of_the_processor,
);
