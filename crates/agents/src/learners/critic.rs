//! Critics, their targets and their optimiser.

use burn::tensor::Tensor;
use rescore_critics::{Critics, Head, Pairs};
use rescore_kernels::{Combine, NoiseKey, RescoreBackend};
use rescore_nn::{
    Adam, StateDict, StateError, Statistics, norm, parameter_sum, polyak, project_columns,
    value_and_grad,
};
use rescore_objectives::td::{self, Step, Target};

use super::LearningRate;
use crate::settings::{CriticSettings, MovingAverage};
use crate::{Batch, Metrics, Setup, Stateful, diagnostics};

/// Critics that learn from temporal differences.
#[derive(Debug, Clone)]
pub struct CriticLearner<B: RescoreBackend> {
    /// The critics that are trained.
    pub online: Critics<B>,
    /// Their moving average, for targets.
    pub target: Critics<B>,
    /// The optimiser of `online`.
    pub optimizer: Adam<Critics<B>>,
    /// How the values of the members become one.
    pub combine: Combine,
    /// The gradient of the last step, for diagnosis.
    latest: Option<Critics<B>>,
    learning_rate: LearningRate,
    gamma: f64,
    reward_scale: f64,
}

/// What one gradient of the critics holds.
#[derive(Debug, Clone)]
pub struct CriticGradient<B: RescoreBackend> {
    /// Losses of all members, `[members]`.
    pub losses: Tensor<B, 1>,
    /// The gradient of their sum.
    pub gradient: Critics<B>,
    /// Running statistics of norms over the batch after this batch.
    statistics: Statistics<B>,
}

impl<B: RescoreBackend> CriticLearner<B> {
    /// Critics with random weights from the stream `init/critics` of the run; targets are copies.
    pub fn new(
        settings: &CriticSettings,
        [gamma, reward_scale]: [f64; 2],
        setup: &Setup<'_, B>,
    ) -> Self {
        let key = NoiseKey::new(setup.seed, "init/critics");
        let (shape, head) = (settings.network.shape(1.0), settings.value.head());
        let (dims, members) = (setup.dims, settings.members);
        let mut online = Critics::init(dims, members, &shape, head, key, setup.device);
        if online.network.has_batch_statistics() {
            project_columns(&mut online);
        }
        Self {
            target: online.clone(),
            optimizer: Adam::new(&online, settings.optimizer),
            online,
            combine: settings.combine.into(),
            latest: None,
            learning_rate: LearningRate::falling(
                settings.learning_rate,
                settings.final_fraction,
                setup.updates as f64,
            ),
            gamma,
            reward_scale,
        }
    }

    /// The rewards that are learned from, `[batch]`.
    pub fn scaled_rewards(&self, batch: &Batch<B>) -> Tensor<B, 1> {
        let rewards = batch.rewards.clone();
        if (self.reward_scale - 1.0).abs() > 0.0 {
            rewards.mul_scalar(self.reward_scale)
        } else {
            rewards
        }
    }

    /// The target of all critics from the target critics at `next_actions` `[batch, action_dim]`:
    /// `reward_scale r + gamma (1 - terminated) Q(s', a')`, or its distribution.
    pub fn targets(&self, batch: &Batch<B>, next_actions: Tensor<B, 2>) -> Target<B> {
        self.soft_targets(batch, next_actions, None)
    }

    /// As [`CriticLearner::targets`], with `penalty` `[batch]` subtracted from `Q(s', a')`.
    pub fn soft_targets(
        &self,
        batch: &Batch<B>,
        next_actions: Tensor<B, 2>,
        penalty: Option<Tensor<B, 1>>,
    ) -> Target<B> {
        let rewards = self.scaled_rewards(batch);
        let (terminated, gamma) = (batch.terminated.clone(), self.gamma);
        let target = &self.target;
        if target.head == Head::Scalar && !target.network.has_batch_statistics() {
            let observations = batch.next_observations.clone();
            let values = target.score_actions(self.combine, observations, next_actions);
            let values = match penalty {
                Some(penalty) => values - penalty,
                None => values,
            };
            return Target::Values(td::td_target(rewards, terminated, values, gamma));
        }
        let [current, next] = pairs(batch, next_actions);
        let step = Step {
            rewards,
            terminated,
            gamma,
            penalty,
        };
        let outputs = target.bootstrap_outputs(current, next);
        td::target(target.head, self.combine, outputs, step)
    }

