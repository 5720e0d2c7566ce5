//! The denoising chain.

use rescore_agents::AgentConfig;
use rescore_agents::diffusion_core::DiffusionCore;
use rescore_kernels::{NoiseKey, Precision, RescoreBackend, plain};
use rescore_runner::RunError;
use rescore_runner::config::Config;

use super::{Times, diffusion, dims, flops::Counts, random, repeat, variant_of};

/// The default body in plain tensor code, and what the backend has of its own in each precision.
pub fn measure<B: RescoreBackend>(
    config: &Config,
    device: &B::Device,
) -> Result<Vec<Times>, RunError> {
    let dims = dims(config)?;
    let states = config.training.batch_size;
    let base = match &config.agent {
        AgentConfig::Dpmd(agent) => &agent.base,
        AgentConfig::Sdac(agent) => &agent.base,
        AgentConfig::Sac(_) => {
            let message = "`sac` has no denoising chain";
            let hint = "`--algo dpmd` and `--algo sdac` have one".to_owned();
            return Err(RunError::usage(message.to_owned(), hint));
        }
    };
    // The algorithms with a chain, see above, have its keys.
    let Some(diffusion) = diffusion(config) else {
        return Ok(Vec::new());
    };
    let core = DiffusionCore::<B>::new(base, diffusion, dims, config.seed, device);
    let (particles, steps) = (diffusion.particles, core.sampler.steps());
    let rows = states * particles;
    let flops = Counts::new(config, dims).chain(rows, steps.len());
    let observations = random::<B>([states, dims[0]], 0, device);
    let noise = core.sampler.noise(NoiseKey::new(0, "bench/chain"), 0);
    let network = |precision| core.policy.chain_network(steps.len(), precision);
    let times = |variant, precision, ms| Times {
        variant,
        precision,
        ms,
        rows,
        flops: Some(flops),
        parts: Vec::new(),
        device: None,
    };

    let plain_network = network(Precision::F32);
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
        if !B::supports(precision, &base.hidden_dims, dims[1], device) {
            continue;
        }
        let network = network(precision);
        let ms = repeat(|| {
            let observations = observations.clone();
            let actions = B::denoise_chain(&network, observations, particles, steps, &noise);
            std::hint::black_box(actions.into_data());
        });
        all.push(times(variant, precision, ms));
    }
    Ok(all)
}
