//! An environment of your own, and a diffusion policy that learns it in about a minute:
//! `cargo run --release --example custom_env`.
//!
//! Four steps: say what the task is ([`Task`]), make an environment of it ([`TaskEnv`], wrappers),
//! hold it against what environments promise ([`check_env`]), train.

use std::path::Path;

use rescore::envs::{
    Env, EnvError, EnvRng, EnvState, Outcome, RescaleAction, Space, Task, TaskEnv, TaskSettings,
    TimeLimit, check_env,
};
use rescore::{
    Begin, Config, Environments, Interrupt, Request, RunError, folder, progress, resolve, start,
    train,
};

use rand::RngExt;

/// A sledge on ice that has to come to rest at a mark.
///
/// - Observation `[mark - position, velocity]`, in metres and metres per second.
/// - Action: acceleration within ±2 m/s², for a tenth of a second.
/// - Reward: minus the distance to the mark, minus a tenth of the speed.
/// - Never terminates; [`STEPS`] steps.
struct Sledge {
    observation_space: Space,
    action_space: Space,
    /// Distance to the mark and velocity.
    state: [f64; 2],
}

const NAME: &str = "Sledge-v0";
const STEPS: u32 = 60;
const SECONDS: f64 = 0.1;

impl Sledge {
    fn new() -> Result<Self, EnvError> {
        Ok(Self {
            // No bounds: nothing keeps a sledge from sliding away.
            observation_space: Space::uniform(2, f64::NEG_INFINITY, f64::INFINITY)?,
            action_space: Space::uniform(1, -2.0, 2.0)?,
            state: [0.0; 2],
        })
    }
}

impl Task for Sledge {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observation_space(&self) -> &Space {
        &self.observation_space
    }

    fn action_space(&self) -> &Space {
        &self.action_space
    }

    /// All randomness comes from `rng`, so that a seed fixes everything.
    fn reset(&mut self, rng: &mut EnvRng) -> Result<(), EnvError> {
        self.state = [rng.random_range(-2.0..2.0), rng.random_range(-0.5..0.5)];
        Ok(())
    }

    /// The length of the action and that it is finite have been checked.
    fn step(&mut self, action: &[f32]) -> Result<Outcome, EnvError> {
        let [distance, velocity] = self.state;
        let acceleration = f64::from(action[0].clamp(-2.0, 2.0));
        let velocity = velocity + acceleration * SECONDS;
        let distance = distance - velocity * SECONDS;
        self.state = [distance, velocity];
        Ok(Outcome {
            reward: -distance.abs() - 0.1 * velocity.abs(),
            terminated: false,
        })
    }

    fn observation(&self) -> &[f64] {
        &self.state
    }

    /// With these two a run can be interrupted and resumed exactly.
    fn save(&self, state: &mut EnvState) -> Result<(), EnvError> {
        state.put_f64("state", &self.state);
        Ok(())
    }

    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.state.copy_from_slice(state.f64("state", 2)?);
        Ok(())
    }
}

/// The environment: episodes, a time limit, and actions in [-1, 1], which is what agents act in.
fn make() -> Result<Box<dyn Env>, EnvError> {
    let env = TimeLimit::new(TaskEnv::new(Sledge::new()?), STEPS)?;
    Ok(Box::new(RescaleAction::new(env)?))
}

/// What `cargo xtask train --algo dpmd --set ...` would make of these settings.
fn configuration() -> Result<Config, RunError> {
    let settings = [
        "steps=6000",
        "lr=1e-3",
        "tau=0.02",
        "hidden_dims=[64, 64]",
        "particles=4",
        "denoising_steps=10",
        "temperature_every=5",
        "updates_per_step=0.5",
        "warmup_steps=1000",
        "eval_every=1000",
        "eval_episodes=20",
        "checkpoint_every=3000",
    ];
    let mut config = resolve(&Request {
        algo: Some("dpmd".into()),
        set: settings.map(String::from).into(),
        ..Request::default()
    })?;
    NAME.clone_into(&mut config.env);
    config.task = TaskSettings {
        time_limit: Some(STEPS),
        ..TaskSettings::default()
    };
    Ok(config)
}

/// Steps and mean returns of the evaluations.
fn evaluations(folder: &Path) -> Result<Vec<(String, f64)>, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(folder.join("eval.csv"))?;
    text.lines()
        .skip(1)
        .map(|line| {
            let mut columns = line.split(',');
            let step = columns.next().unwrap_or_default().to_owned();
            let mean = columns.nth(1).unwrap_or_default().parse()?;
            Ok((step, mean))
        })
        .collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(|| progress::LogWriter)
        .init();
    let report = check_env(make, 2_000)?;
    println!("{NAME} keeps what an environment promises: {report:?}");

    let config = configuration()?;
    let envs = Environments::with(&config, make)?;
    let folder = folder::create(None, &config, start(&config))?;
    train(&config, envs, &folder, Begin::Fresh, &Interrupt::install()?)?;

    let evaluations = evaluations(folder.path())?;
    for (step, mean_return) in &evaluations {
        println!("step {step:>5}: mean return {mean_return:.1}");
    }
    println!("{}", folder.path().display());
    // Doing nothing gives -77 on average, random actions -103, a well-tuned linear controller -8.7.
    match evaluations.last() {
        Some((_, mean_return)) if *mean_return > -25.0 => Ok(()),
        _ => Err("it did not learn".into()),
    }
}
