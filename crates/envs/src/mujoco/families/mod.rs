//! The dynamics of each family of tasks: what is observed, what is rewarded, what ends an episode.

mod half_cheetah;
mod hopper;
mod inverted_pendulum;

use mujoco_rs::prelude::MjData;
use std::sync::Arc;

use crate::mujoco_table::Family;
use crate::{Info, Outcome};

/// The simulator's state, bound to the model it was made for.
pub(super) type Data = MjData<Arc<mujoco_rs::prelude::MjModel>>;

/// What a family adds to the mechanics that all share (see
/// [`MujocoTask`](super::MujocoTask)).
pub(super) trait Dynamics: Send {
    /// Writes the observation into `out`, which is empty.
    fn observe(&self, data: &Data, out: &mut Vec<f64>);

    /// What the reward of the next step will depend on of the state before it: positions or
    /// distances, unless a family says otherwise the first two coordinates.
    fn before(&self, data: &Data) -> [f64; 2] {
        [data.qpos()[0], data.qpos()[1]]
    }

    /// Reward and termination, after the step; the terms of the reward go into `info`.
    fn outcome(&self, step: &StepView<'_>, info: &mut Vec<Info>) -> Outcome;
}

/// What a reward may depend on.
pub(super) struct StepView<'a> {
    /// The state after the step.
    pub data: &'a Data,
    /// The action as given, not as the actuators clamp it.
    pub action: &'a [f32],
    /// The observation after the step.
    pub observation: &'a [f64],
    /// [`Dynamics::before`] of the state before the step.
    pub before: [f64; 2],
    /// Seconds per environment step.
    pub dt: f64,
}

impl StepView<'_> {
    /// Mean velocity over the step of what is now at `position`, along the first coordinate.
    fn velocity(&self, position: f64) -> f64 {
        (position - self.before[0]) / self.dt
    }
}

/// The dynamics of a family.
pub(super) fn dynamics(family: Family) -> Box<dyn Dynamics> {
    match family {
        Family::HalfCheetah => Box::new(half_cheetah::HalfCheetah),
        Family::Hopper => Box::new(hopper::Hopper),
        Family::InvertedPendulum => Box::new(inverted_pendulum::InvertedPendulum),
    }
}

/// `weight * sum a^2` in single precision, as Gymnasium computes it from a `float32` action.
fn control_cost(weight: f32, action: &[f32]) -> f64 {
    f64::from(weight * numpy_sum(action.len(), |i| action[i] * action[i]))
}

/// The sum of `n` terms in the order in which NumPy adds up to 128 of them: one after the other
/// below eight, else in eight interleaved sums. In single precision another order gives another
/// result, far beyond the 1e-9 to which trajectories agree.
fn numpy_sum(n: usize, term: impl Fn(usize) -> f32) -> f32 {
    if n < 8 {
        return (0..n).map(term).sum();
    }
    let mut partial = [0.0f32; 8];
    let whole = n - n % 8;
    for i in 0..whole {
        partial[i % 8] += term(i);
    }
    let [a, b, c, d, e, f, g, h] = partial;
    let sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
    (whole..n).fold(sum, |sum, i| sum + term(i))
}

#[cfg(test)]
mod tests {
    use super::numpy_sum;

    #[test]
    fn sums_are_those_of_numpy_to_the_bit() {
        // NumPy 2.4.6: np.sum(np.square(x)) of x = 1/d, 2/d, ..., n/d in float32. For eight and
        // more of these, adding one after the other gives another last bit.
        for (n, d, bits) in [
            (7u8, 7.0f32, 1_077_336_942),
            (8, 7.0, 1_082_472_825),
            (8, 9.0, 1_075_916_648),
            (17, 3.0, 1_128_682_838),
            (17, 11.0, 1_097_599_095),
        ] {
            let x: Vec<f32> = (1..=n).map(|i| f32::from(i) / d).collect();
            let sum = numpy_sum(x.len(), |i| x[i] * x[i]);
            assert_eq!(sum.to_bits(), bits, "{n} values over {d}: {sum}");
        }
    }
}
