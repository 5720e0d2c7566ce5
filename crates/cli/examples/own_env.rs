//! A task of your own: what an environment must do, then training on it by name, for a minute.

use rescore::envs::{
    EnvError, EnvRng, NewTask, Outcome, Space, Task, TaskEnv, TaskSettings, check_env, make,
};

/// A sledge on ice that has to come to rest at a mark: it observes distance and velocity, and its
/// action accelerates it by up to 2 m/s^2 for a tenth of a second. (With `save` and `restore`, which
/// are optional, runs are resumed in the middle of an episode.)
struct Sledge([f64; 2], Space, Space);

impl Task for Sledge {
    fn name(&self) -> &'static str {
        "Sledge-v0"
    }
    fn observation_space(&self) -> &Space {
        &self.1
    }
    fn action_space(&self) -> &Space {
        &self.2
    }
    fn reset(&mut self, rng: &mut EnvRng) -> Result<(), EnvError> {
        use rand::RngExt as _;
        self.0 = [rng.random_range(-2.0..2.0), rng.random_range(-0.5..0.5)];
        Ok(())
    }
    fn step(&mut self, action: &[f32]) -> Result<Outcome, EnvError> {
        let velocity = self.0[1] + 0.1 * f64::from(action[0].clamp(-2.0, 2.0));
        self.0 = [self.0[0] - 0.1 * velocity, velocity];
        let (reward, terminated) = (-self.0[0].abs() - 0.1 * velocity.abs(), false);
        Ok(Outcome { reward, terminated })
    }
    fn observation(&self) -> &[f64] {
        &self.0
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sledge = NewTask::new("Sledge-v0", |_| {
        let observations = Space::uniform(2, f64::NEG_INFINITY, f64::INFINITY)?;
        let actions = Space::uniform(1, -2.0, 2.0)?;
        Ok(TaskEnv::new(Sledge([0.0; 2], observations, actions)))
    });
    rescore::envs::register(sledge.time_limit(60))?;
    check_env(|| make("Sledge-v0", &TaskSettings::default()), 2_000)?;
    let network = ["hidden_dims=[64, 64]", "lr=1e-3"];
    let run = [
        "steps=6000",
        "warmup_steps=1000",
        "updates_per_step=0.5",
        "evaluation.every=2000",
    ];
    let folder = rescore::run("dpmd", "Sledge-v0", &[&network[..], &run[..]].concat())?;
    // Doing nothing gives -77 on average, a well-tuned linear controller -8.7.
    print!("{}", std::fs::read_to_string(folder.join("eval.csv"))?);
    Ok(())
}
