//! Norms, and running statistics of observations and rewards.

use anyhow::Result;
use burn::{
    backend::Autodiff,
    tensor::{Tensor, backend::Backend},
};
use rescore_envs::RunningStatistics;
use rescore_kernels::{RescoreBackend, total};
use rescore_nn::{
    BatchNorm, LayerNorm, RmsNorm, Trained, Tree, freeze, input_gradient, leaves, value_and_grad,
};

use super::{
    Tolerances,
    networks::{batch_norm, layer_norm},
    results::Results,
};
use crate::parity::{Comparison, fixture::Fixture};

/// `norm.{ln,rms,bn_train,bn_eval}`
pub fn norms<B: RescoreBackend>(
    fixture: &mut Fixture,
    results: &mut Results,
    device: &B::Device,
) -> Result<()> {
    let x = fixture.tensor::<B, 2>("norm.x", device)?.unsqueeze_dim(0);
    let dy = fixture.tensor::<B, 2>("norm.dy", device)?.unsqueeze_dim(0);
    let of_rows = layer_norm::<B>(fixture, "norm", device)?;
    let over_batch = batch_norm::<B>(fixture, "norm", ["norm.mean", "norm.var"], device)?;
    let root_mean_square = RmsNorm {
        scale: of_rows.scale.clone(),
    };
    let mut check = Check { results, x, dy };
    check.norm("norm.ln", &of_rows, LayerNorm::forward);
    check.norm("norm.rms", &root_mean_square, RmsNorm::forward);
    check.norm("norm.bn_eval", &over_batch, BatchNorm::forward);
    check.norm("norm.bn_train", &over_batch, |norm, x| {
        norm.forward_training(x).0
    });
    let (_, [mean, variance]) = over_batch.forward_training(check.x);
    results.tensor(("norm.bn_train", "mean"), mean);
    results.tensor(("norm.bn_train", "var"), variance);
    Ok(())
}

type Differentiable<B> = Tensor<Autodiff<B>, 3>;

struct Check<'a, B: Backend> {
    results: &'a mut Results,
    x: Tensor<B, 3>,
    dy: Tensor<B, 3>,
}

impl<B: RescoreBackend> Check<'_, B> {
    fn norm<N: Tree<B, On<B> = N>>(
        &mut self,
        group: &str,
        norm: &N,
        forward: impl Fn(&Trained<B, N>, Differentiable<B>) -> Differentiable<B>,
    ) {
        let dy = || Tensor::from_inner(self.dy.clone());
        let (_, gradient, y) = value_and_grad(norm, |norm| {
            let y = forward(norm, Tensor::from_inner(self.x.clone()));
            (total(y.clone() * dy()), y.inner())
        });
        let frozen = freeze::<B, N>(norm);
        let (_, dx) = input_gradient(self.x.clone(), |x| forward(&frozen, x) * dy());
        self.results.tensor((group, "y"), y);
        self.results.slope((group, "dx"), dx);
        for (name, _, gradient) in leaves(&gradient) {
            let name = match name.as_str() {
                "scale" => "dg",
                "shift" => "db",
                _ => continue,
            };
            self.results.slope((group, name), gradient);
        }
    }
}

/// `runnorm`: statistics of observations after each row.
pub fn running(fixture: &mut Fixture, results: &mut Results) -> Result<()> {
    let observations = fixture.array("runnorm.obs")?.clone();
    let query = fixture.array("runnorm.query")?.values.clone();
    let dim = observations.shape[1];
    let mut statistics = RunningStatistics::new(dim);
    let (mut means, mut variances) = (Vec::new(), Vec::new());
    for row in observations.values.chunks(dim) {
        statistics.update(row.iter().copied());
        means.extend_from_slice(statistics.mean());
        variances.extend_from_slice(statistics.variance());
    }
    let mut query: Vec<f32> = query.into_iter().map(|x| x as f32).collect();
    statistics.normalize_rows(&mut query, 10.0);
    let query = query.into_iter().map(f64::from).collect();
    results.values(("runnorm", "mean"), means);
    results.values(("runnorm", "var"), variances);
    results.values(("runnorm", "query"), query);
    // Rows one by one give what chunks of them give.
    for name in ["final", "merged"] {
        let [mean, variance] = ["mean", "var"].map(|of| format!("{name}_{of}"));
        results.values(("runnorm", &mean), statistics.mean().to_vec());
        results.values(("runnorm", &variance), statistics.variance().to_vec());
    }
    // Rewards are checked by themselves, see `rewards`.
    for name in fixture.names("runnorm.reward") {
        fixture.array(&name)?;
        if let Some((group, quantity)) = name.split_once(".out.") {
            results.unchecked((group, quantity));
        }
    }
    Ok(())
}

/// `runnorm.reward_clean`. The results `reward_flash` are those of another implementation's rule,
/// which loses the return of an episode before its last step, and are not held against ours.
pub fn rewards<N: FnMut(f32, bool) -> [f64; 5]>(
    fixture: &mut Fixture,
    comparison: &mut Comparison,
    tolerances: Tolerances,
    normalizer: impl Fn(f64, f64) -> N,
) -> Result<()> {
    let mut input = |name: &str| -> Result<Vec<f64>> {
        let array = fixture.array(&format!("runnorm.reward.{name}"))?;
        Ok(array.values.clone())
    };
    let [gamma, bound] = [input("gamma")?[0], input("v_max")?[0]];
    let [terminated, truncated] = [input("terminated")?, input("truncated")?];
    let mut learn = normalizer(gamma, bound);
    let ends = terminated.iter().zip(&truncated).map(|(a, b)| a + b > 0.0);
    let steps = input("reward")?.into_iter().zip(ends);
    let found: Vec<_> = steps
        .map(|(reward, ended)| learn(reward as f32, ended))
        .collect();
    for (i, quantity) in ["G", "mean", "var", "max", "divisor"].iter().enumerate() {
        let column: Vec<f64> = found.iter().map(|row| row[i]).collect();
        for (out, tolerance) in [("out", tolerances.single), ("out64", tolerances.double)] {
            let name = format!("runnorm.reward_clean.{out}.{quantity}");
            let at = fixture.at(&name);
            comparison.array(&at, &column, &fixture.array(&name)?.values, tolerance)?;
        }
    }
    Ok(())
}
