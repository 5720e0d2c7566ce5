//! Naive counts of floating-point operations: a multiplication and an addition for every weight,
//! every time a formula evaluates the network on a row. Activations are not counted.

use rescore_agents::sdac_reference::SdacSettings;
use rescore_agents::settings::DiffusionSettings;
use rescore_runner::RunError;
use rescore_runner::config::Config;

use super::diffusion;

/// Width of the denoiser's time features.
const TIME_DIM: usize = 16;

/// Operations of one row through layers of the widths `input -> hidden ... -> output`.
fn row(input: usize, hidden: &[usize], output: usize) -> f64 {
    let mut widths = vec![input];
    widths.extend(hidden);
    widths.push(output);
    widths
        .windows(2)
        .map(|pair| 2.0 * (pair[0] * pair[1]) as f64)
        .sum()
}

/// Sizes that the counts follow from.
#[derive(Debug, Clone)]
pub struct Counts {
    hidden: Vec<usize>,
    observation_dim: usize,
    action_dim: usize,
}

impl Counts {
    ///
    /// # Errors
    /// When critics and policy are not stacks of the same layers, or the algorithm gives no sizes.
    pub fn new(
        config: &Config,
        [observation_dim, action_dim]: [usize; 2],
    ) -> Result<Self, RunError> {
        let sizes = config.agent.settings.outline().sizes;
        let hidden = sizes.filter(|sizes| sizes.critic_widths == sizes.policy_widths);
        let hidden = hidden.ok_or_else(|| {
            let message = "operations are counted where critics and policy have the same layers";
            RunError::usage(message, "`--set hidden_dims=[256, 256]` sets both")
        })?;
        Ok(Self {
            hidden: hidden.critic_widths,
            observation_dim,
            action_dim,
        })
    }

    /// Widths of the hidden layers.
    pub fn hidden(&self) -> &[usize] {
        &self.hidden
    }

    /// The denoiser on a row.
    fn denoiser(&self) -> f64 {
        let input = self.observation_dim + self.action_dim + TIME_DIM;
        row(input, &self.hidden, self.action_dim)
    }

    /// Both critics on a row.
    fn critics(&self) -> f64 {
        2.0 * row(self.observation_dim + self.action_dim, &self.hidden, 1)
    }

    /// The chain on `rows` rows.
    pub fn chain(&self, rows: usize, steps: usize) -> f64 {
        (rows * steps) as f64 * self.denoiser()
    }

    /// Both critics forward and backward on `rows` rows; the derivative by the weights and that by
    /// the input cost as much as the way forward.
    pub fn critic_step(&self, rows: usize) -> f64 {
        3.0 * rows as f64 * self.critics()
    }

    /// The actions of `states` observations, scoring included.
    pub fn act(&self, states: usize, particles: usize, steps: usize) -> f64 {
        let rows = states * particles;
        self.chain(rows, steps) + rows as f64 * self.critics()
    }

    /// One update, the mean over as many as lie between two of the policy's.
    ///
    /// DPMD: next actions, TD target, critics, Q of the next actions; every `policy_delay`-th time
    /// the policy forward and backward. SDAC: as much but for the Q of the next actions, and with
    /// the policy also its actions at the present states and the Q of the reverse samples. SAC:
    /// next actions, TD target, critics; policy and, through the critics, its gradient.
    pub fn update(&self, config: &Config) -> f64 {
        let batch = config.training.batch_size;
        let rows = batch as f64;
        let critics = rows * self.critics() + self.critic_step(batch);
        let sample =
            |of: &DiffusionSettings| self.act(batch, of.actor.particles, of.actor.denoising_steps);
        let policy = 3.0 * rows * self.denoiser();
        let sdac = config.agent.settings.get::<SdacSettings>();
        match (diffusion(config), sdac) {
            (Some(base), None) => {
                let delay = base.actor.policy_delay as f64;
                sample(base) + critics + rows * self.critics() + policy / delay
            }
            (Some(base), Some(sdac)) => {
                let delay = base.actor.policy_delay as f64;
                let reverse = rows * sdac.reverse_samples as f64 * self.critics();
                let sample = sample(base);
                sample + critics + (sample + reverse + policy) / delay
            }
            (None, _) => {
                let actor = row(self.observation_dim, &self.hidden, 2 * self.action_dim);
                critics + 4.0 * rows * actor + 2.0 * rows * self.critics()
            }
        }
    }

    /// One iteration of training: the actions of all environments, and the updates due for them.
    pub fn iteration(&self, config: &Config) -> f64 {
        let training = &config.training;
        let act = diffusion(config).map_or(0.0, |of| {
            let particles = of.actor.particles_to_act();
            self.act(training.num_envs, particles, of.actor.denoising_steps)
        });
        let updates = training.updates_per_step * training.num_envs as f64;
        act + updates * self.update(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::request;
    use rescore_runner::config::resolve;

    /// The chain at HalfCheetah sizes has 46.7 GFLOP an update, nearly all there is.
    #[test]
    fn counts_at_half_cheetah_sizes() -> Result<(), RunError> {
        let config = |algo| resolve(&request(algo, "HalfCheetah-v4", None, &[]));
        let counts = Counts::new(&config("dpmd")?, [17, 6])?;
        // 2 * (39 * 256 + 2 * 256 * 256 + 256 * 6) operations, 256 * 32 * 20 times
        let chain = counts.chain(8192, 20);
        assert!((chain - 46_724_546_560.0).abs() < 1.0, "{chain}");
        let share = |algo| Ok::<_, RunError>(counts.update(&config(algo)?) / chain);
        assert!((1.1..1.15).contains(&share("dpmd")?));
        assert!((1.7..1.8).contains(&share("sdac")?));
        assert!(share("sac")? < 0.05);
        Ok(())
    }
}
