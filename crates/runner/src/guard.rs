//! Numbers that must be finite.
//!
//! What an environment gives and what an agent does is looked at before it is stored. What an
//! agent has learned is looked at after each update on a processor; on a device that computes by
//! itself looking means waiting, so it is done when the metrics are read and before every
//! checkpoint. That finds it just as surely: a loss or a gradient that is not finite makes
//! parameters that are not, and these stay so.

use rescore_agents::{Array, StateDict};
use serde::Serialize;

/// A number that is not finite, and where it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NotFinite {
    /// What holds it, in words.
    pub what: String,
    /// Name of the array: `observation`, a metric, or an array of the agent's state.
    pub tensor: String,
    /// Its place in there, in row-major order.
    pub index: usize,
    /// Which of the parallel environments it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<usize>,
    /// NaN or an infinity. (JSON has no such numbers.)
    #[serde(serialize_with = "as_text")]
    pub value: f32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn as_text<S: serde::Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Looks for the first of `values` that is not finite.
pub fn first_not_finite(values: &[f32]) -> Option<(usize, f32)> {
    let index = values.iter().position(|value| !value.is_finite())?;
    Some((index, values[index]))
}

/// Checks `values`, `[num_envs, width]`, called `tensor`.
///
/// # Errors
/// The first number that is not finite.
pub fn check_rows(tensor: &str, values: &[f32], width: usize) -> Result<(), NotFinite> {
    let Some((place, value)) = first_not_finite(values) else {
        return Ok(());
    };
    let (environment, index) = (place / width, place % width);
    Err(NotFinite {
        what: format!("{tensor}[{index}] of environment {environment}"),
        tensor: tensor.to_owned(),
        index,
        environment: Some(environment),
        value,
    })
}

/// Checks metrics.
///
/// # Errors
/// The first that is not finite.
pub fn check_metrics<'a>(
    metrics: impl IntoIterator<Item = (&'a str, f32)>,
) -> Result<(), NotFinite> {
    match metrics.into_iter().find(|(_, value)| !value.is_finite()) {
        Some((name, value)) => Err(NotFinite {
            what: name.to_owned(),
            tensor: name.to_owned(),
            index: 0,
            environment: None,
            value,
        }),
        None => Ok(()),
    }
}

/// An array of an agent's state that holds numbers which are not finite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadArray {
    /// Its name.
    pub tensor: String,
    /// How many numbers are not finite.
    pub count: usize,
    /// Of how many.
    pub of: usize,
    /// Place of the first.
    pub index: usize,
}

/// All arrays of `state` that hold such numbers.
pub fn bad_arrays(state: &StateDict) -> Vec<BadArray> {
    let arrays = state.iter().filter_map(|(name, array)| match array {
        Array::F32(_, values) => {
            let (index, _) = first_not_finite(values)?;
            Some(BadArray {
                tensor: name.to_owned(),
                count: values.iter().filter(|value| !value.is_finite()).count(),
                of: values.len(),
                index,
            })
        }
        Array::U64(_) => None,
    });
    arrays.collect()
}

/// `critic_optimizer.mu.q1.l0.weight` is the mean gradient of `q1.l0.weight` of the critics.
const GRADIENT: &str = "_optimizer.mu.";

