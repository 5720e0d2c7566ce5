//! SDAC: soft diffusion actor-critic on modern critics.
//!
//! The maximum-entropy counterpart of DPMD. A noisy action `x_t` is made of an action of the replay
//! buffer; clean actions that it may have come from are drawn from the reverse kernel, restricted to
//! the action bounds, and weighted by the softmax of `Q / lambda`; the policy learns to predict the
//! mean noise that leads to them.
//!
//! Source: Ma et al. (ICML 2025). Here the reverse kernel is truncated, not clipped, so that noise
//! and clean action belong together at the bounds, and `lambda` is the temperature at which the
//! weights have a given divergence from equal ones. `sdac-reference` is the algorithm as published.

use rescore_kernels::{Combine, unflatten_particles};
use rescore_objectives::particles::WeightRule;
use rescore_objectives::{reverse, rsm};

use crate::{diagnostics, prelude::*};

/// Settings of SDAC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SdacSettings {
    /// Samples of the reverse kernel for each noisy action.
    pub reverse_samples: usize,
    /// Critics, policy, acting and the temperature of the weights.
    #[serde(flatten)]
    pub recipe: RecipeSettings,
}

impl Default for SdacSettings {
    /// For a quarter of an update an environment step, on a processor.
    fn default() -> Self {
        Self {
            reverse_samples: 16,
            recipe: RecipeSettings::small().with_kl_share(0.36),
        }
    }
}

impl SdacSettings {
    /// For one update an environment step, on a GPU.
    pub fn full() -> Self {
        let mut recipe = RecipeSettings::full().with_kl_share(0.36);
        recipe.states = 256;
        Self {
            reverse_samples: 64,
            recipe,
        }
    }
}

impl Settings for SdacSettings {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        let check = check.samples("reverse_samples", self.reverse_samples);
        let samples = ("reverse_samples", self.reverse_samples);
        self.recipe.check(samples, check)
    }

    fn outline(&self) -> Outline {
        self.recipe.outline(self.reverse_samples)
    }

    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        Box::new(Sdac::new(self, setup))
    }
}

/// An SDAC agent.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the types say what the fields are")]
pub struct Sdac<B: RescoreBackend> {
    pub critics: CriticLearner<B>,
    pub actor: DiffusionActor<B>,
    pub temperature: WeightTemperature<B>,
    pub target: MovingAverage,
    settings: SdacSettings,
    streams: Streams,
    updates: u64,
}

impl<B: RescoreBackend> Sdac<B> {
    /// A fresh agent.
    pub fn new(settings: &SdacSettings, setup: &Setup<'_, B>) -> Self {
        let (recipe, samples) = (&settings.recipe, settings.reverse_samples);
        Self {
            critics: CriticLearner::new(&recipe.critic, [recipe.gamma, recipe.reward_scale], setup),
            actor: DiffusionActor::of(recipe, setup),
            temperature: WeightTemperature::new(&recipe.temperature, samples, setup),
            target: recipe.target.average(recipe.gamma, setup.pace),
            settings: settings.clone(),
            streams: Streams::new(setup.seed),
            updates: 0,
        }
    }

    /// One update. `draws` has `next/chain` for the next actions; for the policy step, of `states`
    /// rows, `times` `[states]`, `forward` `[states, action_dim]` and the uniform `reverse` `[states *
    /// reverse_samples, action_dim]`.
    pub fn update_with(&mut self, batch: &Batch<B>, draws: &Draws<B>) -> Metrics<B> {
        let (settings, updates) = (&self.settings, self.updates);
        let (critics, actor) = (&mut self.critics, &mut self.actor);
        let mut metrics = Metrics::default();

        // Critics: TD target at next actions of the policy as it is.
        let count = settings.recipe.acting.bootstrap_particles;
        let next = actor.next_actions(&actor.policy, &critics.judges(), (batch, count), draws);
        critics.update(batch, next, None, &mut metrics);
        critics.follow(self.target, updates);

        // Policy: clean actions behind a noisy one, weighted by the critics that have just stepped.
        if updates.is_multiple_of(settings.recipe.policy_every) {
            let states = batch.first_observations(settings.recipe.states);
            let actions = batch.first_actions(settings.recipe.states).clamp(-1.0, 1.0);
            let ([rows, dim], count) = (actions.dims(), settings.reverse_samples);
            let times = draws.integers("times", rows, actor.schedule.num_steps());
            let forward = draws.normals("forward", [rows, dim]);
            let noisy = (actor.schedule).add_noise(actions.clone(), times.clone(), forward.clone());
            let ratio = actor.schedule.signal_to_noise(times.clone());
            let uniforms =
                unflatten_particles(draws.uniforms("reverse", [rows * count, dim]), rows);
            let reverse = reverse::truncated_reverse_samples(actions, forward, ratio, uniforms);
            let clean = reverse.clean.clone();
            let scores = (critics.online).score(Combine::Mean, states.clone(), clean.clone());
            let weights = (self.temperature).weights(WeightRule::Softmax, scores.clone());
            let noise = rsm::mean_noise(reverse.noise.clone(), weights.probabilities.clone());
            metrics.record("noisy_actions", noisy.clone());
            metrics.record("target_noise", noise.clone());
            let rows = rsm::NoiseRows {
                observations: states,
                noisy,
                times,
                noise,
            };
            let loss =
                actor.learn(|policy, schedule| rsm::noise_regression_loss(policy, schedule, rows));
            metrics.push("policy_loss", loss);
            metrics.push("temperature", self.temperature.temperature.value());
            diagnostics::particles(&mut metrics, clean, scores, &weights);
            metrics.record("reverse_noise", reverse.noise);
            if let Some(gradient) = self.temperature.step(weights.kl) {
                metrics.record("temperature_gradient", gradient);
            }
        }
        self.updates += 1;
        metrics
    }
}

impl<B: RescoreBackend> Agent<B> for Sdac<B> {
    parts!(critics, actor, temperature, updates => diffusion(actor, critics, streams));

    fn act(&self, observations: Tensor<B, 2>, counter: u32) -> Tensor<B, 2> {
        let draws = &Draws::acting(self.streams, counter, &observations.device());
        (self.actor).explore(
            &self.critics,
            observations,
            self.settings.recipe.acting.noise,
            draws,
        )
    }

    fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        self.actor
            .evaluate(&self.critics, observations, self.streams)
    }

    fn update(&mut self, batch: &Batch<B>) -> Metrics<B> {
        let draws = Draws::updating(self.streams, self.updates, &batch.rewards.device());
        self.update_with(batch, &draws)
    }
}
