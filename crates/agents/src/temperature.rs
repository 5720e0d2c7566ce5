//! The temperature and its optimiser.

use burn::tensor::{Tensor, TensorData};
use rescore_kernels::{RescoreBackend, adam::TensorAdam};

use crate::state::{Array, StateDict, StateError};

/// A positive temperature, kept as its logarithm and moved by Adam.
#[derive(Debug, Clone)]
pub struct Temperature<B: RescoreBackend> {
    /// Logarithm of the temperature, `[1]`.
    pub log_value: Tensor<B, 1>,
    /// Optimiser state.
    pub optimizer: TensorAdam<B, 1>,
}

impl<B: RescoreBackend> Temperature<B> {
    /// A temperature of `value` > 0.
    pub fn new(value: f64, device: &B::Device) -> Self {
        let data = TensorData::new(vec![value.ln() as f32], [1]);
        let log_value = Tensor::from_data(data, device);
        let optimizer = TensorAdam::new(&log_value);
        Self {
            log_value,
            optimizer,
        }
    }

    /// The temperature, `[1]`.
    pub fn value(&self) -> Tensor<B, 1> {
        self.log_value.clone().exp()
    }

    /// One step of the log temperature against `gradient` `[1]`.
    pub fn step(&mut self, gradient: &Tensor<B, 1>, learning_rate: f64) {
        self.log_value = self
            .optimizer
            .step(&self.log_value, gradient, learning_rate);
    }

    /// Adds everything to `state`.
    pub(crate) fn save(&self, state: &mut StateDict) {
        state.insert_tensor("temperature.log_value", &self.log_value);
        state.insert_tensor("temperature.optimizer.mu", &self.optimizer.mu);
        state.insert_tensor("temperature.optimizer.nu", &self.optimizer.nu);
        state.insert(
            "temperature.optimizer.count",
            Array::U64(self.optimizer.count),
        );
    }

    /// Takes everything from `state`.
    pub(crate) fn load(state: &StateDict, device: &B::Device) -> Result<Self, StateError> {
        Ok(Self {
            log_value: state.tensor("temperature.log_value", [1], device)?,
            optimizer: TensorAdam {
                count: state.counter("temperature.optimizer.count")?,
                mu: state.tensor("temperature.optimizer.mu", [1], device)?,
                nu: state.tensor("temperature.optimizer.nu", [1], device)?,
            },
        })
    }
}
