//! Films of policies at work.

mod video;

use std::path::Path;
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use rescore_envs::mujoco::Renderer;
use rescore_envs::{Env, TaskSettings, WarningStreak, derive_seed, diverged, make};
use rescore_kernels::{NoiseKey, RescoreBackend};
use rescore_runner::RunError;
use rescore_runner::config::Config;
use rescore_runner::config::MAX_STEPS;
use rescore_runner::evaluate::{play, to_vec};
use rescore_runner::policy::{self, Policy};

use crate::backend::Work;
use video::{Film, Pace};

/// What to draw and how.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    /// The file, `.gif` or `.mp4`.
    pub out: &'a Path,
    /// Episodes to show.
    pub episodes: u32,
    /// Steps of an episode that are shown at most; without, as many as an evaluation episode has.
    pub steps: Option<u32>,
    /// Name of a camera of the model.
    pub camera: Option<&'a str>,
    /// Width and height in pixels.
    pub size: (u16, u16),
}

/// What has been drawn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shown {
    /// Number of frames.
    pub frames: u32,
    /// Return of each episode, of its steps that are shown.
    pub returns: Vec<f64>,
}

/// A film of the policy of a checkpoint.
#[derive(Debug)]
pub struct Filming<'a> {
    /// Of the run.
    pub config: &'a Config,
    /// The folder of the checkpoint.
    pub path: &'a Path,
    /// Whether it explores as in training, instead of acting deterministically.
    pub stochastic: bool,
    /// What to draw and how.
    pub scene: &'a Scene<'a>,
}

impl Work for Filming<'_> {
    type Output = Result<Shown, RunError>;

    fn run<B: RescoreBackend>(self, device: &B::Device) -> Self::Output {
        let config = self.config;
        let env = make(&config.env, &config.task)?;
        let dims = (env.observation_space().dim(), env.action_space().dim());
        let policy = policy::load::<B>(config, self.path, dims, device)?;
        let seed = NoiseKey::new(config.seed, "render").seed();
        let mut scene = self.scene.clone();
        let most = u32::try_from(config.evaluation.max_steps).unwrap_or(u32::MAX);
        scene.steps = Some(scene.steps.map_or(most, |steps| steps.min(most)));
        let task = &config.task;
        let mut counter = 0;
        film(&config.env, task, env, seed, &scene, |observation| {
            counter += 1;
            let exploring = self.stochastic.then_some(counter);
            act(
                &policy,
                observation,
                (exploring, config.evaluation.best_of),
                device,
            )
        })
    }
}

/// The action that evaluation plays, or, `exploring`, that of training at this counter.
fn act<B: RescoreBackend>(
    policy: &Policy<B>,
    observation: &[f64],
    (exploring, best_of): (Option<u32>, usize),
    device: &B::Device,
) -> Result<Vec<f32>, RunError> {
    let mut row: Vec<f32> = observation.iter().map(|x| *x as f32).collect();
    if let Some(normalizer) = &policy.normalizer {
        normalizer.apply(&mut row);
    }
    let shape = [1, row.len()];
    let observations = Tensor::from_data(TensorData::new(row, shape), device);
    let agent = policy.agent.as_ref();
    Ok(to_vec(match exploring {
        Some(counter) => agent.act(observations, counter),
        None => play(agent, observations, best_of)?,
    }))
}

/// Films the registered task `name` under uniformly random actions.
///
/// # Errors
/// When the task cannot be drawn or the film cannot be written.
pub fn film_random(name: &str, seed: u64, scene: &Scene<'_>) -> Result<Shown, RunError> {
    let settings = TaskSettings::default();
    let env = make(name, &settings)?;
    let dim = env.action_space().dim();
    let key = NoiseKey::new(seed, "render");
    let mut counter = 0;
    film(name, &settings, env, key.seed(), scene, |_| {
        counter += 1;
        let uniform = |i| 2.0 * key.uniform(0, i as u32, counter) - 1.0;
        Ok((0..dim).map(uniform).collect())
    })
}

fn film(
    name: &str,
    settings: &TaskSettings,
    mut env: Box<dyn Env>,
    seed: u64,
    scene: &Scene<'_>,
    mut policy: impl FnMut(&[f64]) -> Result<Vec<f32>, RunError>,
) -> Result<Shown, RunError> {
    if !rescore_envs::find(name)?.needs_mujoco {
        return Err(RunError::usage(
            format!("`{name}` cannot be drawn"),
            "the tasks that can are those of MuJoCo",
        ));
    }
    let size = (scene.size.0.into(), scene.size.1.into());
    let mut renderer = Renderer::new(name, &settings.options, size, scene.camera)?;
    let pace = Pace::real_time(renderer.dt());
    let mut film = Film::create(scene.out, scene.size, pace)?;
    let mut shown = Shown::default();
    let (mut streak, mut healthy, mut warning) = (WarningStreak::default(), false, None);
    for episode in 0..scene.episodes {
        env.reset(Some(derive_seed(seed, episode as usize)))?;
        film.add(renderer.frame(&env.save()?)?)?;
        shown.frames += 1;
        let mut total = 0.0;
        for number in 1..=scene.steps.unwrap_or(MAX_STEPS) {
            let action = policy(env.observation())?;
            let began = Instant::now();
            let step = env.step(&action)?;
            if step.warnings == 0 {
                healthy = true;
                streak.end();
            } else {
                warning = env.warning();
                let added = streak.add(1, began.elapsed());
                added.map_err(|steps| diverged(&*env, steps, warning.take()))?;
            }
            total += step.reward;
            if number % pace.every == 0 || step.done() {
                film.add(renderer.frame(&env.save()?)?)?;
                shown.frames += 1;
            }
            if step.done() {
                break;
            }
        }
        shown.returns.push(total);
    }
    if !healthy {
        // Nothing was played in any episode.
        return Err(diverged(&*env, streak.steps(), warning).into());
    }
    film.finish()?;
    Ok(shown)
}
