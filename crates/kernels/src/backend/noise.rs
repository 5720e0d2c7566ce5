//! Random tensors: the numbers of `rescore-noise`, drawn on the processor or by a backend's kernel.

use burn::tensor::{Int, Tensor, TensorData, TensorPrimitive, backend::Backend};
use rayon::prelude::*;

use crate::RescoreBackend;

pub use rescore_noise::{NoiseKey, hash};

/// A stream at one counter: what an update or an act draws its tensors from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noise {
    /// Key of the stream.
    pub key: NoiseKey,
    /// Update or act counter.
    pub counter: u32,
}

impl Noise {
    /// Standard normals `[rows, columns]`.
    pub fn normal<B: RescoreBackend>(self, shape: [usize; 2], device: &B::Device) -> Tensor<B, 2> {
        Tensor::from_primitive(TensorPrimitive::Float(B::normal(self, shape, device)))
    }

    /// The default body of [`RescoreBackend::normal`]: drawn on the processor.
    pub(crate) fn normal_on_host(self, [rows, columns]: [usize; 2]) -> TensorData {
        let mut values = vec![0.0; rows * columns];
        // Rows are independent, so any partition gives the same numbers.
        let rows_per_task = 256;
        values
            .par_chunks_mut(rows_per_task * columns)
            .enumerate()
            .for_each(|(task, chunk)| {
                let first_row = (task * rows_per_task) as u32;
                self.key
                    .fill_normals(chunk, columns, first_row, 0, self.counter);
            });
        TensorData::new(values, [rows, columns])
    }

    /// Integers in `0..bound`, `[rows]`; for denoising steps.
    pub fn integers<B: Backend>(
        self,
        rows: usize,
        bound: usize,
        device: &B::Device,
    ) -> Tensor<B, 1, Int> {
        let values: Vec<i32> = (0..rows)
            .map(|row| self.key.index(row as u32, self.counter, bound as u64) as i32)
            .collect();
        Tensor::from_data(TensorData::new(values, [rows]), device)
    }
}
