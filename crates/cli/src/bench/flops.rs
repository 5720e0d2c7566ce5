//! Naive counts of floating-point operations: a multiplication and an addition for every weight,
//! every time a formula evaluates the network on a row. Activations and norms are not counted.

use rescore_agents::settings::{CriticSettings, NetworkSettings};
use rescore_agents::{dpmd, dpmd_reference, sac, sdac, sdac_reference, td3};
use rescore_runner::RunError;
use rescore_runner::config::Config;

/// Width of the denoiser's time features.
const TIME_DIM: usize = 16;

/// A network that is trained costs the way forward, the derivative by the weights and that by the
/// input.
const TRAINED: f64 = 3.0;

/// Operations of one row, and how many rows an update takes through what.
#[derive(Debug, Clone)]
pub struct Counts {
    /// All critics.
    critics: f64,
    /// The policy.
    policy: f64,
    plan: Plan,
}

/// The sizes of an algorithm that its counts follow from.
#[derive(Debug, Clone, Copy)]
enum Plan {
    /// A diffusion policy: denoising steps, candidates a next action and an action of acting.
    Diffusion {
        steps: usize,
        next: usize,
        act: usize,
        /// Updates from one policy step to the next.
        every: u64,
        step: PolicyStep,
    },
    /// A policy of one pass, whose step takes its gradient through the critics.
    OnePass,
}

/// What a diffusion policy's step costs.
#[derive(Debug, Clone, Copy)]
enum PolicyStep {
    /// On the next actions, which are scored once more.
    NextActions,
    /// Sampled actions at the present states, and reverse samples that are scored.
    ReverseSamples { samples: usize },
    /// Particles at some states, which are sampled and scored.
    Particles { states: usize, particles: usize },
    /// Reverse samples around actions of the batch at some states, which are scored.
    ReplayActions { states: usize, samples: usize },
}

impl Counts {
    /// Counts for the algorithm of `config` at observations and actions of the widths `dims`.
    ///
    /// # Errors
    /// For an algorithm that is not built in.
    pub fn new(config: &Config, dims: [usize; 2]) -> Result<Self, RunError> {
        let settings = &config.agent.settings;
        let denoiser = |critic: &CriticSettings, actor: &NetworkSettings, plan| {
            let [observation, action] = dims;
            let input = observation + action + TIME_DIM;
            Self {
                critics: critics(critic, dims),
                policy: 2.0 * actor.multiplications(input, action),
                plan,
            }
        };
        let published = |base: &rescore_agents::settings::DiffusionSettings, step| {
            let plan = Plan::Diffusion {
                steps: base.actor.denoising_steps,
                next: base.particles,
                act: base.particles,
                every: base.policy_delay,
                step,
            };
            denoiser(&base.critic, &base.actor.network, plan)
        };
        let recipe = |recipe: &rescore_agents::settings::RecipeSettings, step| {
            let plan = Plan::Diffusion {
                steps: recipe.actor.denoising_steps,
                next: recipe.acting.bootstrap_particles,
                act: recipe.acting.particles,
                every: recipe.policy_every,
                step,
            };
            denoiser(&recipe.critic, &recipe.actor.network, plan)
        };
        let one_pass = |critic: &CriticSettings, actor: &NetworkSettings, outputs: usize| Self {
            critics: critics(critic, dims),
            policy: 2.0 * actor.multiplications(dims[0], outputs),
            plan: Plan::OnePass,
        };
        if let Some(of) = settings.get::<dpmd::DpmdSettings>() {
            let step = PolicyStep::Particles {
                states: of.recipe.states,
                particles: of.regression.particles,
            };
            return Ok(recipe(&of.recipe, step));
        }
        if let Some(of) = settings.get::<sdac::SdacSettings>() {
            let step = PolicyStep::ReplayActions {
                states: of.recipe.states,
                samples: of.reverse_samples,
            };
            return Ok(recipe(&of.recipe, step));
        }
        if let Some(of) = settings.get::<dpmd_reference::DpmdSettings>() {
            return Ok(published(&of.base, PolicyStep::NextActions));
        }
        if let Some(of) = settings.get::<sdac_reference::SdacSettings>() {
            let samples = of.reverse_samples;
            return Ok(published(&of.base, PolicyStep::ReverseSamples { samples }));
        }
        if let Some(of) = settings.get::<sac::SacSettings>() {
            return Ok(one_pass(&of.critic, &of.actor.network, 2 * dims[1]));
        }
        if let Some(of) = settings.get::<td3::Td3Settings>() {
            return Ok(one_pass(&of.critic, &of.actor.network, dims[1]));
        }
        Err(RunError::usage(
            format!("the operations of `{}` are not known", config.algo),
            "built-in algorithms have them",
        ))
    }

    /// The chain on `rows` rows.
    pub fn chain(&self, rows: usize, steps: usize) -> f64 {
        (rows * steps) as f64 * self.policy
    }

