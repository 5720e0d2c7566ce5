//! An agent's update and its acting.

use burn::tensor::Tensor;
use rescore_agents::Batch;
use rescore_kernels::RescoreBackend;
use rescore_runner::RunError;
use rescore_runner::config::Config;
use rescore_runner::evaluate::to_vec;

use super::{Times, dims, flops::Counts, precision, random, repeat, timeline::wait, variant_of};

/// Milliseconds per update; each repetition is an even and an odd one, halved, handed over one after
/// the other as in training, where nobody reads their metrics.
pub fn measure_update<B: RescoreBackend>(
    config: &Config,
    device: &B::Device,
) -> Result<Times, RunError> {
    let dims = dims(config)?;
    let rows = config.training.batch_size;
    let batch = random_batch::<B>(rows, dims, device);
    let mut agent = config.new_agent::<B>(dims.into(), device)?;
    let mut done = Ok(());
    let pairs = repeat(|| {
        for _ in 0..2 {
            std::hint::black_box(agent.update(&batch));
        }
        if done.is_ok() {
            done = wait::<B>(device);
        }
    });
    done?;
    Ok(Times {
        variant: variant_of(config),
        precision: precision(config),
        ms: pairs.into_iter().map(|ms| ms / 2.0).collect(),
        rows,
        flops: Some(Counts::new(config, dims)?.update(config)),
        parts: Vec::new(),
        device: None,
    })
}

/// Milliseconds per act of all parallel environments.
pub fn measure_act<B: RescoreBackend>(
    config: &Config,
    device: &B::Device,
) -> Result<Times, RunError> {
    let dims = dims(config)?;
    let rows = config.training.num_envs;
    let observations = random::<B>([rows, dims[0]], 0, device);
    let agent = config.new_agent::<B>(dims.into(), device)?;
    let mut counter = 0;
    let ms = repeat(|| {
        std::hint::black_box(to_vec(agent.act(observations.clone(), counter)));
        counter += 1;
    });
    let counts = Counts::new(config, dims)?;
    let flops = Some(counts.act(rows));
    Ok(Times {
        variant: variant_of(config),
        precision: precision(config),
        ms,
        rows,
        flops,
        parts: Vec::new(),
        device: None,
    })
}

/// A batch of standard normals in which no episode ends.
fn random_batch<B: RescoreBackend>(
    rows: usize,
    [observation_dim, action_dim]: [usize; 2],
    device: &B::Device,
) -> Batch<B> {
    Batch {
        observations: random([rows, observation_dim], 1, device),
        actions: random([rows, action_dim], 2, device),
        rewards: random::<B>([rows, 1], 3, device).reshape([rows]),
        next_observations: random([rows, observation_dim], 4, device),
        terminated: Tensor::zeros([rows], device),
    }
}
