//! Products of matrices in `f32` throughout.
//!
//! Burn's own product rounds its factors to the ten bits of TF32 on NVIDIA's tensor cores, also for
//! tensors that are `f32`; here training is `f32`. It is the same library's product, by the routine
//! that multiplies without tensor cores.

use burn::tensor::{DType, Shape, TensorMetadata as _};
use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubek_matmul::{
    definition::{MatmulElems, MatmulGlobalElems},
    launch::{launch_naive, launch_tiling},
    routines::{BlueprintStrategy, simple_unit::SimpleUnitAlgorithm},
};
use cubek_std::InputBinding;

use super::empty;

/// `[.., rows, inner]` times `[.., inner, columns]`, with one leading axis or none.
pub(super) fn product<R: CubeRuntime>(a: CubeTensor<R>, b: CubeTensor<R>) -> CubeTensor<R> {
    let mut shape = a.shape().to_vec();
    let other = b.shape().to_vec();
    let last = shape.len() - 1;
    shape[last] = other[last];
    if last == 2 {
        shape[0] = shape[0].max(other[0]);
    }
    let client = a.client.clone();
    let output = empty(&client, &a.device, Shape::from(shape));
    let dtype = DType::F32.into();
    let dtypes = || {
        MatmulElems::from_globals(&MatmulGlobalElems {
            lhs: dtype,
            rhs: dtype,
            out: dtype,
        })
    };
    let input = |x: &CubeTensor<R>| InputBinding::new(x.clone().binding(), dtype);
    let tiled = launch_tiling::launch_ref::<R, SimpleUnitAlgorithm>(
        &client,
        input(&a),
        input(&b),
        output.clone().binding(),
        &BlueprintStrategy::default(),
        &mut dtypes(),
    );
    if tiled.is_err() {
        // Sizes or a device that the tiles do not fit.
        let (a, b) = (into_contiguous(a), into_contiguous(b));
        let naive = launch_naive::launch_ref(
            &client,
            input(&a),
            input(&b),
            output.clone().binding(),
            &dtypes(),
        );
        // It takes every size on every device.
        debug_assert!(naive.is_ok());
    }
    output
}