    /// All critics forward and backward on `rows` rows.
    pub fn critic_step(&self, rows: usize) -> f64 {
        TRAINED * rows as f64 * self.critics
    }

    /// The actions of `states` observations, each chosen by the critics from `particles`.
    fn choose(&self, states: usize, particles: usize, steps: usize) -> f64 {
        let rows = states * particles;
        let scored = if particles > 1 { rows } else { 0 };
        self.chain(rows, steps) + scored as f64 * self.critics
    }

    /// The actions of `states` observations in training.
    pub fn act(&self, states: usize) -> f64 {
        match self.plan {
            Plan::Diffusion { act, steps, .. } => self.choose(states, act, steps),
            Plan::OnePass => states as f64 * self.policy,
        }
    }

    /// One update, the mean over as many as lie between two of the policy's: next actions, TD
    /// target, critics and, where it is due, the step of the policy.
    pub fn update(&self, config: &Config) -> f64 {
        let batch = config.training.batch_size;
        let rows = batch as f64;
        let critics = rows * self.critics + self.critic_step(batch);
        let Plan::Diffusion {
            steps,
            next,
            every,
            step,
            ..
        } = self.plan
        else {
            return critics + 4.0 * rows * self.policy + 2.0 * rows * self.critics;
        };
        let next = self.choose(batch, next, steps);
        let trained = |rows: usize| TRAINED * rows as f64 * self.policy;
        let (always, policy) = match step {
            PolicyStep::NextActions => (rows * self.critics, trained(batch)),
            PolicyStep::ReverseSamples { samples } => {
                let scored = rows * samples as f64 * self.critics;
                (0.0, next + scored + trained(batch))
            }
            PolicyStep::Particles { states, particles } => {
                let sampled = states.min(batch) * particles;
                let scored = sampled as f64 * self.critics;
                (0.0, self.chain(sampled, steps) + scored + trained(sampled))
            }
            PolicyStep::ReplayActions { states, samples } => {
                let states = states.min(batch);
                let scored = (states * samples) as f64 * self.critics;
                (0.0, scored + trained(states))
            }
        };
        next + critics + always + policy / every as f64
    }

    /// One iteration of training: the actions of all environments, and the updates due for them.
    pub fn iteration(&self, config: &Config) -> f64 {
        let training = &config.training;
        let updates = training.updates_per_step * training.num_envs as f64;
        self.act(training.num_envs) + updates * self.update(config)
    }
}

/// All critics on a row.
fn critics(settings: &CriticSettings, [observation, action]: [usize; 2]) -> f64 {
    let outputs = settings.value.head().outputs();
    let one = settings
        .network
        .multiplications(observation + action, outputs);
    2.0 * settings.members as f64 * one
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::request;
    use rescore_runner::config::{Request, resolve};

    /// The chain at HalfCheetah sizes has 46.7 GFLOP an update as published, nearly all there is.
    #[test]
    fn counts_at_half_cheetah_sizes() -> Result<(), RunError> {
        let config = |algo| resolve(&request(algo, "HalfCheetah-v4", None, &[]));
        let counts = |algo| Counts::new(&config(algo)?, [17, 6]);
        // 2 * (39 * 256 + 2 * 256 * 256 + 256 * 6) operations, 256 * 32 * 20 times
        let chain = counts("dpmd-reference")?.chain(8192, 20);
        assert!((chain - 46_724_546_560.0).abs() < 1.0, "{chain}");
        let share = |algo| Ok::<_, RunError>(counts(algo)?.update(&config(algo)?) / chain);
        assert!((1.1..1.15).contains(&share("dpmd-reference")?));
        assert!((1.7..1.8).contains(&share("sdac-reference")?));
        assert!(share("sac")? < 0.05);
        Ok(())
    }

    /// An update of the small preset: two critics of 147,456 multiplications a row on 256 rows
    /// trained, 256 for targets and 1024 particles; a policy of 38,528 on 1024 particles trained,
    /// and for 10 steps on 1024 and 256.
    #[test]
    fn counts_of_the_small_preset() -> Result<(), RunError> {
        let config = resolve(&Request {
            algo: Some("dpmd".into()),
            env: Some("HalfCheetah-v4".into()),
            set: vec!["preset=small".into()],
            ..Request::default()
        })?;
        let critic = 23.0 * 128.0 + 2.0 * 128.0 * 512.0 + 128.0 * 101.0;
        let policy = 39.0 * 128.0 + 2.0 * 128.0 * 128.0 + 128.0 * 6.0;
        let critics = 2.0 * 2.0 * critic * (256.0 * 4.0 + 1024.0);
        let policy = 2.0 * policy * (1024.0 * 13.0 + 2560.0);
        let found = Counts::new(&config, [17, 6])?.update(&config);
        assert!((found - critics - policy).abs() < 1.0, "{found}");
        Ok(())
    }
}
