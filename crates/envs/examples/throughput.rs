//! Environment steps per second of each task, stepped in turn and on the thread pool:
//! `cargo run --release -p rescore-envs --features mujoco --example throughput [ENVIRONMENTS]`.
//!
//! This is the measurement behind the choice of which tasks `VecEnv` steps in parallel.

use std::time::{Duration, Instant};

use rescore_envs::{EnvError, VecEnv, list};

/// How long each measurement takes.
const DURATION: Duration = Duration::from_millis(500);

fn main() -> Result<(), EnvError> {
    let count = match std::env::args().nth(1).map(|text| text.parse()) {
        None => 5,
        Some(Ok(count)) => count,
        Some(Err(error)) => {
            return Err(EnvError::InvalidArgument(format!("ENVIRONMENTS: {error}")));
        }
    };
    println!(
        "{count} environments, {} threads",
        rayon::current_num_threads()
    );
    println!(
        "{:<34}{:>14}{:>14}",
        "steps per second", "in turn", "in parallel"
    );
    for entry in list() {
        if entry.needs_mujoco && !cfg!(feature = "mujoco") {
            continue;
        }
        let mut envs = VecEnv::new(entry.name, count, 0)?;
        let mut rates = [0.0; 2];
        for (rate, parallel) in rates.iter_mut().zip([false, true]) {
            envs.set_parallel(parallel);
            *rate = measure(&mut envs)?;
        }
        println!("{:<34}{:>14.0}{:>14.0}", entry.name, rates[0], rates[1]);
    }
    Ok(())
}

fn measure(envs: &mut VecEnv) -> Result<f64, EnvError> {
    let mut actions = vec![0.0; envs.count() * envs.action_dim()];
    let start = Instant::now();
    let mut steps = 0;
    while start.elapsed() < DURATION {
        for i in 0..100 {
            actions.fill(if i % 2 == 0 { 0.5 } else { -0.5 });
            envs.step(&actions)?;
        }
        steps += 100 * envs.count();
    }
    Ok(steps as f64 / start.elapsed().as_secs_f64())
}
