//! A policy that is a diffusion in continuous time (Song et al. 2021), learned online from the best of
//! several of its samples: what mirror descent becomes with all weight on one particle.
//!
//! The combination with reinforcement learning is this project's; no public one was found.

use burn::tensor::Tensor as Of;
use rescore_diffusion::VariancePreserving;
use rescore_kernels::unflatten_particles;
use rescore_objectives::rsm;

use crate::prelude::*;

/// Settings of the Score-SDE policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScoreSdeSettings {
    /// Discount, in [0, 1].
    pub gamma: f64,
    /// Rewards are multiplied by this before they are learned from.
    pub reward_scale: f64,
    /// Candidate actions of which the critics choose one, in updates, in training and in evaluation.
    pub samples: usize,
    /// Standard deviation of the noise on candidates in updates and in training, which are clipped to
    /// [-1, 1]: what is scored is what is used.
    pub candidate_noise: f64,
    /// The critics.
    pub critic: CriticSettings,
    /// How the targets and the moving average of the policy, which acts, follow.
    pub target: TargetSettings,
    /// The network of the policy and how it learns.
    pub actor: ActorSettings,
    /// The diffusion and how it is sampled.
    pub sde: SdeSettings,
}

impl Default for ScoreSdeSettings {
    fn default() -> Self {
        let network = NetworkSettings::mlp(ActivationKind::Mish, InitializerKind::TruncatedNormal);
        Self {
            gamma: 0.99,
            reward_scale: 0.2,
            samples: 32,
            candidate_noise: 0.2,
            critic: CriticSettings::default(),
            target: TargetSettings::default(),
            actor: ActorSettings {
                network,
                ..ActorSettings::default()
            },
            sde: SdeSettings::default(),
        }
    }
}

impl Settings for ScoreSdeSettings {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        check
            .fraction("gamma", self.gamma)
            .positive("reward_scale", self.reward_scale)
            .samples("samples", self.samples)
            .non_negative("candidate_noise", self.candidate_noise)
            .table("critic", |check| self.critic.check(check))
            .table("target", |check| self.target.check(self.gamma, check))
            .table("actor", |check| self.actor.check(check))
            .table("sde", |check| self.sde.check(check))
    }

    fn outline(&self) -> Outline {
        let sizes = Sizes {
            critics: self.critic.members,
            critic_widths: self.critic.network.widths(),
            policy: PolicyKind::Denoiser,
            policy_widths: self.actor.network.widths(),
            samples: self.samples,
            act_samples: self.samples,
            precision: self.sde.precision.into(),
            fused: self.actor.network.is_fused(),
        };
        Outline::new(self.gamma, sizes)
    }

    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        Box::new(ScoreSde::new(self, setup))
    }
}

/// A Score-SDE agent.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the types say what the fields are")]
pub struct ScoreSde<B: RescoreBackend> {
    pub critics: CriticLearner<B>,
    pub actor: DiffusionActor<B, VariancePreserving>,
    pub target: MovingAverage,
    settings: ScoreSdeSettings,
    streams: Streams,
    updates: u64,
}

impl<B: RescoreBackend> ScoreSde<B> {
    /// A fresh agent.
    pub fn new(settings: &ScoreSdeSettings, setup: &Setup<'_, B>) -> Self {
        let td = [settings.gamma, settings.reward_scale];
        let particles = [settings.samples; 2];
        let actor = DiffusionActor::of_sde(&settings.actor, &settings.sde, particles, setup);
        Self {
            critics: CriticLearner::new(&settings.critic, td, setup),
            actor: actor.averaged(),
            target: settings.target.average(settings.gamma, setup.pace),
            settings: settings.clone(),
            streams: Streams::new(setup.seed),
            updates: 0,
        }
    }

