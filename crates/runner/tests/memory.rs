//! A run's memory does not grow: what is alive on the heap returns to the same size again and
//! again, through updates, evaluations, lines of the log, checkpoints, and a ring of transitions
//! that is overwritten.
//!
//! Bytes that were asked for and not given back are counted, not pages of the process, so this
//! depends neither on the clock nor on how the allocator cuts its pages.

use std::sync::atomic::{AtomicUsize, Ordering};

use burn::backend::Flex;
use peak_alloc::PeakAlloc;
use rescore_agents::Algorithm;
use rescore_envs::{Env, EnvError, EnvState, Info, Space, Step, TaskSettings, make};
use rescore_runner::{
    Begin, Config, Environments, Interrupt, Request, RunError, RunFolder, folder, resolve, train,
};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Steps of one environment in a window. Within one everything happens many times.
const WINDOW: usize = 500;
/// Windows; the first are those in which everything comes to its size.
const WINDOWS: usize = 7;
const FIRST: usize = 2;
/// The least that was alive in each window.
static ALIVE: [AtomicUsize; WINDOWS] = [const { AtomicUsize::new(usize::MAX) }; WINDOWS];

/// A task that looks at the heap in every step, and in which returns become ever worse, so that
/// the first checkpoint remains the best.
struct Watching {
    env: Box<dyn Env>,
    steps: usize,
}

impl Env for Watching {
    fn name(&self) -> &str {
        self.env.name()
    }

    fn observation_space(&self) -> &Space {
        self.env.observation_space()
    }

    fn action_space(&self) -> &Space {
        self.env.action_space()
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<(), EnvError> {
        self.env.reset(seed)
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        if let Some(window) = ALIVE.get(self.steps / WINDOW) {
            window.fetch_min(MEMORY.current_usage(), Ordering::Relaxed);
        }
        self.steps += 1;
        let mut step = self.env.step(action)?;
        step.reward = -1e-4 * self.steps as f64;
        Ok(step)
    }

    fn observation(&self) -> &[f64] {
        self.env.observation()
    }

    fn info(&self) -> &[Info] {
        self.env.info()
    }

    fn save(&self) -> Result<EnvState, EnvError> {
        self.env.save()
    }

    fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.env.restore(state)
    }
}

fn configuration(algorithm: &'static Algorithm) -> Result<Config, RunError> {
    let mut settings = vec![
        // Two environments make one update together.
        format!("steps={}", 2 * WINDOW * WINDOWS),
        "num_envs=2".into(),
        "hidden_dims=[8, 8]".into(),
        "batch_size=8".into(),
        "warmup_steps=50".into(),
        "count_warmup=false".into(),
        // Segments of 8 transitions, of which the ring holds 8.
        "replay.capacity=64".into(),
        "log_every=10".into(),
        "evaluation.every=500".into(),
        "evaluation.episodes=1".into(),
        "checkpoint_every=40".into(),
    ];
    let known = algorithm.defaults().table();
    let has = |path: &str| {
        let mut parts = path.split('.');
        let first = parts.next().and_then(|name| known.get(name));
        parts.fold(first, |at, name| at?.get(name)).is_some()
    };
    for (key, value) in [
        ("regression.particles", 2),
        ("reverse_samples", 2),
        ("particles", 2),
        ("train_samples", 2),
        ("samples", 2),
        ("candidates", 2),
        ("ascent_steps", 2),
        ("actor.denoising_steps", 3),
        ("sde.steps", 3),
        ("critic.network.width", 8),
    ] {
        if has(key) {
            settings.push(format!("{key}={value}"));
        }
    }
    let mut config = resolve(&Request {
        algo: Some(algorithm.name.into()),
        env: Some("Pendulum-v1".into()),
        set: settings,
        ..Request::default()
    })?;
    config.task = TaskSettings {
        time_limit: Some(20),
        ..TaskSettings::default()
    };
    Ok(config)
}

fn train_in(config: &Config, folder: &RunFolder) -> Result<(), RunError> {
    let envs = Environments::with(config, || {
        let env = make(&config.env, &config.task)?;
        Ok(Box::new(Watching { env, steps: 0 }))
    })?;
    let (begin, interrupt) = (Begin::Fresh, Interrupt::default());
    let device = Default::default();
    let agent = config.new_agent::<Flex>(envs.dims(), &device)?;
    train(config, agent, envs, folder, begin, &interrupt, &device)
}

#[test]
fn what_is_alive_on_the_heap_does_not_grow() {
    // One thread: which of several has what in its hands is a matter of chance.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.expect("threads can be made");
    for algorithm in Algorithm::all() {
        for window in &ALIVE {
            window.store(usize::MAX, Ordering::Relaxed);
        }
        let config = configuration(algorithm).expect("a good configuration");
        let out = tempfile::tempdir().expect("a temporary folder");
        let path = out.path().join("run");
        let folder = folder::create(Some(&path), &config, folder::start(&config, String::new()))
            .expect("a new folder");
        pool.install(|| train_in(&config, &folder))
            .expect("a run that succeeds");

        let best = std::fs::read_to_string(path.join("checkpoints/best.json"));
        let best = best.expect("there were evaluations");
        assert!(best.contains("\"step\": 500,"), "not the first: {best}");
        let alive = ALIVE.each_ref().map(|w| w.load(Ordering::Relaxed) as f64);
        let updates = (WINDOW * (WINDOWS - FIRST - 1)) as f64;
        let growth = (alive[WINDOWS - 1] - alive[FIRST]) / updates;
        // A hash table may have one of two sizes. A pointer that is kept in each update, or an
        // entry for each segment (four updates), is far more.
        assert!(
            growth < 1.0,
            "{algorithm:?}: {growth} bytes an update; {alive:?}"
        );
    }
}
