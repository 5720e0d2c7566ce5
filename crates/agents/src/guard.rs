//! Whether what was learned is still finite.

use burn::tensor::{Tensor, backend::Backend};
use rescore_kernels::Parameters;

/// Sum of all parameters of `network`, `[1]`: not finite if one of them is not. One pass over the
/// parameters, on their device.
pub(crate) fn parameter_sum<B: Backend, N: Parameters<B>>(network: &N) -> Tensor<B, 1> {
    network
        .layers()
        .into_iter()
        .map(|(_, layer)| layer.weight.clone().sum() + layer.bias.clone().sum())
        .reduce(|sum, layer| sum + layer)
        // Configurations ask for at least one hidden layer.
        .expect("a network has layers")
}
