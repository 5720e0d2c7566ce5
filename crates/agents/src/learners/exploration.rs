//! The choice among particles, and the noise that explores.

use burn::tensor::Tensor;
use rescore_kernels::{RescoreBackend, formula::Formula};
use rescore_nn::{StateDict, StateError};
use rescore_objectives::entropy;

use super::{CriticLearner, Temperature};
use crate::{
    Draws, Setup, Stateful,
    settings::{ExplorationSettings, TemperatureSettings},
};

/// Additive noise of standard deviation `noise_scale * temperature`; the temperature regulates the
/// noise's entropy.
#[derive(Debug, Clone)]
pub struct Exploration<B: RescoreBackend> {
    /// Temperature (lambda).
    pub temperature: Temperature<B>,
    settings: ExplorationSettings,
    temperature_settings: TemperatureSettings,
    action_dim: usize,
}

impl<B: RescoreBackend> Exploration<B> {
    /// The initial temperature.
    pub fn new(
        settings: &ExplorationSettings,
        temperature: &TemperatureSettings,
        setup: &Setup<'_, B>,
    ) -> Self {
        Self {
            action_dim: setup.dims[1],
            temperature: Temperature::new(temperature, setup.device),
            settings: settings.clone(),
            temperature_settings: temperature.clone(),
        }
    }

    /// One action an observation, `[states, action_dim]`, from `particles` `[states, particles,
    /// action_dim]`: the one that `critics` value most, with noise; the sum is not clipped. Its unit
    /// normals are the draw called `name`.
    pub fn choose(
        &self,
        critics: &CriticLearner<B>,
        observations: Tensor<B, 2>,
        particles: Tensor<B, 3>,
        (draws, name): (&Draws<B>, &str),
    ) -> Tensor<B, 2> {
        let [states, _, dim] = particles.dims();
        let temperature = Formula::row(self.temperature.log_value.clone()).exp();
        let noise = Formula::from(draws.normals(name, [states, dim]));
        let best = Formula::from(critics.best(observations, particles));
        (best + noise * (temperature * self.settings.noise_scale)).compute()
    }

    /// Moves the temperature: down while the entropy of the noise, which depends on no data, is above
    /// its target.
    pub fn step_temperature(&mut self) {
        let action_dim = self.action_dim;
        let settings = &self.temperature_settings;
        let entropy = entropy::exploration_entropy(
            self.temperature.log_value.clone(),
            self.settings.entropy_noise_scale,
            action_dim,
        );
        let target = -settings.target_entropy_scale * action_dim as f64;
        let gradient = entropy::temperature_gradient(entropy, target);
        self.temperature.step(&gradient);
    }
}

impl<B: RescoreBackend> Stateful<B> for Exploration<B> {
    fn save(&self, state: &mut StateDict) {
        self.temperature.save(state);
    }

    fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        self.temperature.load(state)
    }
}
