//! Critics of the three kinds: outputs, losses, derivatives by parameters and actions.

use anyhow::Result;
use burn::{
    backend::Autodiff,
    tensor::{Tensor, backend::Backend},
};
use rescore_critics::{Critics, Head, Pairs, Support};
use rescore_kernels::{Activation, RescoreBackend};
use rescore_nn::{Network, Role, freeze, input_gradient, project_columns, value_and_grad};
use rescore_objectives::td::{self, Target};

use super::{
    networks::{batch_norm_mlp, residual, twins},
    results::{Results, flat},
};
use crate::parity::fixture::Fixture;

fn pairs<B: Backend>(
    fixture: &mut Fixture,
    names: [&str; 2],
    device: &B::Device,
) -> Result<Pairs<B>> {
    let [observations, actions] =
        names.map(|name| fixture.tensor(&format!("critic.{name}"), device));
    Ok([observations?, actions?])
}

fn lifted<B: Backend>(pairs: Pairs<B>) -> Pairs<Autodiff<B>> {
    pairs.map(Tensor::from_inner)
}

/// The support `[-v, v]` of `atoms` atoms.
pub fn support(v: f64, atoms: usize) -> Result<Support> {
    Ok(Support::new([-v, v], atoms)?)
}

/// Loss and gradient of the first member; what `outputs` gives is what the loss is of.
fn loss<B: RescoreBackend>(
    group: &str,
    results: &mut Results,
    critics: &Critics<B>,
    target: Target<B>,
    outputs: impl FnOnce(&Critics<Autodiff<B>>) -> Tensor<Autodiff<B>, 3>,
) {
    let (_, gradient, losses) =
        value_and_grad(critics, |critics| td::loss(outputs(critics), target));
    results.tensor((group, "loss"), losses.narrow(0, 0, 1));
    results.gradient((group, "grad"), &gradient);
}

/// Values of the first member, and their derivative by the actions.
fn values<B: RescoreBackend>(
    (group, name): (&str, &str),
    results: &mut Results,
    critics: &Critics<B>,
    [observations, actions]: Pairs<B>,
) {
    let frozen = freeze::<B, _>(critics);
    let (q, by_action) = input_gradient(actions, |actions| {
        let values = frozen.values(Tensor::from_inner(observations), actions);
        values.narrow(0, 0, 1)
    });
    results.tensor((group, name), q);
    results.slope((group, "dq_da"), by_action);
}

/// `critic.mlp_relu`, `critic.mlp_mish`
pub fn scalar<B: RescoreBackend>(
    fixture: &mut Fixture,
    results: &mut Results,
    device: &B::Device,
) -> Result<()> {
    let current = pairs::<B>(fixture, ["obs", "action"], device)?;
    let target = Target::Values(fixture.tensor("critic.y", device)?);
    for (group, activation) in [
        ("critic.mlp_relu", Activation::Relu),
        ("critic.mlp_mish", Activation::Mish),
    ] {
        let critics = Critics::scalar(twins(fixture, activation, device)?);
        let [observations, actions] = lifted(current.clone());
        loss(group, results, &critics, target.clone(), |critics| {
            critics.outputs(observations, actions)
        });
        values((group, "q"), results, &critics, current.clone());
    }
    Ok(())
}

/// `critic.simba`
pub fn residual_stack<B: RescoreBackend>(
    fixture: &mut Fixture,
    results: &mut Results,
    device: &B::Device,
) -> Result<()> {
    let group = "critic.simba";
    let current = pairs::<B>(fixture, ["obs", "action"], device)?;
    let target = Target::Distributions(fixture.tensor("critic.m", device)?);
    let network = Network::Residual(residual(fixture, "critic.simba.params", device)?);
    let critics = categorical(fixture, network)?;
    let [observations, actions] = current.clone();
    let logits = critics.outputs(observations, actions);
    results.tensor((group, "logits"), logits);
    let [observations, actions] = lifted(current.clone());
    loss(group, results, &critics, target, |critics| {
        critics.outputs(observations, actions)
    });
    values((group, "q"), results, &critics, current);
    Ok(())
}

/// Critics of distributions over the file's support.
fn categorical<B: Backend>(fixture: &mut Fixture, network: Network<B>) -> Result<Critics<B>> {
    let v = fixture.array("cat.v_max")?.values[0];
    let head = Head::Categorical(support(v, network.output_dim())?);
    Ok(Critics { network, head })
}

/// `critic.bn`
pub fn batch_norm<B: RescoreBackend>(
    fixture: &mut Fixture,
    results: &mut Results,
    device: &B::Device,
) -> Result<()> {
    let group = "critic.bn";
    let current = pairs::<B>(fixture, ["obs", "action"], device)?;
    let next = pairs::<B>(fixture, ["next_obs", "next_action"], device)?;
    let target = Target::Distributions(fixture.tensor("critic.m", device)?);
    let network = Network::BatchNormMlp(batch_norm_mlp(fixture, group, device)?);
    let critics = categorical(fixture, network)?;
    let joint = critics.joint(current.clone(), next.clone());
    let logits = Tensor::cat(vec![joint.current, joint.next], 1);
    results.tensor((group, "joint_logits"), logits);
    let mut moved = critics.clone();
    joint.statistics.put_into(&mut moved);
    let statistics = flat(&moved, |role| role == Role::Statistic);
    results.values((group, "stats"), statistics.concat());
    let pairs = [lifted(current.clone()), lifted(next)];
    loss(group, results, &critics, target, |critics| {
        let [current, next] = pairs;
        critics.trained_outputs(current, next).0
    });
    let [observations, actions] = current.clone();
    let logits = critics.outputs(observations, actions);
    results.tensor((group, "eval_logits"), logits);
    values((group, "eval_q"), results, &critics, current);
    let mut projected = critics;
    project_columns(&mut projected);
    let weights = flat(&projected, |role| role == Role::Weight);
    results.values((group, "projected"), weights.concat());
    Ok(())
}