    /// Of `candidates` `[states, samples, action_dim]`, with noise from the draw `name` and clipped, the
    /// one that the trained critics value most; `seen` takes candidates, scores and choice.
    fn choose(
        &self,
        observations: Tensor<B, 2>,
        candidates: Tensor<B, 3>,
        (draws, name): (&Draws<B>, &str),
        seen: &mut Metrics<B>,
    ) -> Tensor<B, 2> {
        let [states, count, dim] = candidates.dims();
        let noise = unflatten_particles(draws.normals(name, [states * count, dim]), states);
        let noise = noise.mul_scalar(self.settings.candidate_noise);
        let candidates = (candidates + noise).clamp(-1.0, 1.0);
        let scores = self.critics.score(observations, candidates.clone());
        seen.record("candidates", candidates.clone());
        let best = B::best(candidates, scores);
        seen.record("candidate_q", best.scores);
        seen.record("best_index", best.indices.float());
        best.actions
    }

    /// One update. `draws` has `next/chain` and unit normals `next/candidates` `[batch * samples,
    /// action_dim]` for the next actions; for the policy step `times` `[batch, 1]`, uniform between the
    /// end of time and 1, and unit normals `noise` `[batch, action_dim]`.
    pub fn update_with(&mut self, batch: &Batch<B>, draws: &Draws<B>) -> Metrics<B> {
        let mut metrics = Metrics::default();

        // Next actions: the best of several noisy samples of the policy as it is.
        let (states, count) = (batch.next_observations.clone(), self.settings.samples);
        let chain = draws.chain("next/chain", &self.actor.sampler);
        let candidates = (self.actor).sample(&self.actor.policy, states.clone(), count, &chain);
        let named = (draws, "next/candidates");
        let next = self.choose(states.clone(), candidates, named, &mut metrics);

        // Critics: TD target at these actions.
        let (critics, actor) = (&mut self.critics, &mut self.actor);
        critics.update(batch, next.clone(), None, &mut metrics);

        // Policy: ordinary denoising score matching of the same actions, at the next states.
        let (schedule, [rows, dim]) = (actor.schedule, next.dims());
        let times = draws.uniforms_between("times", [rows, 1], [schedule.end, 1.0]);
        let times: Of<B, 1> = times.squeeze_dim(1);
        let noise = draws.normals("noise", [rows, dim]);
        let noisy = schedule.add_noise(next, &times, noise.clone());
        metrics.record("noisy_action", noisy.clone());
        let [states, noisy] = [states, noisy].map(Tensor::from_inner);
        let told = Of::from_inner(times.mul_scalar(schedule.time_scale));
        let loss = actor.learn(|policy, _| {
            rsm::regression_loss(policy.forward_at(states, noisy, &told), noise)
        });
        metrics.push("policy_loss", loss);

        critics.follow(self.target, self.updates);
        actor.follow(self.target, self.updates);
        self.updates += 1;
        metrics
    }

    /// The action of training: the best of noisy samples of the average. `draws` has `chain` and unit
    /// normals `candidates` `[states * samples, action_dim]`; `seen` takes what it is chosen by.
    pub fn act_with(
        &self,
        observations: Tensor<B, 2>,
        draws: &Draws<B>,
        seen: &mut Metrics<B>,
    ) -> Tensor<B, 2> {
        let candidates = self.actor.particles_to_act(observations.clone(), draws);
        self.choose(observations, candidates, (draws, "candidates"), seen)
    }
}

impl<B: RescoreBackend> Agent<B> for ScoreSde<B> {
    parts!(critics, actor, updates => diffusion(actor, critics, streams));

    fn act(&self, observations: Tensor<B, 2>, counter: u32) -> Tensor<B, 2> {
        let draws = Draws::acting(self.streams, counter, &observations.device());
        self.act_with(observations, &draws, &mut Metrics::default())
    }

    fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        (self.actor).evaluate(&self.critics, observations, self.streams)
    }

    fn update(&mut self, batch: &Batch<B>) -> Metrics<B> {
        let draws = Draws::updating(self.streams, self.updates, &batch.rewards.device());
        self.update_with(batch, &draws)
    }
}
