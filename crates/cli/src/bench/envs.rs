//! Steps per second of the environments, next to what the simulator alone would do.

use std::time::{Duration, Instant};

use rescore_envs::{Env, EnvError, TaskEntry, TaskSettings, VecEnv, make};
use rescore_runner::RunError;
use rescore_store::machine;
use serde::Serialize;

/// Environments of the vectorised measurement.
const ENVS: usize = 16;
/// How long one pass should take.
const PASS: Duration = Duration::from_millis(40);
/// Passes of each kind, in turn; the fastest counts. What else a machine does makes passes slower,
/// never faster, and it lasts: on a virtual machine a neighbour on the same physical core slows one
/// of two threads by a third for tens of milliseconds.
const PASSES: usize = 31;
/// Seed of the environments and the actions.
const SEED: u64 = 0;

/// What was measured of one task.
#[derive(Debug, Clone, Serialize)]
pub struct EnvMeasurement {
    /// "envs".
    pub bench: &'static str,
    /// Name of the task.
    pub task: &'static str,
    /// Model of the processor.
    pub cpu: String,
    /// Threads of the vectorised measurement.
    pub threads: usize,
    /// Steps per second of one environment on one thread, resets included.
    pub env_steps_per_s: f64,
    /// Steps per second of a loop over `mj_step` alone through the same states, with the same
    /// resets, on one thread: the limit. None for tasks without MuJoCo.
    pub bare_steps_per_s: Option<f64>,
    /// The first over the second.
    pub of_bare: Option<f64>,
    /// Environments stepped together.
    pub num_envs: usize,
    /// Steps per second of all of them on one thread, which is slower than one alone: their
    /// states do not fit into a core's cache together.
    pub vec_one_thread_steps_per_s: f64,
    /// Steps per second of all of them on all threads.
    pub vec_steps_per_s: f64,
    /// The latter over the former.
    pub vec_speedup: f64,
}

impl EnvMeasurement {
    /// The heading over [`EnvMeasurement::line`].
    pub fn heading(threads: usize) -> String {
        format!(
            "{:<32}{:>11}{:>13}{:>9}{:>11}{:>11}{:>9}",
            "steps per second",
            "1 env",
            "bare mj_step",
            "of bare",
            format!("{ENVS}, 1 thr."),
            format!("{ENVS}, {threads} thr."),
            "speed-up"
        )
    }

    /// One line of a table.
    pub fn line(&self) -> String {
        let bare = self
            .bare_steps_per_s
            .map_or("-".into(), |r| format!("{r:.0}"));
        let share = self
            .of_bare
            .map_or("-".into(), |r| format!("{:.1}%", 100.0 * r));
        format!(
            "{:<32}{:>11.0}{bare:>13}{share:>9}{:>11.0}{:>11.0}{:>9.2}",
            self.task,
            self.env_steps_per_s,
            self.vec_one_thread_steps_per_s,
            self.vec_steps_per_s,
            self.vec_speedup
        )
    }
}

/// Measures one task.
///
/// # Errors
/// When the task cannot be made, or when the bare loop went through other states.
pub fn measure(entry: &TaskEntry) -> Result<EnvMeasurement, RunError> {
    let settings = TaskSettings::default();
    let env = make(entry.name, &settings)?;
    let mut single = Single::new(env)?;
    let mut bare = bare::Loop::new(entry, &single)?;
    let mut envs = VecEnv::with_settings(entry.name, &settings, ENVS, SEED)?;

    // Of the environment, the bare loop, all environments on one thread and on all threads.
    let mut fastest = [0.0_f64; 4];
    let rounds = single.steps.div_ceil(ENVS);
    for _ in 0..PASSES {
        let alone = rate(single.steps, || single.run())?;
        let without = match &mut bare {
            Some(bare) => rate(single.steps, || bare.run(&single))?,
            None => 0.0,
        };
        let on_one = rate(rounds * ENVS, || {
            step_together(&mut envs, false, rounds, &single)
        })?;
        // It takes the operating system a while to spread threads over the cores.
        step_together(&mut envs, true, rounds / 2, &single)?;
        let on_all = rate(rounds * ENVS, || {
            step_together(&mut envs, true, rounds, &single)
        })?;
        for (fastest, rate) in fastest.iter_mut().zip([alone, without, on_one, on_all]) {
            *fastest = fastest.max(rate);
        }
    }
    if let Some(bare) = &bare {
        bare.check(&single)?;
    }
    let [env, bare, vec_one_thread, vec] = fastest;
    // Tasks without MuJoCo have no bare loop.
    let bare = (bare > 0.0).then_some(bare);
    Ok(EnvMeasurement {
        bench: "envs",
        task: entry.name,
        cpu: machine::cpu_name(),
        threads: rayon::current_num_threads(),
        env_steps_per_s: env,
        bare_steps_per_s: bare,
        of_bare: bare.map(|bare| env / bare),
        num_envs: ENVS,
        vec_one_thread_steps_per_s: vec_one_thread,
        vec_steps_per_s: vec,
        vec_speedup: vec / vec_one_thread,
    })
}

/// Steps all environments `rounds` times with actions of the single one.
fn step_together(
    envs: &mut VecEnv,
    parallel: bool,
    rounds: usize,
    single: &Single,
) -> Result<(), EnvError> {
    envs.set_parallel(parallel);
    let dim = envs.action_dim();
    for round in 0..rounds {
        let start = round * ENVS % (single.steps - ENVS);
        envs.step(&single.actions[start * dim..(start + ENVS) * dim])?;
    }
    Ok(())
}

