//! Sums of whole tensors.

use burn::tensor::{Tensor, backend::Backend};

/// The sum of all elements of `x`, `[1]`, added in an order that the shape alone decides.
///
/// Burn's own `Tensor::sum` adds the parts of a large tensor on a GPU in the order in which they are
/// ready, so that two runs of the same seed differ in the last bits.
pub fn total<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, 1> {
    let count = x.shape().num_elements();
    x.reshape([count]).sum_dim(0)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Flex, flex::FlexDevice};

    use super::*;

    #[test]
    fn a_total_is_the_sum_of_all_elements() {
        let x = Tensor::<Flex, 2>::from_data([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &FlexDevice);
        let total: f32 = total(x).into_scalar();
        assert!((total - 21.0).abs() < 1e-6, "{total}");
    }
}
