//! Environments of one's own, which do what they like: training goes on, or is refused before its
//! first step with what is wrong.
#![cfg(unix)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use burn::backend::Flex;
use rescore_envs::{
    Env, EnvError, EnvRng, NewTask, Outcome, Space, Step, Task, TaskEnv, TaskSettings, TimeLimit,
};
use rescore_runner::{
    Begin, Config, Environments, Interrupt, Request, Resumption, RunError, RunFolder, folder,
    resolve, train,
};
use rescore_store::checkpoint::{Checkpoints, Which};
use rescore_store::run_folder::Start;

use rand::RngExt;
use signal_hook::consts::SIGTERM;

/// A walk along a line. It cannot be saved and has no end.
struct Walk {
    observation_space: Space,
    action_space: Space,
    place: Vec<f64>,
    /// The largest action so far, of all walks that share it.
    largest: Arc<AtomicU32>,
}

impl Walk {
    fn new(action_space: Space, dim: usize, largest: &Arc<AtomicU32>) -> Result<Self, EnvError> {
        Ok(Self {
            observation_space: Space::uniform(dim, f64::NEG_INFINITY, f64::INFINITY)?,
            action_space,
            place: vec![0.0; dim],
            largest: largest.clone(),
        })
    }
}

impl Task for Walk {
    fn name(&self) -> &'static str {
        "Walk"
    }
    fn observation_space(&self) -> &Space {
        &self.observation_space
    }
    fn action_space(&self) -> &Space {
        &self.action_space
    }
    fn reset(&mut self, rng: &mut EnvRng) -> Result<(), EnvError> {
        self.place.fill(rng.random_range(-1.0..1.0));
        Ok(())
    }
    fn step(&mut self, action: &[f32]) -> Result<Outcome, EnvError> {
        let bits = action[0].abs().to_bits();
        // Positive numbers are ordered as their bits are.
        self.largest.fetch_max(bits, Ordering::Relaxed);
        self.place[0] = 0.9 * self.place[0] + f64::from(action[0]);
        Ok(Outcome {
            reward: -self.place[0].abs(),
            terminated: false,
        })
    }
    fn observation(&self) -> &[f64] {
        &self.place
    }
}

fn walk(low: f64, high: f64) -> Result<TaskEnv<Walk>, EnvError> {
    let space = Space::uniform(1, low, high)?;
    Ok(TaskEnv::new(Walk::new(space, 1, &Arc::default())?))
}

fn limited() -> Result<Box<dyn Env>, EnvError> {
    Ok(Box::new(TimeLimit::new(walk(-1.0, 1.0)?, 12)?))
}

/// For a task that is not registered.
fn configuration(set: &[&str]) -> Config {
    let mut config = configuration_of(None, set);
    "Walk".clone_into(&mut config.env);
    config.task = TaskSettings::default();
    config
}

fn configuration_of(env: Option<&str>, set: &[&str]) -> Config {
    let settings = [
        "steps=60",
        "hidden_dims=[8, 8]",
        "batch_size=8",
        "num_envs=2",
        "warmup_steps=20",
        "count_warmup=false",
        "log_every=10",
        "evaluation.every=20",
        "evaluation.episodes=2",
        "evaluation.max_steps=25",
        "checkpoint_every=20",
    ];
    resolve(&Request {
        algo: Some("sac".into()),
        env: env.map(str::to_owned),
        set: settings
            .iter()
            .chain(set)
            .map(ToString::to_string)
            .collect(),
        ..Request::default()
    })
    .expect("a good configuration")
}

fn start(config: &Config) -> Start {
    folder::start(config, "a processor".to_owned())
}

fn create(path: &Path, config: &Config) -> RunFolder {
    folder::create(Some(path), config, start(config)).expect("a new folder")
}

/// Trains on this thread, so that its log can be read.
fn trains(
    config: &Config,
    make: impl FnMut() -> Result<Box<dyn Env>, EnvError>,
    folder: &RunFolder,
    begin: Begin,
    interrupt: &Interrupt,
) -> (Result<(), RunError>, String) {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let result = tracing::subscriber::with_default(subscriber, || {
        let envs = Environments::with(config, make)?;
        let device = Default::default();
        let agent = config.new_agent::<Flex>(envs.dims(), &device)?;
        train(config, agent, envs, folder, begin, interrupt, &device)
    });
    let log = log.0.lock().expect("no panic").clone();
    (result, String::from_utf8(log).expect("logs are text"))
}