/// One environment with the random actions of a pass.
struct Single {
    env: Box<dyn Env>,
    steps: usize,
    /// Row-major, `[steps, action_dim]`, in units of [-1, 1].
    actions: Vec<f32>,
    /// Whether an episode ended, `[steps]`.
    ends: Vec<bool>,
}

impl Single {
    /// Takes as many steps as fill a pass.
    fn new(env: Box<dyn Env>) -> Result<Self, EnvError> {
        let dim = env.action_space().dim();
        let mut this = Self {
            env,
            steps: 0,
            actions: Vec::new(),
            ends: Vec::new(),
        };
        // Fixed, so that two programs are compared on the same work, and cheap.
        let mut word = SEED;
        let mut random = || {
            word = word
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (word >> 40) as f32 / 8_388_608.0 - 1.0
        };
        this.env.reset(Some(SEED))?;
        let start = Instant::now();
        while start.elapsed() < PASS || this.steps < 2 * ENVS {
            this.actions.extend((0..dim).map(|_| random()));
            let step = this.env.step(&this.actions[this.steps * dim..])?;
            this.ends.push(step.done());
            this.steps += 1;
            if step.done() {
                this.env.reset(None)?;
            }
        }
        Ok(this)
    }

    /// The same steps again.
    fn run(&mut self) -> Result<(), EnvError> {
        self.env.reset(Some(SEED))?;
        let dim = self.env.action_space().dim();
        for (action, end) in self.actions.chunks_exact(dim).zip(&self.ends) {
            self.env.step(action)?;
            if *end {
                self.env.reset(None)?;
            }
        }
        Ok(())
    }
}

/// The simulator alone.
#[cfg(feature = "mujoco")]
mod bare {
    use rescore_envs::mujoco::MujocoTask;
    use rescore_envs::{EnvError, EnvState, Task, TaskEntry, seeded_rng};

    use super::{SEED, Single};
    use rescore_runner::RunError;

    pub struct Loop {
        task: MujocoTask,
        /// The actions of the environment in the units of the actuators.
        actions: Vec<f32>,
    }

    impl Loop {
        pub fn new(entry: &TaskEntry, single: &Single) -> Result<Option<Self>, EnvError> {
            if !entry.needs_mujoco {
                return Ok(None);
            }
            let task = MujocoTask::new(entry.name)?;
            let half_range = entry.action_high;
            let actions = single.actions.iter().map(|a| half_range * a).collect();
            Ok(Some(Self { task, actions }))
        }

        pub fn run(&mut self, single: &Single) -> Result<(), EnvError> {
            let mut rng = seeded_rng(SEED);
            self.task.reset(&mut rng)?;
            let dim = self.task.action_space().dim();
            for (action, end) in self.actions.chunks_exact(dim).zip(&single.ends) {
                self.task.simulate(action)?;
                if *end {
                    self.task.reset(&mut rng)?;
                }
            }
            Ok(())
        }

        /// Requires that both have come to the same state, to the bit.
        pub fn check(&self, single: &Single) -> Result<(), RunError> {
            let mut own = EnvState::new();
            self.task.save(&mut own)?;
            let env = single.env.save()?;
            let physics = |state: &EnvState| {
                state
                    .arrays()
                    .find(|(name, _)| name.ends_with("integration"))
                    .map(|(_, array)| array.clone())
            };
            if physics(&own) == physics(&env) {
                return Ok(());
            }
            Err(RunError::Usage {
                message: format!(
                    "{}: the bare loop went through other states than the environment",
                    self.task.name()
                ),
                hint: None,
            })
        }
    }
}

#[cfg(not(feature = "mujoco"))]
mod bare {
    use rescore_envs::{EnvError, TaskEntry};

    use super::Single;
    use rescore_runner::RunError;

    /// There is no simulator in this build.
    pub enum Loop {}

    impl Loop {
        #[expect(clippy::unnecessary_wraps, reason = "as in a build with MuJoCo")]
        pub fn new(_entry: &TaskEntry, _single: &Single) -> Result<Option<Self>, EnvError> {
            Ok(None)
        }
        pub fn run(&mut self, _single: &Single) -> Result<(), EnvError> {
            match *self {}
        }
        pub fn check(&self, _single: &Single) -> Result<(), RunError> {
            match *self {}
        }
    }
}

/// Steps per second of `work`, which takes `steps` steps.
fn rate(steps: usize, work: impl FnOnce() -> Result<(), EnvError>) -> Result<f64, EnvError> {
    let start = Instant::now();
    work()?;
    Ok(steps as f64 / start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_measured_against_the_simulator_through_the_same_states() {
        for name in ["Pendulum-v1", "Hopper-v4"] {
            let entry = rescore_envs::find(name).expect("a registered task");
            if entry.needs_mujoco && !cfg!(feature = "mujoco") {
                continue;
            }
            let result = measure(&entry).expect("it can be measured");
            assert!(result.env_steps_per_s > 0.0 && result.vec_steps_per_s > 0.0);
            assert_eq!(result.bare_steps_per_s.is_some(), entry.needs_mujoco);
            assert!(result.line().starts_with(name));
        }
    }
}
