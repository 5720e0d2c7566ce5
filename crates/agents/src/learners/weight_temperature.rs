//! The temperature of the weights of particles.

use burn::tensor::Tensor;
use rescore_kernels::RescoreBackend;
use rescore_nn::{StateDict, StateError};
use rescore_objectives::particles::{
    ParticleWeights, TEMPERATURE_FLOOR, WeightRule, kl_temperature_gradient,
};
use rescore_objectives::temperature::log_temperature;

use super::Temperature;
use crate::settings::{TemperatureSettings, WeightTemperatureSettings};
use crate::{Setup, Stateful};

/// The temperature of the weights of particles (lambda), and what moves it.
#[derive(Debug, Clone)]
pub struct WeightTemperature<B: RescoreBackend> {
    /// The temperature: of the run, or of the last policy step where it is solved for.
    pub temperature: Temperature<B>,
    rule: Rule,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Fixed,
    /// Towards this divergence.
    Stepped(f64),
    /// For this divergence.
    Solved(f64),
}

impl<B: RescoreBackend> WeightTemperature<B> {
    /// For weights of `samples` samples a state.
    pub fn new(settings: &WeightTemperatureSettings, samples: usize, setup: &Setup<'_, B>) -> Self {
        let target = |share: f64| share * (samples as f64).ln();
        let (initial, learning_rate, rule) = match *settings {
            WeightTemperatureSettings::Fixed { value } => (value, 0.0, Rule::Fixed),
            WeightTemperatureSettings::Stepped {
                initial,
                learning_rate,
                kl_share,
            } => (initial, learning_rate, Rule::Stepped(target(kl_share))),
            WeightTemperatureSettings::Solved { kl_share } => {
                (1.0, 0.0, Rule::Solved(target(kl_share)))
            }
        };
        let settings = TemperatureSettings {
            initial,
            learning_rate,
            ..TemperatureSettings::default()
        };
        Self {
            temperature: Temperature::new(&settings, setup.device),
            rule,
        }
    }

    /// Weights of `scores` `[states, samples]`, at the temperature that is solved for where that is
    /// the rule.
    pub fn weights(&mut self, how: WeightRule, scores: Tensor<B, 2>) -> ParticleWeights<B> {
        if let Rule::Solved(target) = self.rule {
            self.temperature.log_value = log_temperature(how, scores.clone(), target);
        }
        how.weights(scores, self.temperature.value())
    }

    /// One step towards the target of the divergences `kl` `[states]`, where that is the rule; its
    /// gradient, `[1]`.
    pub fn step(&mut self, kl: Tensor<B, 1>) -> Option<Tensor<B, 1>> {
        let Rule::Stepped(target) = self.rule else {
            return None;
        };
        let gradient = kl_temperature_gradient(kl, target);
        self.temperature.step(&gradient);
        let stepped = self.temperature.log_value.clone();
        self.temperature.log_value = stepped.clamp_min(TEMPERATURE_FLOOR.ln());
        Some(gradient)
    }
}

impl<B: RescoreBackend> Stateful<B> for WeightTemperature<B> {
    fn save(&self, state: &mut StateDict) {
        self.temperature.save(state);
    }

    fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        self.temperature.load(state)
    }
}
