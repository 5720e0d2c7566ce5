//! Updates, and reading what they computed.

use burn::tensor::ElementConversion as _;
use rescore_agents::{Batch, SUPPORT_EDGE};
use rescore_kernels::{RescoreBackend, upload};
use rescore_store::fault;

use super::Run;
use crate::normalize::Normalizers;
use crate::replay::{Replay, Sampler};
use crate::{RunError, backend, guard};

/// More of the target distributions than this at the ends of the support is warned of: critics that
/// have learned nothing, whose distributions are nearly even, have a tenth there.
const MOST_AT_THE_EDGES: f32 = 0.5;

impl<B: RescoreBackend> Run<'_, B> {
    /// Whether there is a transition to learn from. There is none at first without a warm-up, nor
    /// where the simulator has warned in every step so far.
    pub fn can_learn(&self) -> bool {
        !self.replay.is_empty()
    }

    /// One gradient update on a uniformly drawn batch.
    ///
    /// # Errors
    /// When something that was computed is not finite. See [`guard`] for when that
    /// is looked at.
    pub fn update(&mut self) -> Result<(), RunError> {
        self.learn()?;
        if backend::computes_at_once(&self.config.backend) {
            self.read_metrics()?;
        }
        Ok(())
    }

    /// [`Run::update`] without looking at the results.
    ///
    /// # Errors
    /// When a fault on purpose does not fit the agent.
    pub fn learn(&mut self) -> Result<(), RunError> {
        let (count, number) = (self.config.training.batch_size, self.agent.updates());
        let (replay, normalizers) = (&self.replay, &self.envs.normalizers);
        let batch = draw::<B>(
            replay,
            normalizers,
            self.sampler,
            count,
            number,
            self.device,
        );
        let newest = self.agent.update(&batch);
        self.metrics.merge(newest);
        self.spoil_state()
    }

    /// Reads the metrics since the last time from the device and checks them and the parameters,
    /// so that nothing is evaluated or stored after they have ceased to be finite.
    ///
    /// # Errors
    /// When one is not finite.
    pub fn read_metrics(&mut self) -> Result<(), RunError> {
        for (name, mut value) in self.metrics.read() {
            if let Some(spoilt) = fault::number(&name, self.step) {
                value = spoilt;
            }
            self.note(name, value);
        }
        let latest = self.latest.iter();
        let metrics = guard::check_metrics(latest.map(|(name, value)| (name.as_str(), *value)));
        let sum: f32 = self.agent.parameter_sum().into_scalar().elem();
        if metrics.is_err() || !sum.is_finite() {
            // Where it began tells more than which loss it has reached.
            self.require(guard::check_state(&self.agent.state()))?;
        }
        self.require(metrics)
    }

    /// Reads what no update is watched by: diagnoses and norms. Checkpoints hold them as well, so
    /// that a run which goes on logs the same.
    ///
    /// # Errors
    /// When one is not finite.
    pub(super) fn read_details(&mut self) -> Result<(), RunError> {
        // Before the first update there are no metrics, and a run that was interrupted in warm-up
        // must not have other ones first.
        if self.agent.updates() == 0 {
            return Ok(());
        }
        let norms = self.agent.norms().into_iter();
        let norms = norms.map(|(name, norm)| (name.to_owned(), norm.into_scalar().elem()));
        let details = self.metrics.read_details();
        let mut found: Vec<_> = details.into_iter().chain(norms).collect();
        for (name, value) in &mut found {
            if let Some(spoilt) = fault::number(name, self.step) {
                *value = spoilt;
            }
            if name == SUPPORT_EDGE {
                self.warn_of_the_support(*value);
            }
        }
        let all = found.iter().map(|(name, value)| (name.as_str(), *value));
        let checked = guard::check_metrics(all);
        for (name, value) in found {
            self.note(name, value);
        }
        self.require(checked)
    }

    /// Says once that returns leave the support of categorical critics.
    fn warn_of_the_support(&mut self, share: f32) {
        if share <= MOST_AT_THE_EDGES || self.support_warned {
            return;
        }
        self.support_warned = true;
        tracing::warn!(
            "{:.0} % of what the critics learn lies at the ends of their support: returns leave it. \
             A wider one (`critic.value.low`, `high`), a smaller `reward_scale` or \
             `training.normalize_reward` keeps them in it",
            100.0 * share
        );
    }

    fn note(&mut self, name: String, value: f32) {
        match self.latest.iter_mut().find(|(known, _)| *known == name) {
            Some((_, latest)) => *latest = value,
            None => self.latest.push((name, value)),
        }
    }
}

/// The batch of update `number`, drawn uniformly and normalised by what has been seen so far.
pub(super) fn draw<B: RescoreBackend>(
    replay: &Replay,
    normalizers: &Normalizers,
    sampler: Sampler,
    count: usize,
    number: u64,
    device: &B::Device,
) -> Batch<B> {
    let mut drawn = replay.gather(&sampler.rows(count, replay.len(), number));
    normalizers.apply(&mut drawn);
    let vector = |values| upload(values, [count], device);
    let matrix = |values: Vec<f32>| {
        let shape = [count, values.len() / count];
        upload(values, shape, device)
    };
    Batch {
        observations: matrix(drawn.observations),
        actions: matrix(drawn.actions),
        rewards: vector(drawn.rewards),
        next_observations: matrix(drawn.next_observations),
        terminated: vector(drawn.terminated),
    }
}
