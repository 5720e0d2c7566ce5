//! Loads a trained policy and acts: `cargo xtask example act RUN_DIR`. Without a folder
//! it trains one first, for a few seconds.

use rescore::{Policy, envs, resolve};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => folder.into(),
        None => rescore::run("sac", "Pendulum-v1", &["steps=2000"])?,
    };
    let policy = Policy::load(&folder)?;
    let config = resolve(&rescore::Request::of_run(&folder))?;
    let mut env = envs::make(&config.env, &config.task)?;
    env.reset(Some(0))?;
    let mut sum = 0.0;
    loop {
        let observation: Vec<f32> = env.observation().iter().map(|x| *x as f32).collect();
        let step = env.step(&policy.act(&observation)?)?;
        sum += step.reward;
        if step.terminated || step.truncated {
            break;
        }
    }
    println!("return {sum:.1}");
    Ok(())
}