    /// What `target` says the values are, `[batch]`: itself, or the expectations of distributions.
    pub fn target_values(&self, target: &Target<B>) -> Tensor<B, 1> {
        match (target.clone(), self.online.head) {
            (Target::Distributions(all), Head::Categorical(support)) => {
                support.expectation(all.unsqueeze_dim(0)).squeeze_dim(0)
            }
            (Target::Values(values), _) => values,
            (Target::Distributions(_), Head::Scalar) => {
                unreachable!("critics of one value have targets of one value")
            }
        }
    }

    /// The gradient towards `target`. The next pairs matter to norms over the batch alone.
    pub fn gradient(
        &self,
        batch: &Batch<B>,
        next_actions: Tensor<B, 2>,
        target: &Target<B>,
    ) -> CriticGradient<B> {
        let [current, next] = pairs(batch, next_actions);
        let (_, gradient, (losses, statistics)) = value_and_grad(&self.online, |critics| {
            let [current, next] = [current, next].map(|pairs| pairs.map(Tensor::from_inner));
            let (outputs, statistics) = critics.trained_outputs(current, next);
            let (loss, losses) = td::loss(outputs, target.clone());
            (loss, (losses, statistics.inner()))
        });
        CriticGradient {
            losses,
            gradient,
            statistics,
        }
    }

    /// Moves the critics against a gradient. Weights before a norm over the batch, whose scale does
    /// not matter, return to columns of length 1.
    pub fn step(&mut self, step: &CriticGradient<B>) {
        let rate = self.learning_rate.at(self.optimizer.count);
        self.optimizer.step(&mut self.online, &step.gradient, rate);
        self.latest = Some(step.gradient.clone());
        if self.online.network.has_batch_statistics() {
            project_columns(&mut self.online);
            step.statistics.clone().put_into(&mut self.online);
        }
    }

    /// One step towards `target`; the losses before it, `[members]`.
    pub fn learn(
        &mut self,
        batch: &Batch<B>,
        next_actions: Tensor<B, 2>,
        target: &Target<B>,
    ) -> Tensor<B, 1> {
        let gradient = self.gradient(batch, next_actions, target);
        self.step(&gradient);
        gradient.losses
    }

    /// One step towards the soft targets at `next_actions`, see [`CriticLearner::soft_targets`], with
    /// what it says of critics and values in `metrics`.
    pub fn update(
        &mut self,
        batch: &Batch<B>,
        next_actions: Tensor<B, 2>,
        penalty: Option<Tensor<B, 1>>,
        metrics: &mut Metrics<B>,
    ) {
        let target = self.soft_targets(batch, next_actions.clone(), penalty);
        self.update_towards(batch, next_actions, &target, metrics);
    }

    /// As [`CriticLearner::update`] towards `target`.
    pub fn update_towards(
        &mut self,
        batch: &Batch<B>,
        next_actions: Tensor<B, 2>,
        target: &Target<B>,
        metrics: &mut Metrics<B>,
    ) {
        metrics.record("next_actions", next_actions.clone());
        let losses = self.learn(batch, next_actions.clone(), target);
        metrics.push_members("q{}_loss", losses.clone());
        let values = self.target_values(target);
        metrics.push_mean("target_mean", values.clone());
        if let Target::Distributions(distributions) = target {
            metrics.record("target_distribution", distributions.clone());
        }
        let rewards = (self.scaled_rewards(batch), self.gamma);
        diagnostics::values(metrics, rewards, next_actions, (target, values, losses));
    }

