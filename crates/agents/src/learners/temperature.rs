//! The temperature and its optimiser.

use burn::tensor::{Tensor, TensorData};
use rescore_kernels::RescoreBackend;
use rescore_nn::{AdamSettings, StateDict, StateError, TensorAdam};

use crate::Stateful;
use crate::settings::TemperatureSettings;

/// A positive temperature, kept as its logarithm and moved by Adam.
#[derive(Debug, Clone)]
pub struct Temperature<B: RescoreBackend> {
    /// Logarithm of the temperature, `[1]`.
    pub log_value: Tensor<B, 1>,
    /// Optimiser state.
    pub optimizer: TensorAdam<B, 1>,
    learning_rate: f64,
}

impl<B: RescoreBackend> Temperature<B> {
    /// The initial temperature of `settings`.
    pub fn new(settings: &TemperatureSettings, device: &B::Device) -> Self {
        let data = TensorData::new(vec![settings.initial.ln() as f32], [1]);
        let log_value = Tensor::from_data(data, device);
        Self {
            optimizer: TensorAdam::new(&log_value, AdamSettings::default()),
            log_value,
            learning_rate: settings.learning_rate,
        }
    }

    /// The temperature, `[1]`.
    pub fn value(&self) -> Tensor<B, 1> {
        self.log_value.clone().exp()
    }

    /// One step of the log temperature against `gradient` `[1]`.
    pub fn step(&mut self, gradient: &Tensor<B, 1>) {
        self.optimizer
            .step(&mut self.log_value, gradient, self.learning_rate);
    }
}

impl<B: RescoreBackend> Stateful<B> for Temperature<B> {
    fn save(&self, state: &mut StateDict) {
        state.insert_tensor("temperature.log_value", &self.log_value);
        state.insert_tensor_adam("temperature.optimizer", &self.optimizer);
    }

    fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        let device = self.log_value.device();
        self.log_value = state.tensor("temperature.log_value", [1], &device)?;
        self.optimizer = state.tensor_adam("temperature.optimizer", &self.optimizer)?;
        Ok(())
    }
}