#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of the last checkpoint.
fn last_checkpoint(run: &Path) -> String {
    let path = Checkpoints::of(run)
        .find(Which::Last)
        .expect("there is one");
    read(&path.join("SHA256SUMS"))
}

#[test]
fn a_task_that_cannot_be_saved_is_trained_and_resumed_with_a_warning() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let (short, long) = (configuration(&[]), configuration(&["steps=100"]));
    let quiet = Interrupt::default();
    let mut ends = Vec::new();
    for name in ["a", "b"] {
        let path = out.path().join(name);
        let folder = create(&path, &short);
        let (result, log) = trains(&short, limited, &folder, Begin::Fresh, &quiet);
        result.expect("it goes on");
        assert!(
            log.contains("`Walk` cannot save its state") && log.contains("WARN"),
            "{log}"
        );
        drop(folder);
        let folder = RunFolder::open(&path).expect("a run");
        let resumed = Begin::Resumed(Resumption {
            strict: true,
            changed: Vec::new(),
            start: start(&long),
        });
        let (result, log) = trains(&long, limited, &folder, resumed, &quiet);
        result.expect("it is resumed");
        assert!(log.contains("have begun new episodes"), "{log}");
        assert_eq!(read(&path.join("eval.csv")).lines().count(), 1 + 5);
        ends.push(last_checkpoint(&path));
    }
    assert_eq!(ends[0], ends[1], "seeds follow from the step");
}

/// Asks to stop at a certain step of all its environments together.
struct Stopping {
    env: Box<dyn Env>,
    left: Arc<AtomicUsize>,
}

impl Env for Stopping {
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
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            signal_hook::low_level::raise(SIGTERM).expect("a signal");
        }
        self.env.step(action)
    }
    fn observation(&self) -> &[f64] {
        self.env.observation()
    }
}

#[test]
fn an_evaluation_of_such_a_task_can_be_interrupted() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let path = out.path().join("run");
    let config = configuration(&[]);
    let folder = create(&path, &config);
    let interrupt = Interrupt::install().expect("signals can be handled");
    // 20 of warm-up, 20 to the first evaluation, of which these are the first episodes.
    let left = Arc::new(AtomicUsize::new(20 + 20 + 5));
    let stopping = || -> Result<Box<dyn Env>, EnvError> {
        Ok(Box::new(Stopping {
            env: limited()?,
            left: left.clone(),
        }))
    };
    let (result, _) = trains(&config, stopping, &folder, Begin::Fresh, &interrupt);
    let error = result.expect_err("it is interrupted");
    assert!(
        matches!(error, RunError::Interrupted { step: 20, .. }),
        "{error}"
    );
    drop(folder);
    let folder = RunFolder::open(&path).expect("a run");
    let resumed = Begin::Resumed(Resumption {
        strict: true,
        changed: Vec::new(),
        start: start(&config),
    });
    let (result, _) = trains(&config, limited, &folder, resumed, &Interrupt::default());
    result.expect("it is resumed");
    assert_eq!(read(&path.join("eval.csv")).lines().count(), 1 + 3);
}

#[test]
fn an_evaluation_without_end_is_cut_off() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let path = out.path().join("run");
    let config = configuration(&[]);
    let folder = create(&path, &config);
    let endless = || -> Result<Box<dyn Env>, EnvError> { Ok(Box::new(walk(-1.0, 1.0)?)) };
    let (result, log) = trains(
        &config,
        endless,
        &folder,
        Begin::Fresh,
        &Interrupt::default(),
    );
    result.expect("evaluations end");
    assert_eq!(read(&path.join("eval.csv")).lines().count(), 1 + 3);
    let said = "cut off after 25 steps (evaluation.max_steps)";
    assert_eq!(log.matches(said).count(), 1, "{log}");
}

