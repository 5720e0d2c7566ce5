//! DPMD: diffusion policy mirror descent on modern critics.
//!
//! In every policy step the policy samples several actions for each state; noise is added, the critics
//! score the noisy actions, and the softmax of `Q / lambda` weights them: the mirror descent step
//! `pi exp(Q / lambda)` on the samples at hand. The policy regresses on them with a weighted
//! denoising loss. `lambda` is the temperature at which the weights have a given divergence from
//! equal ones, so that neither the scale of rewards nor the age of the values matters.
//!
//! The weights follow Ma et al. (ICML 2025); the critics are those of SAC here, so that the two
//! algorithms differ in the actor alone. `dpmd-reference` is the algorithm as published.

use rescore_kernels::Combine;
use rescore_objectives::{ascent, particles, rsm};

use crate::{diagnostics, prelude::*};

/// Settings of DPMD.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DpmdSettings {
    /// The particles that are weighted and regressed on.
    pub regression: RegressionSettings,
    /// The policy that they are sampled from.
    pub old_policy: OldPolicySettings,
    /// Critics, policy, acting and the temperature of the weights.
    #[serde(flatten)]
    pub recipe: RecipeSettings,
}

impl DpmdSettings {
    /// For one update an environment step, on a GPU; the defaults are for a quarter of one.
    pub fn full() -> Self {
        let regression = RegressionSettings {
            particles: 32,
            ..RegressionSettings::default()
        };
        Self {
            regression,
            recipe: RecipeSettings::full(),
            ..Self::default()
        }
    }
}

impl Settings for DpmdSettings {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        let check = check
            .table("regression", |check| self.regression.check(check))
            .table("old_policy", |check| self.old_policy.check(check));
        let samples = ("regression.particles", self.regression.particles);
        self.recipe.check(samples, check)
    }

    fn outline(&self) -> Outline {
        self.recipe.outline(self.regression.particles)
    }

    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        Box::new(Dpmd::new(self, setup))
    }
}

/// A DPMD agent.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the types say what the fields are")]
pub struct Dpmd<B: RescoreBackend> {
    pub critics: CriticLearner<B>,
    pub actor: DiffusionActor<B>,
    pub old_policy: OldPolicy<B>,
    pub temperature: WeightTemperature<B>,
    pub target: MovingAverage,
    settings: DpmdSettings,
    streams: Streams,
    updates: u64,
}

impl<B: RescoreBackend> Dpmd<B> {
    /// A fresh agent.
    pub fn new(settings: &DpmdSettings, setup: &Setup<'_, B>) -> Self {
        let (recipe, old) = (&settings.recipe, &settings.old_policy);
        let actor = DiffusionActor::of(recipe, setup);
        let samples = settings.regression.particles;
        Self {
            critics: CriticLearner::new(&recipe.critic, [recipe.gamma, recipe.reward_scale], setup),
            old_policy: OldPolicy::new(old.refresh(setup.pace), &actor),
            actor,
            temperature: WeightTemperature::new(&recipe.temperature, samples, setup),
            target: recipe.target.average(recipe.gamma, setup.pace),
            settings: settings.clone(),
            streams: Streams::new(setup.seed),
            updates: 0,
        }
    }

    /// One update. `draws` has `next/chain` for the next actions; for the policy step `chain` and, a
    /// row for each particle of each state, `particles` and `noise` `[rows, action_dim]` and `times`
    /// `[rows]`.
    pub fn update_with(&mut self, batch: &Batch<B>, draws: &Draws<B>) -> Metrics<B> {
        let (critics, updates) = (&mut self.critics, self.updates);
        let mut metrics = Metrics::default();

        // Critics: TD target at next actions of the policy as it is.
        let (judges, policy) = (critics.judges(), &self.actor.policy);
        let count = self.settings.recipe.acting.bootstrap_particles;
        let next = (self.actor).next_actions(policy, &judges, (batch, count), draws);
        critics.update(batch, next, None, &mut metrics);
        critics.follow(self.target, updates);

        // Policy: particles of the old policy, noisy, weighted by the critics that have just stepped.
        if updates.is_multiple_of(self.settings.recipe.policy_every) {
            let (settings, actor) = (&self.settings.regression, &mut self.actor);
            let states = batch.first_observations(self.settings.recipe.states);
            let ([rows, _], count) = (states.dims(), settings.particles);
            let chain = draws.chain("chain", &actor.sampler);
            let old = self.old_policy.policy(actor);
            let particles = actor.sample(old, states.clone(), count, &chain);
            let [_, _, dim] = particles.dims();
            let noise = draws.normals("particles", [rows * count, dim]);
            let noise = noise.reshape([rows, count, dim]);
            let sizes = (settings.noise, settings.spread);
            let mut particles = particles::add_noise(particles, noise, sizes);
            if settings.ascent > 0.0 {
                let step = (Combine::Mean, settings.ascent);
                particles = ascent::climb(&critics.online, states.clone(), particles, step);
            }
            let scores = (critics.online).score(Combine::Mean, states.clone(), particles.clone());
            let weights = self.temperature.weights(settings.weights, scores.clone());
            let rows = rsm::DenoisingRows::of_particles(
                states,
                particles.clone(),
                draws.integers("times", rows * count, actor.schedule.num_steps()),
                draws
                    .normals("noise", [rows * count, dim])
                    .reshape([rows, count, dim]),
                weights.mean_one(),
            );
            let loss = actor.learn(|policy, schedule| {
                rsm::clipped_denoising_loss(policy, schedule, rows, settings.loss_clip)
            });
            metrics.push("policy_loss", loss);
            metrics.push("temperature", self.temperature.temperature.value());
            diagnostics::particles(&mut metrics, particles, scores, &weights);
            if let Some(gradient) = self.temperature.step(weights.kl) {
                metrics.record("temperature_gradient", gradient);
            }
        }
        self.old_policy.follow(&self.actor, updates);
        self.updates += 1;
        metrics
    }
}

impl<B: RescoreBackend> Agent<B> for Dpmd<B> {
    parts!(critics, actor, old_policy, temperature, updates => diffusion(actor, critics, streams));

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
