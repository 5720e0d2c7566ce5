//! Distributions over returns: expectations, targets, cross entropies.

use anyhow::Result;
use burn::tensor::{Tensor, backend::Backend};
use rescore_critics::{Head, Support};
use rescore_kernels::{Combine, RescoreBackend};
use rescore_nn::input_gradient;
use rescore_objectives::td::{Step, Target, loss, target};

use super::{critic::support, results::Results};
use crate::parity::{fixture::Fixture, pieces::values};

fn step<B: Backend>(fixture: &mut Fixture, at: &str, device: &B::Device) -> Result<Step<B>> {
    Ok(Step {
        rewards: fixture.tensor(&format!("{at}.reward"), device)?,
        terminated: fixture.tensor(&format!("{at}.done"), device)?,
        gamma: fixture.array(&format!("{at}.gamma"))?.values[0],
        penalty: Some(fixture.tensor(&format!("{at}.entropy"), device)?),
    })
}

fn support_of(fixture: &mut Fixture, at: &str, atoms: usize) -> Result<Support> {
    support(fixture.array(&format!("{at}.v_max"))?.values[0], atoms)
}

/// `cat`, `cat_edge`, `cat_two`
pub fn check<B: RescoreBackend>(
    fixture: &mut Fixture,
    results: &mut Results,
    device: &B::Device,
) -> Result<()> {
    for group in ["cat_edge", "cat_two"] {
        let probabilities: Tensor<B, 2> = fixture.tensor(&format!("{group}.probs"), device)?;
        let support = support_of(fixture, group, probabilities.dims()[1])?;
        let step = step(fixture, group, device)?;
        // Their logarithms are logits of the same distributions.
        let logits = probabilities.log().unsqueeze_dim(0);
        let head = Head::Categorical(support);
        if let Target::Distributions(target) = target(head, Combine::Mean, logits, step) {
            results.tensor((group, "target"), target);
        }
    }
    let group = "cat";
    let outputs: Tensor<B, 3> = fixture.tensor("cat.target_logits", device)?;
    let logits: Tensor<B, 3> = fixture.tensor("cat.logits", device)?;
    let support = support_of(fixture, group, outputs.dims()[2])?;
    let (head, step) = (
        Head::Categorical(support),
        step::<B>(fixture, group, device)?,
    );
    results.tensor((group, "mean"), head.values(outputs.clone()));
    let probabilities = burn::tensor::activation::softmax(outputs.clone(), 2);
    let lowest = support.lowest_member(probabilities);
    results.exact((group, "head"), values(lowest.float()));
    let of_mean = target(head, Combine::Mean, outputs.clone(), step.clone());
    let of_lowest = target(head, Combine::Min, outputs, step);
    for (name, target) in [("target_of_mean", &of_mean), ("target", &of_lowest)] {
        if let Target::Distributions(probabilities) = target {
            results.tensor((group, name), probabilities.clone());
            let mass: Tensor<B, 1> = probabilities.clone().sum_dim(1).squeeze_dim(1);
            results.tensor((group, "mass"), mass);
        }
    }
    let (loss, by_logits) = input_gradient(logits, |logits| loss(logits, of_lowest).0);
    results.tensor((group, "loss"), loss);
    results.slope((group, "dlogits"), by_logits);
    Ok(())
}