#[test]
fn a_run_without_warm_up_learns_from_its_first_step_on() {
    let out = tempfile::tempdir().expect("a temporary folder");
    for overlap in ["overlap=false", "overlap=true"] {
        let config = configuration(&[overlap, "warmup_steps=0", "updates_per_step=0.5"]);
        let path = out.path().join(overlap);
        let folder = create(&path, &config);
        let quiet = Interrupt::default();
        let (result, _) = trains(&config, limited, &folder, Begin::Fresh, &quiet);
        result.expect("it trains");
        let done = read(&path.join("DONE"));
        assert!(done.contains("\"update\": 30"), "{done}");
    }
}

#[test]
fn a_warm_up_that_counts_ends_before_the_first_update() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let quiet = Interrupt::default();
    // 21 steps of warm-up are 11 rounds of the two environments.
    let counted = [
        "count_warmup=true",
        "warmup_steps=21",
        "updates_per_step=0.5",
    ];
    for overlap in ["overlap=false", "overlap=true"] {
        let config = configuration(&[&counted[..], &[overlap]].concat());
        assert_eq!(config.updates(), 19);
        let path = out.path().join(overlap);
        let folder = create(&path, &config);
        let (result, _) = trains(&config, limited, &folder, Begin::Fresh, &quiet);
        result.expect("it trains");
        let done = read(&path.join("DONE"));
        assert!(
            done.contains("\"step\": 60") && done.contains("\"update\": 19"),
            "{done}"
        );
        let column = |file: &str, start: &str, end: char| -> Vec<u64> {
            let number = |line: &str| {
                let rest = line.strip_prefix(start)?;
                rest.split(end).next()?.parse().ok()
            };
            read(&path.join(file)).lines().filter_map(number).collect()
        };
        assert_eq!(column("eval.csv", "", ','), [40, 60]);
        assert_eq!(column("metrics.jsonl", "{\"step\":", ','), [30, 40, 50, 60]);
        let last = read(
            &Checkpoints::of(&path)
                .find(Which::Last)
                .expect("one")
                .join("checkpoint.json"),
        );
        let last: String = last.split_whitespace().collect();
        // As many transitions as steps.
        assert!(last.contains("\"stored\":60"), "{last}");
    }
}

#[test]
fn actions_in_other_units_are_rescaled_in_training_and_evaluation() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let config = configuration(&[]);
    let folder = create(&out.path().join("run"), &config);
    let (training, evaluation) = (Arc::default(), Arc::default());
    let mut number = 0;
    let other_units = || -> Result<Box<dyn Env>, EnvError> {
        number += 1;
        let largest = if number <= 2 { &training } else { &evaluation };
        let task = Walk::new(Space::uniform(1, -6.0, 2.0)?, 1, largest)?;
        Ok(Box::new(TimeLimit::new(TaskEnv::new(task), 12)?))
    };
    let quiet = Interrupt::default();
    let (result, _) = trains(&config, other_units, &folder, Begin::Fresh, &quiet);
    result.expect("it trains");
    for largest in [&training, &evaluation] {
        let largest = f32::from_bits(largest.load(Ordering::Relaxed));
        // The centre is -2: without rescaling nothing is larger than 1.
        assert!(1.0 < largest && largest <= 6.0, "{largest}");
    }
}

#[test]
fn what_cannot_be_trained_is_refused_before_the_first_step() {
    let config = configuration(&[]);
    let refused = |make: &mut dyn FnMut() -> Result<Box<dyn Env>, EnvError>, part: &str| {
        let error = Environments::with(&config, make).err().expect(part);
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.to_string().contains(part), "no {part} in: {error}");
    };
    for (low, high, part) in [
        (-1.0, f64::INFINITY, "dimension 0 has no finite bounds"),
        (f64::NEG_INFINITY, f64::INFINITY, "low -inf and high inf"),
        (0.0, 0.0, "dimension 0 has equal bounds"),
        (f64::NAN, 1.0, "low NaN"),
        (1.0, -1.0, "low 1 and high -1"),
    ] {
        refused(&mut || Ok(Box::new(walk(low, high)?)), part);
    }
    // Environments of one run, of which the third and fourth evaluate.
    for other in 1..4 {
        let mut number = 0;
        refused(
            &mut || {
                number += 1;
                let dim = if number > other { 2 } else { 1 };
                let space = Space::uniform(1, -1.0, 1.0)?;
                let task = Walk::new(space, dim, &Arc::default())?;
                Ok(Box::new(TaskEnv::new(task)))
            },
            "dimensions",
        );
    }
}

