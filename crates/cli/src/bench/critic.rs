//! The critics' step: forward, backward and Adam on both.

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use rescore_critics::TwinQ;
use rescore_kernels::{
    Activation, Initializer, Linear, NoiseKey, Parameters as _, Precision, RescoreBackend,
    adam::{Adam, AdamStep},
    plain, value_and_grad,
};
use rescore_objectives::td;
use rescore_runner::RunError;
use rescore_runner::config::Config;

use super::{Times, dims, flops::Counts, random, repeat, variant_of};

/// In plain tensor code, and as the agents do it.
pub fn measure<B: RescoreBackend>(
    config: &Config,
    device: &B::Device,
) -> Result<Vec<Times>, RunError> {
    let dims = dims(config)?;
    let rows = config.training.batch_size;
    let counts = Counts::new(config, dims);
    let mut critics = TwinQ::<B>::init(
        dims,
        counts.hidden(),
        Activation::Mish,
        Initializer::TruncatedNormal,
        NoiseKey::new(config.seed, "bench/critics"),
        device,
    );
    let observations = random::<B>([rows, dims[0]], 1, device);
    let actions = random::<B>([rows, dims[1]], 2, device);
    let targets = random::<B>([rows, 1], 3, device).reshape([rows]);
    let times = |variant, ms| Times {
        variant,
        precision: Precision::F32,
        ms,
        rows,
        flops: Some(counts.critic_step(rows)),
        parts: Vec::new(),
        device: None,
    };

    let mut adam = Adam::new(&critics);
    let ms = repeat(|| {
        let (_, gradient, ()) = value_and_grad(&critics, |critics| {
            let input = Tensor::cat(vec![observations.clone(), actions.clone()], 1);
            let input = Tensor::<Autodiff<B>, 2>::from_inner(input);
            let targets = Tensor::from_inner(targets.clone());
            let loss = |network| {
                let error =
                    plain::mlp(network, input.clone()).squeeze_dim::<1>(1) - targets.clone();
                (error.clone() * error).mean()
            };
            (loss(&critics.q1) + loss(&critics.q2), ())
        });
        adam.count += 1;
        (critics, adam) = plain_step(&critics, &gradient, &adam);
        std::hint::black_box(critics.q1.layers[0].bias.to_data());
    });
    let mut all = vec![times("plain", ms)];
    if variant_of(config) == "plain" {
        return Ok(all);
    }
    let mut adam = Adam::new(&critics);
    let ms = repeat(|| {
        let (_, gradient, ()) = value_and_grad(&critics, |critics| {
            let [loss1, loss2] = td::critic_losses(
                critics,
                Tensor::from_inner(observations.clone()),
                Tensor::from_inner(actions.clone()),
                &Tensor::from_inner(targets.clone()),
            );
            (loss1 + loss2, ())
        });
        adam.step(&mut critics, &gradient, 3e-4);
        std::hint::black_box(critics.q1.layers[0].bias.to_data());
    });
    all.push(times("fused-f32", ms));
    Ok(all)
}

/// One Adam step in plain tensor code.
fn plain_step<B: RescoreBackend>(
    critics: &TwinQ<B>,
    gradient: &TwinQ<B>,
    adam: &Adam<TwinQ<B>>,
) -> (TwinQ<B>, Adam<TwinQ<B>>) {
    let step = AdamStep::new(3e-4, adam.count);
    let (gradients, mus, nus) = (gradient.layers(), adam.mu.layers(), adam.nu.layers());
    let moments = mus.iter().zip(&nus);
    let mut stepped = critics
        .layers()
        .into_iter()
        .zip(gradients.iter().zip(moments))
        .map(|((_, p), ((_, g), ((_, m), (_, v))))| {
            let weight_moments = [m.weight.clone(), v.weight.clone()];
            let (weight, [weight_mu, weight_nu]) =
                plain::adam_step(p.weight.clone(), g.weight.clone(), weight_moments, step);
            let bias_moments = [m.bias.clone(), v.bias.clone()];
            let (bias, [bias_mu, bias_nu]) =
                plain::adam_step(p.bias.clone(), g.bias.clone(), bias_moments, step);
            [
                Linear { weight, bias },
                Linear {
                    weight: weight_mu,
                    bias: bias_mu,
                },
                Linear {
                    weight: weight_nu,
                    bias: bias_nu,
                },
            ]
        })
        .collect::<Vec<_>>()
        .into_iter();
    let (mut mus, mut nus) = (Vec::new(), Vec::new());
    let parameters = critics.map::<B>(&mut |_, old| match stepped.next() {
        Some([parameter, mu, nu]) => {
            mus.push(mu);
            nus.push(nu);
            parameter
        }
        // One was made for each layer.
        None => old.clone(),
    });
    let (mut mus, mut nus) = (mus.into_iter(), nus.into_iter());
    let adam = Adam {
        count: adam.count,
        mu: adam
            .mu
            .map::<B>(&mut |_, old| mus.next().unwrap_or_else(|| old.clone())),
        nu: adam
            .nu
            .map::<B>(&mut |_, old| nus.next().unwrap_or_else(|| old.clone())),
    };
    (parameters, adam)
}
