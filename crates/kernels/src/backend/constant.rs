//! Tensors of numbers of the host, and of constants, which go to a device once.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;

use burn::tensor::{Tensor, TensorData, backend::Backend};

/// Constants of a thread, beyond which it begins anew: an algorithm has a dozen.
const MOST: usize = 256;

/// Backend, device, shape, and the bits of the values.
type Key = (TypeId, String, Vec<usize>, Vec<u32>);

thread_local! {
    static CONSTANTS: RefCell<HashMap<Key, Box<dyn Any>>> = RefCell::default();
}

/// A tensor of these values on `device`, row by row without gaps.
///
/// CUDA pads the rows of what is sent as a matrix, and every kernel that reads one without gaps would
/// copy it first.
///
/// # Panics
/// If there are not as many values as `shape` has places.
pub fn upload<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    let count = values.len();
    Tensor::<B, 1>::from_data(TensorData::new(values, [count]), device).reshape(shape)
}

/// A tensor of these values, which every update needs: sent to `device` by the first of them and found
/// again by the next.
///
/// # Panics
/// If there are not as many values as `shape` has places.
pub fn constant<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    let bits = values.iter().map(|value| value.to_bits()).collect();
    let key = (
        TypeId::of::<B>(),
        format!("{device:?}"),
        shape.to_vec(),
        bits,
    );
    CONSTANTS.with_borrow_mut(|constants| {
        let found = constants
            .get(&key)
            .and_then(|kept| kept.downcast_ref::<Tensor<B, D>>());
        if let Some(found) = found {
            return found.clone();
        }
        let tensor = upload(values, shape, device);
        if constants.len() >= MOST {
            constants.clear();
        }
        constants.insert(key, Box::new(tensor.clone()));
        tensor
    })
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Flex, flex::FlexDevice};

    use super::*;

    #[test]
    fn a_constant_is_its_values_whatever_was_asked_for_before() {
        let of = |values: Vec<f32>, shape| -> Vec<f32> {
            let tensor = constant::<Flex, 2>(values, shape, &FlexDevice);
            assert_eq!(tensor.dims(), shape);
            (tensor * 2.0).into_data().iter().collect()
        };
        for _ in 0..2 {
            assert_eq!(of(vec![1.0, 2.0], [1, 2]), [2.0, 4.0]);
            assert_eq!(of(vec![1.0, 2.0], [2, 1]), [2.0, 4.0]);
            assert_eq!(of(vec![1.0, 3.0], [1, 2]), [2.0, 6.0]);
        }
        for i in 0..2 * MOST {
            assert_eq!(of(vec![i as f32], [1, 1]), [2.0 * i as f32]);
        }
    }
}