/// Warns in each step from a certain number of steps on.
struct Warning {
    env: Box<dyn Env>,
    good: u64,
    steps: Arc<AtomicU64>,
}

impl Env for Warning {
    fn name(&self) -> &'static str {
        "Warning"
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
        let step = self.env.step(action)?;
        if self.steps.fetch_add(1, Ordering::Relaxed) < self.good {
            return Ok(step);
        }
        Ok(Step {
            reward: 0.0,
            terminated: false,
            truncated: true,
            warnings: 1,
        })
    }
    fn observation(&self) -> &[f64] {
        self.env.observation()
    }
    fn warning(&self) -> Option<String> {
        Some("the ground is lava".to_owned())
    }
}

#[test]
fn a_simulator_that_only_warns_ends_warm_up_training_and_evaluation() {
    let out = tempfile::tempdir().expect("a temporary folder");
    // Overlap steps the environments while the agent learns.
    for (name, good, in_evaluation, set) in [
        ("warm-up", 0, false, "overlap=false"),
        ("training", 30, false, "overlap=false"),
        ("overlap", 30, false, "overlap=true"),
        ("evaluation", 0, true, "overlap=false"),
    ] {
        let config = configuration(&[set, "evaluation.every=1000", "steps=100000"]);
        let config = if in_evaluation {
            configuration(&[set])
        } else {
            config
        };
        let path = out.path().join(name);
        let folder = create(&path, &config);
        let steps: Arc<AtomicU64> = Arc::default();
        let mut number = 0;
        let warning = || -> Result<Box<dyn Env>, EnvError> {
            number += 1;
            if (number > 2) != in_evaluation {
                return limited();
            }
            Ok(Box::new(Warning {
                env: limited()?,
                good,
                steps: steps.clone(),
            }))
        };
        let quiet = Interrupt::default();
        let (result, _) = trains(&config, warning, &folder, Begin::Fresh, &quiet);
        let error = result.expect_err(name);
        assert_eq!(error.exit_code(), 1, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("`Warning` diverges") && text.contains("the ground is lava"),
            "{name}: {text}"
        );
        let steps = steps.load(Ordering::Relaxed);
        assert!(steps <= good + 2 * 1000, "{name}: {steps} steps");
    }
}

#[test]
fn a_registered_task_is_trained_and_resumed_by_its_name_alone() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let path = out.path().join("run");
    let walk = NewTask::new("Walk-v0", |_| walk(-2.0, 2.0)).time_limit(12);
    rescore_envs::register(walk).expect("a new name");
    let config = configuration_of(Some("Walk-v0"), &["time_limit=9"]);
    assert_eq!(config.task.time_limit, Some(9));
    let train = |config: &Config, folder: &RunFolder, begin| {
        let envs = Environments::new(config).expect("the name is known");
        let quiet = Interrupt::default();
        let device = Default::default();
        let agent = config.new_agent::<Flex>(envs.dims(), &device)?;
        train(config, agent, envs, folder, begin, &quiet, &device)
    };
    let folder = folder::create(Some(&path), &config, start(&config)).expect("a new folder");
    train(&config, &folder, Begin::Fresh).expect("it is trained");
    drop(folder);
    // The run's own `config.toml` names the task, which this program knows.
    let mut request = Request::of_run(&path);
    request.steps = Some(100);
    let config = resolve(&request).expect("the name is known");
    let folder = RunFolder::open(&path).expect("a run");
    let resumed = Begin::Resumed(Resumption {
        strict: true,
        changed: Vec::new(),
        start: start(&config),
    });
    train(&config, &folder, resumed).expect("it is resumed");
    assert_eq!(read(&path.join("eval.csv")).lines().count(), 1 + 5);
}