/// Checks everything that an agent has learned.
///
/// # Errors
/// The first number of the array in which the fewest are not finite, because that is where it
/// began: one update spreads it everywhere. A gradient is found by the moments that it leaves in
/// its optimiser.
pub fn check_state(state: &StateDict) -> Result<(), NotFinite> {
    let bad = bad_arrays(state);
    let is_gradient = |array: &BadArray| array.tensor.contains(GRADIENT);
    let Some(first) = bad
        .iter()
        .min_by_key(|array| (array.count, !is_gradient(array)))
    else {
        return Ok(());
    };
    let value = match state.get(&first.tensor) {
        Some(Array::F32(_, values)) => values[first.index],
        _ => f32::NAN,
    };
    let (tensor, index) = (&first.tensor, first.index);
    let what = match tensor.split_once(GRADIENT) {
        Some((network, layer)) => format!("the gradient of {network} {layer}[{index}]"),
        None => format!("{tensor}[{index}]"),
    };
    Err(NotFinite {
        what,
        tensor: tensor.clone(),
        index,
        environment: None,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_named_by_environment_and_place() {
        let mut values = [0.5; 12];
        assert_eq!(check_rows("observation", &values, 4), Ok(()));
        values[9] = f32::NEG_INFINITY;
        let error = check_rows("observation", &values, 4).expect_err("-inf");
        assert_eq!(error.what, "observation[1] of environment 2");
        assert_eq!((error.index, error.environment), (1, Some(2)));
    }

    #[test]
    fn the_array_where_it_began_is_named() {
        let mut state = StateDict::default();
        let array = |values: &[f32]| Array::F32(vec![values.len()], values.to_vec());
        state.insert("critics.l0.weight", array(&[1.0, f32::NAN, f32::NAN]));
        state.insert("policy.l0.bias", array(&[1.0, 2.0]));
        state.insert("updates", Array::U64(3));
        let mu = "critic_optimizer.mu.l0.weight";
        state.insert(mu, array(&[1.0, 1.0, f32::INFINITY]));
        let error = check_state(&state).expect_err("NaN and infinity");
        assert_eq!(error.tensor, mu);
        assert_eq!(error.what, "the gradient of critic l0.weight[2]");
        assert_eq!(bad_arrays(&state).len(), 2);
        state.insert(mu, array(&[0.0; 3]));
        assert_eq!(
            check_state(&state).expect_err("NaN").what,
            "critics.l0.weight[1]"
        );
    }

    /// A gradient that is not finite, in each array of each network of each algorithm: the sum of
    /// the parameters tells at once, and the gradient is what is named.
    mod gradients {
        use burn::backend::Flex;
        use burn::backend::flex::FlexDevice;
        use burn::tensor::Tensor;
        use rescore_agents::dpmd_reference::{Dpmd, DpmdSettings};
        use rescore_agents::learners::CriticGradient;
        use rescore_agents::sac::{Sac, SacSettings};
        use rescore_agents::settings::NetworkSettings;
        use rescore_agents::{Agent, Batch, Pace, Setup};
        use rescore_nn::Tree;

        use super::*;

        const SETUP: Setup<'_, Flex> = Setup {
            dims: [3, 2],
            seed: 0,
            updates: 10,
            pace: Pace {
                updates_per_step: 1.0,
                batch_size: 256,
            },
            device: &FlexDevice,
        };

        fn small(networks: [&mut NetworkSettings; 2]) {
            for network in networks {
                if let NetworkSettings::Mlp { hidden_dims, .. } = network {
                    *hidden_dims = vec![5, 4];
                }
            }
        }

        /// Zeros in the shape of `network`, with `value` as the last number of array `chosen`; how
        /// many arrays there are, and the name of the chosen one.
        fn spoilt<N: Tree<Flex, On<Flex> = N>>(
            network: &N,
            chosen: usize,
            value: f32,
        ) -> (N, usize, String) {
            let (mut count, mut name) = (0, String::new());
            let gradient = network.map("", &mut |leaf, tensor: &Tensor<Flex, 3>| {
                let zeros = tensor.zeros_like();
                let [members, rows, columns] = tensor.dims();
                count += 1;
                if count - 1 != chosen {
                    return zeros;
                }
                name = format!("{}[{}]", leaf.name, members * rows * columns - 1);
                let last = Tensor::from_data([[[value]]], &FlexDevice);
                let at = [members - 1..members, rows - 1..rows, columns - 1..columns];
                zeros.slice_assign(at, last)
            });
            (gradient, count, name)
        }

        /// A gradient of the critics of `agent` with another tree in its place.
        fn critic_gradient(agent: &Sac<Flex>) -> CriticGradient<Flex> {
            let zeros = |columns| Tensor::zeros([1, columns], &FlexDevice);
            let batch = Batch {
                observations: zeros(3),
                actions: zeros(2),
                rewards: Tensor::zeros([1], &FlexDevice),
                next_observations: zeros(3),
                terminated: Tensor::zeros([1], &FlexDevice),
            };
            let target = agent.critics.targets(&batch, zeros(2));
            agent.critics.gradient(&batch, zeros(2), &target)
        }

        fn named(agent: &dyn Agent<Flex>, network: &str, name: &str) {
            let sum: f32 = agent.parameter_sum().into_scalar();
            assert!(!sum.is_finite(), "{network} {name} is not noticed");
            let error = check_state(&agent.state()).expect_err("not finite");
            assert_eq!(error.what, format!("the gradient of {network} {name}"));
        }

        /// Runs `step`, which spoils array number `chosen`, for all there are.
        fn each(mut step: impl FnMut(usize, f32) -> usize) {
            let mut chosen = 0;
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY]
                .into_iter()
                .cycle()
            {
                let count = step(chosen, value);
                assert!(count >= 6);
                chosen += 1;
                if chosen == count {
                    return;
                }
            }
        }

        #[test]
        fn of_a_diffusion_policy_are_noticed_and_named() {
            let mut settings = DpmdSettings::default();
            let base = &mut settings.base;
            small([&mut base.critic.network, &mut base.actor.network]);
            each(|chosen, value| {
                let mut agent = Dpmd::<Flex>::new(&settings, &SETUP);
                assert!(agent.parameter_sum().into_scalar().is_finite());
                let actor = &mut agent.actor;
                let (gradient, count, name) = spoilt(&actor.policy, chosen, value);
                actor.optimizer.step(&mut actor.policy, &gradient, 1e-3);
                named(&agent, "policy", &name);
                count
            });
        }

        #[test]
        fn of_critics_and_gaussian_policies_are_noticed_and_named() {
            let mut settings = SacSettings::default();
            small([&mut settings.critic.network, &mut settings.actor.network]);
            each(|chosen, value| {
                let mut agent = Sac::<Flex>::new(&settings, &SETUP);
                let mut gradient = critic_gradient(&agent);
                let (tree, count, name) = spoilt(&agent.critics.online, chosen, value);
                gradient.gradient = tree;
                agent.critics.step(&gradient);
                named(&agent, "critic", &name);
                count
            });
            each(|chosen, value| {
                let mut agent = Sac::<Flex>::new(&settings, &SETUP);
                let actor = &mut agent.actor;
                let (gradient, count, name) = spoilt(&actor.policy, chosen, value);
                actor.optimizer.step(&mut actor.policy, &gradient, 1e-3);
                named(&agent, "policy", &name);
                count
            });
        }
    }
}