    /// Moves the targets to the moving average where that is due in the update numbered `updates`.
    pub fn follow(&mut self, average: MovingAverage, updates: u64) {
        if updates.is_multiple_of(average.every) {
            self.track(average.tau);
        }
    }

    /// Moves the targets to the moving average.
    pub fn track(&mut self, tau: f64) {
        polyak(&mut self.target, &self.online, tau);
    }

    /// Combined values of the trained critics, without a derivative: actions `[batch, action_dim]`,
    /// result `[batch]`.
    pub fn values(&self, observations: Tensor<B, 2>, actions: Tensor<B, 2>) -> Tensor<B, 1> {
        self.online
            .score_actions(self.combine, observations, actions)
    }

    /// As [`CriticLearner::values`] for several actions an observation, `[batch, samples]`.
    pub fn score(&self, observations: Tensor<B, 2>, actions: Tensor<B, 3>) -> Tensor<B, 2> {
        self.online.score(self.combine, observations, actions)
    }

    /// Of `actions` `[batch, particles, action_dim]` the one with the largest value, clipped to
    /// [-1, 1]; ties go to the lowest index. With one particle the critics are not asked.
    pub fn best(&self, observations: Tensor<B, 2>, actions: Tensor<B, 3>) -> Tensor<B, 2> {
        self.judges().best(observations, actions)
    }

    /// The trained critics as those that choose among actions.
    pub const fn judges(&self) -> Judges<'_, B> {
        Judges {
            critics: &self.online,
            combine: self.combine,
        }
    }

    /// The target critics as those that choose among actions.
    pub const fn target_judges(&self) -> Judges<'_, B> {
        Judges {
            critics: &self.target,
            combine: self.combine,
        }
    }
}

/// Critics that choose among actions.
#[derive(Debug, Clone)]
pub struct Judges<'a, B: RescoreBackend> {
    /// The critics.
    pub critics: &'a Critics<B>,
    /// How the values of the members become one.
    pub combine: Combine,
}

impl<B: RescoreBackend> Judges<'_, B> {
    /// Values of several actions an observation, `[batch, samples]`.
    pub fn score(&self, observations: Tensor<B, 2>, actions: Tensor<B, 3>) -> Tensor<B, 2> {
        self.critics.score(self.combine, observations, actions)
    }

    /// See [`CriticLearner::best`].
    pub fn best(&self, observations: Tensor<B, 2>, actions: Tensor<B, 3>) -> Tensor<B, 2> {
        self.critics.best(self.combine, observations, actions)
    }
}

/// The pairs `(s, a)` of a batch, and `(s', a')` with actions `a'`.
fn pairs<B: RescoreBackend>(batch: &Batch<B>, next_actions: Tensor<B, 2>) -> [Pairs<B>; 2] {
    let current = [batch.observations.clone(), batch.actions.clone()];
    [current, [batch.next_observations.clone(), next_actions]]
}

impl<B: RescoreBackend> Stateful<B> for CriticLearner<B> {
    fn save(&self, state: &mut StateDict) {
        state.insert_tree("critics", &self.online);
        state.insert_tree("target_critics", &self.target);
        state.insert_adam("critic_optimizer", &self.optimizer);
    }

    fn load(&mut self, state: &StateDict) -> Result<(), StateError> {
        self.online = state.tree("critics", &self.online)?;
        self.target = state.tree("target_critics", &self.target)?;
        self.optimizer = state.adam("critic_optimizer", &self.optimizer)?;
        Ok(())
    }

    fn parameter_sum(&self) -> Option<Tensor<B, 1>> {
        Some(parameter_sum(&self.online) + parameter_sum(&self.target))
    }

    fn norms(&self) -> Vec<(&'static str, Tensor<B, 1>)> {
        let gradient = self.latest.as_ref().map(norm);
        let gradient = gradient.map(|norm| ("critic_gradient_norm", norm));
        let weights = ("critic_weight_norm", norm(&self.online));
        gradient.into_iter().chain([weights]).collect()
    }
}
