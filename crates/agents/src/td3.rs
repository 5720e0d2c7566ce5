//! TD3: twin delayed deep deterministic policy gradient (Fujimoto et al. 2018), the deterministic
//! baseline.

use rescore_kernels::Precision;

use crate::prelude::*;

/// Settings of TD3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Td3Settings {
    /// Discount, in [0, 1].
    pub gamma: f64,
    /// Rewards are multiplied by this before they are learned from.
    pub reward_scale: f64,
    /// Standard deviation of the noise on target actions (target policy smoothing).
    pub target_noise: f64,
    /// That noise is clipped to plus or minus this.
    pub noise_clip: f64,
    /// Updates from one step of the policy and of all targets to the next.
    pub policy_delay: u64,
    /// Standard deviation of the noise on actions in training, which are clipped to [-1, 1].
    pub exploration: f64,
    /// The critics.
    pub critic: CriticSettings,
    /// The policy.
    pub actor: ActorSettings,
    /// How all targets follow in the updates in which the policy steps.
    pub target: TargetSettings,
}

impl Default for Td3Settings {
    fn default() -> Self {
        let network = NetworkSettings::mlp(ActivationKind::Relu, InitializerKind::TruncatedNormal);
        Self {
            gamma: 0.99,
            reward_scale: 0.2,
            target_noise: 0.2,
            noise_clip: 0.5,
            policy_delay: 2,
            exploration: 0.1,
            critic: CriticSettings {
                network: network.clone(),
                ..CriticSettings::default()
            },
            actor: ActorSettings {
                network,
                ..ActorSettings::default()
            },
            target: TargetSettings::default(),
        }
    }
}

impl Settings for Td3Settings {
    fn check(&self, check: RangeCheck) -> RangeCheck {
        check
            .fraction("gamma", self.gamma)
            .positive("reward_scale", self.reward_scale)
            .non_negative("target_noise", self.target_noise)
            .non_negative("noise_clip", self.noise_clip)
            .at_least_one("policy_delay", self.policy_delay)
            .non_negative("exploration", self.exploration)
            .table("target", |check| {
                self.target
                    .check_sparse(self.policy_delay, self.gamma, check)
            })
            .table("critic", |check| self.critic.check(check))
            .table("actor", |check| self.actor.check(check))
    }

    fn outline(&self) -> Outline {
        let sizes = Sizes {
            critics: self.critic.members,
            critic_widths: self.critic.network.widths(),
            policy: PolicyKind::Deterministic,
            policy_widths: self.actor.network.widths(),
            samples: 1,
            act_samples: 1,
            precision: Precision::F32,
            fused: true,
        };
        Outline::new(self.gamma, sizes)
    }

    fn build<B: RescoreBackend>(&self, setup: &Setup<'_, B>) -> Box<dyn Agent<B>> {
        Box::new(Td3::new(self, setup))
    }
}

/// A TD3 agent.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the types say what the fields are")]
pub struct Td3<B: RescoreBackend> {
    pub critics: CriticLearner<B>,
    pub actor: DeterministicActor<B>,
    pub target: MovingAverage,
    settings: Td3Settings,
    streams: Streams,
    updates: u64,
}

impl<B: RescoreBackend> Td3<B> {
    /// A fresh agent.
    pub fn new(settings: &Td3Settings, setup: &Setup<'_, B>) -> Self {
        let td = [settings.gamma, settings.reward_scale];
        Self {
            critics: CriticLearner::new(&settings.critic, td, setup),
            actor: DeterministicActor::new(&settings.actor, settings.policy_delay, setup),
            target: (settings.target).sparse(settings.policy_delay, settings.gamma, setup.pace),
            settings: settings.clone(),
            streams: Streams::new(setup.seed),
            updates: 0,
        }
    }

    /// One update. `draws` has unit normals `[batch, action_dim]`: `next`, for the next actions.
    pub fn update_with(&mut self, batch: &Batch<B>, draws: &Draws<B>) -> Metrics<B> {
        let (settings, critics, actor) = (&self.settings, &mut self.critics, &mut self.actor);
        let mut metrics = Metrics::default();

        // Next actions of the target policy, with clipped noise.
        let next = DeterministicActor::actions(&actor.target, batch.next_observations.clone());
        let noise = draws
            .normals("next", next.dims())
            .mul_scalar(settings.target_noise);
        let noise = noise.clamp(-settings.noise_clip, settings.noise_clip);
        let next = (next + noise).clamp(-1.0, 1.0);

        // Critics: mean squared TD error against the smaller target critic.
        critics.update(batch, next, None, &mut metrics);

        // Policy: up the first critic, which has just stepped; then all targets follow.
        if self.updates.is_multiple_of(settings.policy_delay) {
            metrics.push("policy_loss", actor.ascend(critics, batch));
            critics.track(self.target.tau);
            actor.track(self.target.tau);
        }
        self.updates += 1;
        metrics
    }

    /// The action of training. `draws` has the unit normals `exploration` `[states, action_dim]`.
    pub fn act_with(&self, observations: Tensor<B, 2>, draws: &Draws<B>) -> Tensor<B, 2> {
        let actions = DeterministicActor::actions(&self.actor.policy, observations);
        let noise = draws.normals("exploration", actions.dims());
        (actions + noise.mul_scalar(self.settings.exploration)).clamp(-1.0, 1.0)
    }
}

impl<B: RescoreBackend> Agent<B> for Td3<B> {
    parts!(critics, actor, updates => deterministic(actor));

    fn act(&self, observations: Tensor<B, 2>, counter: u32) -> Tensor<B, 2> {
        let draws = Draws::acting(self.streams, counter, &observations.device());
        self.act_with(observations, &draws)
    }

    fn act_deterministic(&self, observations: Tensor<B, 2>) -> Tensor<B, 2> {
        DeterministicActor::actions(&self.actor.policy, observations)
    }

    fn update(&mut self, batch: &Batch<B>) -> Metrics<B> {
        let draws = Draws::updating(self.streams, self.updates, &batch.rewards.device());
        self.update_with(batch, &draws)
    }
}
