//! A whole iteration of training, in parts.

use std::path::PathBuf;
use std::time::Instant;

use rescore_kernels::RescoreBackend;

use super::{Times, dims, flops::Counts, repeat, variant_of};
use crate::RunError;
use crate::config::Config;
use crate::interrupt::Interrupt;
use crate::run::Run;
use crate::run_folder::RunFolder;
use crate::schedule::UpdateSchedule;
use crate::train::Environments;

/// Parts of an iteration, in their order. With `overlap` the second holds the updates, too. A device
/// that computes by itself is waited for where its results are read: in `act`.
const PARTS: [&str; 3] = ["act", "step and store", "update"];

/// Milliseconds of an iteration (one step of all environments and the updates due for it; two
/// iterations a repetition, because the policy learns on every second update) and of its parts.
/// Runs in a folder of its own, which is removed.
pub fn measure<B: RescoreBackend>(config: &Config, device: &B::Device) -> Result<Times, RunError> {
    let folder = Scratch::new();
    let run_folder = RunFolder::create(Some(&folder.0), config)?;
    let envs = Environments::new(config)?;
    let mut run = Run::<B>::new(config, envs, &run_folder, device)?;
    run.warm_up(&Interrupt::default())?;
    let schedule = UpdateSchedule::new(config.training.updates_per_step);
    let mut parts = [0.0; PARTS.len()];
    let mut iterations = 0_u32;
    let mut iteration = || -> Result<(), RunError> {
        let start = Instant::now();
        let observations = run.observe()?;
        let actions = run.act(&observations)?;
        let acted = Instant::now();
        if config.training.overlap {
            let due = schedule.due(run.step + config.training.num_envs as u64);
            run.interact_while_learning(&observations, &actions, due)?;
        } else {
            run.interact(&observations, &actions)?;
        }
        run.advance();
        let stepped = Instant::now();
        while run.agent.updates() < schedule.due(run.step) {
            run.update()?;
        }
        let ends = [acted, stepped, Instant::now()];
        let mut begin = start;
        for (part, end) in parts.iter_mut().zip(ends) {
            *part += (end - begin).as_secs_f64() * 1e3;
            begin = end;
        }
        iterations += 1;
        Ok(())
    };
    let mut failed = Ok(());
    let pairs = repeat(|| {
        for _ in 0..2 {
            if failed.is_ok() {
                failed = iteration();
            }
        }
    });
    failed?;
    Ok(Times {
        variant: variant_of(config),
        precision: config.agent.precision(),
        ms: pairs.into_iter().map(|ms| ms / 2.0).collect(),
        rows: config.training.batch_size,
        flops: Some(Counts::new(config, dims(config)?).iteration(config)),
        parts: PARTS
            .into_iter()
            .zip(parts.map(|ms| ms / f64::from(iterations)))
            .collect(),
    })
}

/// A folder that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("rescore-bench-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of it lies among the system's temporary files, which it clears itself.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
