//! The denoising chain.

use rescore_agents::Setup;
use rescore_agents::learners::DiffusionActor;
use rescore_kernels::{NoiseKey, Precision, RescoreBackend, plain};
use rescore_runner::RunError;
use rescore_runner::config::Config;

use super::{Times, diffusion, dims, flops::Counts, random, repeat, variant_of};

/// The default body in plain tensor code, and what the backend has of its own in each precision.
pub fn measure<B: RescoreBackend>(
    config: &Config,
    device: &B::Device,
) -> Result<Vec<Times>, RunError> {
    let no_chain = || {
        let message = format!("`{}` has no denoising chain that is fused", config.algo);
        let hint = "`--algo dpmd` and `--algo sdac` have one, with `mlp` networks";
        RunError::usage(message, hint)
    };
    let dims = dims(config)?;
    let states = config.training.batch_size;
    let (settings, particles) = diffusion(config).ok_or_else(no_chain)?;
    let setup = Setup {
        dims,
        seed: config.seed,
        updates: config.updates(),
        pace: config.pace(),
        device,
    };
    let actor = DiffusionActor::<B>::new(settings, [particles; 2], 1, &setup);
    let (steps, times_told) = (actor.sampler.chain()).expect("the discrete process is a chain");
    let rows = states * particles;
    let flops = Counts::new(config, dims)?.chain(rows, steps.len());
    let observations = random::<B>([states, dims[0]], 0, device);
    let noise = actor.sampler.noise(NoiseKey::new(0, "bench/chain"), 0);
    let network = |precision| actor.policy.chain_network(times_told, precision);
    let times = |variant, precision, ms| Times {
        variant,
        precision,
        ms,
        rows,
        flops: Some(flops),
        parts: Vec::new(),
        device: None,
    };

    let plain_network = network(Precision::F32).ok_or_else(no_chain)?;
    let ms = repeat(|| {
        let observations = observations.clone();
        let actions = plain::denoise(&plain_network, observations, particles, steps, &noise);
        std::hint::black_box(actions.into_data());
    });
    let mut all = vec![times("plain", Precision::F32, ms)];
    if variant_of(config) == "plain" {
        return Ok(all);
    }
    for (variant, precision) in [
        ("fused-f32", Precision::F32),
        ("fused-bf16", Precision::Bf16),
    ] {
        if !B::supports(precision, &settings.network.widths(), dims[1], device) {
            continue;
        }
        let network = network(precision).ok_or_else(no_chain)?;
        let ms = repeat(|| {
            let observations = observations.clone();
            let actions = B::denoise_chain(&network, observations, particles, steps, &noise);
            std::hint::black_box(actions.into_data());
        });
        all.push(times(variant, precision, ms));
    }
    Ok(all)
}
