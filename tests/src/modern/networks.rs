//! Networks by the names that the files give their leaves.

use anyhow::Result;
use burn::tensor::{Tensor, backend::Backend};
use rescore_diffusion::Denoiser;
use rescore_kernels::Activation;
use rescore_nn::{BatchNorm, BatchNormMlp, Block, LayerNorm, Linear, Network, Residual};

use crate::parity::fixture::Fixture;

/// A matrix or a vector as the leaf of one member.
fn leaf<B: Backend>(fixture: &mut Fixture, name: &str, device: &B::Device) -> Result<Tensor<B, 3>> {
    if fixture.array(name)?.shape.len() == 1 {
        return Ok(fixture.tensor::<B, 1>(name, device)?.unsqueeze());
    }
    Ok(fixture.tensor::<B, 2>(name, device)?.unsqueeze())
}

fn linear<B: Backend>(fixture: &mut Fixture, at: &str, device: &B::Device) -> Result<Linear<B>> {
    let bias = format!("{at}.b");
    let has_bias = fixture.has(&bias);
    let bias = has_bias.then(|| leaf(fixture, &bias, device));
    Ok(Linear {
        bias: bias.transpose()?,
        weight: leaf(fixture, &format!("{at}.w"), device)?,
    })
}

/// A norm of rows of `at.g`, `at.b`.
pub fn layer_norm<B: Backend>(
    fixture: &mut Fixture,
    at: &str,
    device: &B::Device,
) -> Result<LayerNorm<B>> {
    Ok(LayerNorm {
        scale: leaf(fixture, &format!("{at}.g"), device)?,
        shift: leaf(fixture, &format!("{at}.b"), device)?,
    })
}

/// A norm over the batch of `at.g`, `at.b` and the running `statistics`.
pub fn batch_norm<B: Backend>(
    fixture: &mut Fixture,
    at: &str,
    statistics: [&str; 2],
    device: &B::Device,
) -> Result<BatchNorm<B>> {
    let LayerNorm { scale, shift } = layer_norm(fixture, at, device)?;
    Ok(BatchNorm {
        scale,
        shift,
        mean: leaf(fixture, statistics[0], device)?,
        variance: leaf(fixture, statistics[1], device)?,
    })
}

/// How many of `at0.w`, `at1.w`, ... there are.
fn count(fixture: &Fixture, at: &str) -> usize {
    let mut count = 0;
    while fixture.has(&format!("{at}{count}.w")) {
        count += 1;
    }
    count
}

pub fn residual<B: Backend>(
    fixture: &mut Fixture,
    at: &str,
    device: &B::Device,
) -> Result<Residual<B>> {
    let blocks = (0..count(fixture, &format!("{at}.up"))).map(|i| {
        Ok(Block {
            norm: layer_norm(fixture, &format!("{at}.ln{i}"), device)?,
            up: linear(fixture, &format!("{at}.up{i}"), device)?,
            down: linear(fixture, &format!("{at}.down{i}"), device)?,
        })
    });
    Ok(Residual {
        blocks: blocks.collect::<Result<_>>()?,
        input: linear(fixture, &format!("{at}.in"), device)?,
        norm: layer_norm(fixture, &format!("{at}.ln_out"), device)?,
        head: linear(fixture, &format!("{at}.head"), device)?,
    })
}

/// Parameters `at.params.*` and statistics `at.stats.*`.
pub fn batch_norm_mlp<B: Backend>(
    fixture: &mut Fixture,
    at: &str,
    device: &B::Device,
) -> Result<BatchNormMlp<B>> {
    let norm = |fixture: &mut Fixture, name: &str| {
        let statistics = ["m", "v"].map(|leaf| format!("{at}.stats.{name}.{leaf}"));
        let params = format!("{at}.params.{name}");
        batch_norm(
            fixture,
            &params,
            statistics.each_ref().map(String::as_str),
            device,
        )
    };
    let layers = (0..count(fixture, &format!("{at}.params.l"))).map(|i| {
        let layer = linear(fixture, &format!("{at}.params.l{i}"), device)?;
        Ok((layer, norm(fixture, &format!("bn{i}"))?))
    });
    Ok(BatchNormMlp {
        layers: layers.collect::<Result<_>>()?,
        input: norm(fixture, "bn_in")?,
        head: linear(fixture, &format!("{at}.params.head"), device)?,
    })
}

/// The policy `actor.{kind}`.
pub fn denoiser<B: Backend>(
    fixture: &mut Fixture,
    kind: &str,
    device: &B::Device,
) -> Result<Denoiser<B>> {
    let at = format!("actor.{kind}");
    let mish = Activation::Mish;
    let trunk = if fixture.has(&format!("{at}.in.w")) {
        Network::Residual(residual(fixture, &at, device)?)
    } else {
        Network::Mlp(fixture.mlp(&[&format!("{at}.l")], mish, device)?)
    };
    Ok(Denoiser {
        time: fixture.mlp(&[&format!("{at}.time")], mish, device)?,
        trunk,
    })
}

/// The critics `critic.mlp.q1` and `.q2` side by side.
pub fn twins<B: Backend>(
    fixture: &mut Fixture,
    activation: Activation,
    device: &B::Device,
) -> Result<Network<B>> {
    let prefixes = ["critic.mlp.q1.l", "critic.mlp.q2.l"];
    Ok(Network::Mlp(fixture.mlp(&prefixes, activation, device)?))
}
