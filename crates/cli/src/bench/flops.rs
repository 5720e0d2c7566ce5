//! Naive counts of floating-point operations: a multiplication and an addition for every weight,
//! every time a formula evaluates the network on a row. Activations and norms are not counted.

use rescore_agents::settings::{
    BaselineSettings, CriticSettings, DiffusionSettings, NetworkSettings, RecipeSettings,
};
use rescore_agents::{
    dipo, dpmd, dpmd_reference, idem, idql, qsm, qvpo, sac, score_sde, sdac, sdac_reference, td3,
};
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

/// Rows of a diffusion policy's step.
#[derive(Debug, Clone, Copy, Default)]
struct PolicyStep {
    /// Scored in every update, also where the policy does not step.
    always_scored: usize,
    /// Actions that are sampled.
    sampled: usize,
    /// Actions that are scored.
    scored: usize,
    /// Actions by which critics are differentiated, as often as they are.
    differentiated: usize,
    /// Rows that the policy is trained on.
    trained: usize,
    /// Rows that a value of states is trained on.
    valued: usize,
}

impl Counts {
    /// Counts for the algorithm of `config` at observations and actions of the widths `dims`.
    ///
    /// # Errors
    /// For an algorithm that is not built in.
    #[expect(
        clippy::too_many_lines,
        reason = "a list of all algorithms, one after the other"
    )]
    pub fn new(config: &Config, dims: [usize; 2]) -> Result<Self, RunError> {
        let settings = &config.agent.settings;
        let batch = config.training.batch_size;
        let counts = |critic: &CriticSettings, actor: &NetworkSettings, plan| Self {
            critics: critics(critic, dims),
            policy: 2.0 * actor.multiplications(dims[0] + dims[1] + TIME_DIM, dims[1]),
            plan,
        };
        let published = |base: &DiffusionSettings, step| {
            let plan = Plan::Diffusion {
                steps: base.actor.denoising_steps,
                next: base.particles,
                act: base.particles,
                every: base.policy_delay,
                step,
            };
            counts(&base.critic, &base.actor.network, plan)
        };
        let recipe = |recipe: &RecipeSettings, step| {
            let plan = Plan::Diffusion {
                steps: recipe.actor.denoising_steps,
                next: recipe.acting.bootstrap_particles,
                act: recipe.acting.particles,
                every: recipe.policy_every,
                step,
            };
            counts(&recipe.critic, &recipe.actor.network, plan)
        };
        let baseline = |base: &BaselineSettings, [next, act]: [usize; 2], step| {
            let plan = Plan::Diffusion {
                steps: base.actor.denoising_steps,
                next,
                act,
                every: 1,
                step,
            };
            counts(&base.critic, &base.actor.network, plan)
        };
        let one_pass = |critic: &CriticSettings, actor: &NetworkSettings, outputs: usize| Self {
            critics: critics(critic, dims),
            policy: 2.0 * actor.multiplications(dims[0], outputs),
            plan: Plan::OnePass,
        };
        if let Some(of) = settings.get::<dpmd::DpmdSettings>() {
            // Particles at some states.
            let particles = of.recipe.states.min(batch) * of.regression.particles;
            let step = PolicyStep {
                sampled: particles,
                scored: particles,
                trained: particles,
                ..PolicyStep::default()
            };
            return Ok(recipe(&of.recipe, step));
        }
        if let Some(of) = settings.get::<sdac::SdacSettings>() {
            // Reverse samples around actions of the batch at some states.
            let states = of.recipe.states.min(batch);
            let step = PolicyStep {
                scored: states * of.reverse_samples,
                trained: states,
                ..PolicyStep::default()
            };
            return Ok(recipe(&of.recipe, step));
        }
        if let Some(of) = settings.get::<dpmd_reference::DpmdSettings>() {
            // On the next actions, which are scored once more.
            let step = PolicyStep {
                always_scored: batch,
                trained: batch,
                ..PolicyStep::default()
            };
            return Ok(published(&of.base, step));
        }
        if let Some(of) = settings.get::<sdac_reference::SdacSettings>() {
            // Sampled actions at the present states, and reverse samples around them.
            let particles = batch * of.base.particles;
            let chosen = if of.base.particles > 1 { particles } else { 0 };
            let step = PolicyStep {
                sampled: particles,
                scored: chosen + batch * of.reverse_samples,
                trained: batch,
                ..PolicyStep::default()
            };
            return Ok(published(&of.base, step));
        }
        if let Some(of) = settings.get::<sac::SacSettings>() {
            return Ok(one_pass(&of.critic, &of.actor.network, 2 * dims[1]));
        }
        if let Some(of) = settings.get::<td3::Td3Settings>() {
            return Ok(one_pass(&of.critic, &of.actor.network, dims[1]));
        }
        let trained = PolicyStep {
            trained: batch,
            ..PolicyStep::default()
        };
        if let Some(of) = settings.get::<qsm::QsmSettings>() {
            let step = PolicyStep {
                differentiated: batch,
                ..trained
            };
            return Ok(baseline(&of.base, [1, 1], step));
        }
        if let Some(of) = settings.get::<idem::IdemSettings>() {
            let step = PolicyStep {
                differentiated: batch * of.reverse_samples,
                ..trained
            };
            return Ok(baseline(&of.base, [1, 1], step));
        }
        if let Some(of) = settings.get::<qvpo::QvpoSettings>() {
            let step = PolicyStep {
                sampled: batch * of.train_samples,
                scored: batch * of.train_samples,
                trained: batch * (1 + of.entropy_rows),
                ..PolicyStep::default()
            };
            return Ok(baseline(
                &of.base,
                [of.target_samples, of.behaviour_samples],
                step,
            ));
        }
        if let Some(of) = settings.get::<dipo::DipoSettings>() {
            let step = PolicyStep {
                differentiated: batch * of.ascent_steps,
                ..trained
            };
            return Ok(baseline(&of.base, [1, 1], step));
        }
        if let Some(of) = settings.get::<idql::IdqlSettings>() {
            // The value takes the place of the next actions and is as large as a critic.
            let step = PolicyStep {
                valued: batch,
                ..trained
            };
            return Ok(baseline(&of.base, [0, of.candidates], step));
        }
        if let Some(of) = settings.get::<score_sde::ScoreSdeSettings>() {
            let plan = Plan::Diffusion {
                steps: of.sde.steps,
                next: of.samples,
                act: of.samples,
                every: 1,
                step: trained,
            };
            return Ok(counts(&of.critic, &of.actor.network, plan));
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
        let scored = |rows: usize| rows as f64 * self.critics;
        let policy = self.chain(step.sampled, steps)
            + scored(step.scored)
            // Forward, and back to the input.
            + 2.0 * scored(step.differentiated)
            + TRAINED * step.trained as f64 * self.policy;
        // Before and after its step, forward; about as large as half of twin critics.
        let value = (TRAINED + 2.0) * 0.5 * scored(step.valued);
        next + critics + scored(step.always_scored) + value + policy / every as f64
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
